"""What operators do to a site, and should not: a release that does not start, two installations at once."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.campaign.breaks import Break, Place
from tests.campaign.hosts import CommandFailed
from tests.hosts.test_releasing import BROKEN, copy_of_checkout
from tests.hosts.test_scaling import playbook

CURRENT = "readlink -f /opt/face-pipeline/current"


def deploy_broken(part: str) -> Break:
    """A release of which this file does not work; the playbook has to refuse it."""

    @contextmanager
    def do(place: Place) -> Iterator[str]:
        web = place.site.of("web")
        before = [guest.run(CURRENT) for guest in web]
        with tempfile.TemporaryDirectory() as directory:
            copy_of_checkout(Path(directory))
            with (Path(directory) / "app/face_pipeline" / part).open("a") as file:
                file.write(BROKEN)
            done = playbook("deploy", checkout=Path(directory), inventory=place.site.inventory)
        if done.returncode == 0:
            raise CommandFailed("a release that does not start was taken for a good one")
        if [guest.run(CURRENT) for guest in web] != before:
            raise CommandFailed(f"the release before does not run again: {_why(done)}")
        yield f"{part}: {_why(done)[:160]}"

    return do


@contextmanager
def install_twice(place: Place) -> Iterator[str]:
    """Two `site.yml` at once. One of them may give up with a reason; the site is installed by the other."""

    def install(_: int) -> subprocess.CompletedProcess[str]:
        return playbook("../site", inventory=place.site.inventory)

    with ThreadPoolExecutor(2) as both:
        ended = list(both.map(install, range(2)))
    failed = [f"one ended with {done.returncode}: {_why(done)[:160]}" for done in ended if done.returncode]
    if len(failed) == len(ended):
        raise CommandFailed("; ".join(failed))
    yield "; ".join(failed) or "both ended well"


def _why(done: subprocess.CompletedProcess[str]) -> str:
    said = re.sub(r"\s+", " ", done.stdout + done.stderr)
    errors = re.findall(r"(?:\[ERROR\]|fatal:).{0,400}", said)
    return errors[-1] if errors else said[-400:]
