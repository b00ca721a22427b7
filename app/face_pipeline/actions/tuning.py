"""Is what was measured of this host (`face-pipeline tune`) what runs here now?"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import asdict

from face_pipeline.broker import presence
from face_pipeline.broker.agreement import Agreement
from face_pipeline.engine import tuned
from face_pipeline.engine.tuned import Basis, Tuned
from face_pipeline.errors import ConfigurationError
from face_pipeline.parts import Parts
from face_pipeline.words import counted

# Of the rate of those that were chosen: below it somebody may want to know.
SLOWER = 0.9
# So many times the workers that were chosen take memory and are not quicker.
MANY = 2
AGAIN = "run `sudo face-pipeline tune`, then ./face-ansible site.yml"
TAKE = "run ./face-ansible site.yml, which takes what was measured where nobody set another number"


def look(parts: Parts) -> tuple[str, str]:
    """What runs here beside what was measured as best, and what to do where they differ by much, or empty.

    Raises QueueUnavailable, EngineError.
    """
    settings = parts.settings
    try:
        found = tuned.read(settings.tune_file)
    except ConfigurationError as error:
        words, _, mend = error.message.partition("; ")
        return words, mend
    if found is None:
        return "how many workers suit this host was not measured", ""
    if settings.device != "cpu":
        return "workers compute on a card: what was measured of the processor is left", ""
    if differs := changed(found, tuned.basis_of(parts.pack, settings.runtime, settings.profile)):
        return f"what was measured was {differs}", AGAIN
    host = settings.autoscale_host or socket.gethostname()
    heard = [each.said for each in presence.heard(parts.queue) if each.alive and each.said.host == host]
    best = f"{found.workers} x {found.threads} were measured as best on {found.made_at[:10]}"
    threads = [each.threads for each in heard]
    if not threads:
        return f"{best}, none runs here", ""
    words = f"{counted(len(threads), 'worker', 'run')} here with {counted(sum(threads), 'thread')}, {best}"
    # How many there are is the autoscaler's, then.
    autoscaled = any(not each.paused for each in Agreement(parts.queue, alive_seconds=1).hosts())
    worse = fewer_threads(found, threads) if autoscaled else wasteful(found, threads)
    return (f"{words}: {worse}", TAKE) if worse else (words, "")


def changed(found: Tuned, now: Basis) -> str:
    """What is another than when it was measured, in words; empty: nothing is."""
    before, after = asdict(found.basis), asdict(now)
    # Another pack has another contract.
    known = [name for name in before if name != "contract" or found.basis.pack == now.pack]
    return ", ".join(
        f"{name} {before[name]}, now {after[name]}" for name in known if before[name] != after[name]
    )


def fewer_threads(found: Tuned, threads: Sequence[int]) -> str:
    """That workers have fewer threads each than were best; empty: they have not."""
    return f"one has {min(threads)}" if min(threads) < found.threads else ""


def wasteful(found: Tuned, threads: Sequence[int]) -> str:
    """Why workers of so many threads each are worse by much than those chosen; empty: they are not."""
    rate, best = _rate(found, threads), found.worker_photos_per_second * found.workers
    if rate < SLOWER * best:
        return f"they do {rate:.1f} photos a second, not {best:.1f}"
    if len(threads) > MANY * found.workers:
        more = (len(threads) - found.workers) * found.worker_memory_mb
        return f"they take {more:,} MB more and are not quicker"
    return ""


def _rate(found: Tuned, threads: Sequence[int]) -> float:
    """Photos a second, as it was measured: of as many workers, or of the next smaller number of them."""
    # One thread alone was measured for comparison.
    several = [each for each in found.measured if each.threads > 1 or each.workers > 1] or found.measured
    fewer = [each for each in several if each.workers <= len(threads)] or several
    nearest = max(fewer, key=lambda each: each.workers)
    # A core without a thread computes nothing.
    return nearest.photos_per_second * min(1.0, sum(threads) / found.basis.cores)
