"""./quickstart: what it runs in which order, what it shows, and when it succeeds.

The machine container, Ansible and the pipeline are not here: they leave a line of what they were asked.
The real ones are run by ./quickstart itself.
"""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "playbooks/machines/files"
KEY = "/etc/face-pipeline/credentials/admin_api_key"

ANSIBLE = """#!/bin/bash
playbook=$3
echo "ansible ${*:3}" >>calls
case $playbook in
  *left_out.yml) printf '%s' "$LEFT_OUT" >.quickstart/left_out ;;
esac
echo "PLAY [Prepare the hosts] ****"
[ "${BROKEN:-}" != "$playbook" ] || { echo "[ERROR]: Task failed: Action failed: the cause"; echo; exit 2; }
"""
TRY = """import sys
print("try", *sys.argv[5:], file=open("calls", "a"))
sys.exit(1 if "--unwell" in sys.argv and "EXPLAINED" not in __import__("os").environ else 0)
"""


def module(file: Path) -> ModuleType:
    made = importlib.util.spec_from_file_location(file.stem, file)
    assert made is not None
    assert made.loader is not None
    loaded = importlib.util.module_from_spec(made)
    made.loader.exec_module(loaded)
    return loaded


class Checkout:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / ".quickstart").mkdir(parents=True)
        for name in ("quickstart", "lib.sh", "playbooks/machines/files/progress.py"):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, directory / name)
        for file in (ROOT / "playbooks").glob("*.yml"):
            shutil.copy2(file, directory / "playbooks" / file.name)
        (directory / "playbooks/machines/files/try_it.py").write_text(TRY)
        self.script("face-ansible", ANSIBLE)
        self.script("bootstrap", "#!/bin/sh\n[ -e .venv-deploy/bin ] || exit 1\n")
        self.script("roles/machine/files/preflight", "#!/bin/sh\n")
        self.script(".venv-deploy/bin/python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')

    def script(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def run(self, *arguments: str, left_out: str = "", **environment: str) -> tuple[int, str]:
        done = subprocess.run(
            [self.directory / "quickstart", *arguments],
            env={
                **os.environ,
                "LEFT_OUT": left_out,
                "FACE_CACHE_DIR": str(self.directory / "fetched"),
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        if "NOT RUN" in said:
            pytest.skip(said.strip().splitlines()[-1])
        return done.returncode, said

    @property
    def calls(self) -> list[str]:
        return (self.directory / "calls").read_text().splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    for program in ("systemd-nspawn", "mmdebstrap", "nft", "ip", "ssh"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not here, and ./quickstart would install it")
    return Checkout(tmp_path)


def test_a_photo_is_found_before_what_observes_is_installed(checkout: Checkout) -> None:
    status, said = checkout.run(left_out="grafana=its repository does not answer\n")
    assert status == 0, said
    steps = [call.split()[1].removeprefix("playbooks/") for call in checkout.calls]
    assert steps == [
        "machines/create.yml",
        "left_out.yml",
        "pipeline.yml",
        "--proof-only",
        "observation.yml",
        "--summary-only",
    ]
    assert said.index("The pipeline runs at https://") < said.index("Installing what observes it")
    assert "leaving out grafana: its repository does not answer" in said
    assert '{"face_grafana_enabled": false}' in checkout.calls[2]
    assert f'"face_cache_dir": "{checkout.directory}/.quickstart/cache"' in checkout.calls[2]
    assert checkout.calls[-1] == "try --summary-only grafana=its repository does not answer"


def test_a_vendors_part_that_failed_costs_no_exit_status(checkout: Checkout) -> None:
    status, said = checkout.run(BROKEN="playbooks/observation.yml", EXPLAINED="yes")
    assert status == 0, said
    assert "Task failed: Action failed: the cause" in said
    assert "Running at https://" in said
    assert checkout.calls[-1] == "try --summary-only --unwell"


def test_a_failure_that_no_vendors_part_explains_is_one(checkout: Checkout) -> None:
    status, said = checkout.run(BROKEN="playbooks/observation.yml")
    assert status == 1, said
    status, said = checkout.run(BROKEN="playbooks/pipeline.yml")
    assert status == 1
    assert "quickstart: playbooks/pipeline.yml failed, see .quickstart/log" in said
    assert checkout.calls[-1].startswith("ansible playbooks/pipeline.yml")


def test_down_leaves_nothing_but_what_was_fetched_and_purge_not_even_that(checkout: Checkout) -> None:
    assert checkout.run()[0] == 0
    for made in (".quickstart/ansible/tmp/x", "inventory/quickstart/secrets/x", "fetched/x"):
        (checkout.directory / made).mkdir(parents=True)
    status, said = checkout.run("down")
    assert status == 0, said
    assert checkout.calls[-1] == "ansible playbooks/machines/destroy.yml"
    left = {path.name for path in checkout.directory.iterdir()}
    assert ".quickstart" not in left
    assert not (checkout.directory / "inventory/quickstart/secrets").exists()
    assert {"fetched", ".venv-deploy"} <= left
    assert "fetched" in said.splitlines()[-1]
    # Of an Ansible that was there before it takes nothing away.
    assert checkout.run("down", "--purge")[0] == 0
    assert not (checkout.directory / "fetched").exists()
    assert (checkout.directory / ".venv-deploy").exists()
    (checkout.directory / ".venv-deploy/.quickstart").touch()
    assert checkout.run("down", "--purge")[0] == 0
    assert not (checkout.directory / ".venv-deploy").exists()
    assert checkout.run("down", "--everything")[0] == 2


def test_the_screen_shows_a_line_a_part_with_its_time_and_what_failed(tmp_path: Path) -> None:
    failing = {"name": "Fail", "ansible.builtin.fail": {"msg": "the other cause\n  to be typed"}}
    caught = {"name": "Fail", "ansible.builtin.fail": {"msg": "the cause"}}
    rescued = {"block": [caught], "rescue": [{"ansible.builtin.debug": {"msg": "never shown"}}]}
    plays = [
        {"name": "Gather facts of the hosts that observe and keep logs", "tasks": []},
        {"name": "Prepare the hosts", "tasks": [{"ansible.builtin.debug": {"msg": "never shown"}}]},
        {"name": "Install PostgreSQL", "tasks": [rescued]},
        {"name": "Install Redis", "tasks": [failing]},
    ]
    (tmp_path / "play.yml").write_text(
        yaml.safe_dump([{**play, "hosts": "localhost", "gather_facts": False} for play in plays])
    )
    played = subprocess.run(
        [ROOT / ".venv/bin/ansible-playbook", tmp_path / "play.yml"],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_STDOUT_CALLBACK": "default"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout

    def shown(*options: str) -> str:
        return subprocess.run(
            [sys.executable, FILES / "progress.py", tmp_path / "log", *options],
            input=played,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    lines = shown().splitlines()
    assert lines[0].split() == ["base", "0", "s"]
    assert lines[1].split() == ["data"]
    assert lines[2].strip() == "[ERROR]: Task failed: Action failed: the cause"
    assert "to be typed" in lines[4]
    assert lines[-1].split()[0] == "data"
    assert lines[-1].endswith(" s")
    assert sum("[ERROR]" in line for line in lines) == 2
    assert "never shown" not in "\n".join(lines)
    assert "fatal" not in "\n".join(lines)
    assert (tmp_path / "log").read_text() == played
    assert all("base" not in line for line in shown("--failures").splitlines())


def test_the_time_of_a_part_stands_on_its_line() -> None:
    screen = io.StringIO()
    shown = module(FILES / "progress.py").Shown(screen, only_failures=False)
    for part in ("base", "base", "data"):
        shown.part(part)
    shown.end()
    lines = screen.getvalue().splitlines()
    assert [line.split() for line in lines] == [["base", "0", "s"], ["data", "0", "s"]]


def test_every_part_of_the_installation_is_one_that_progress_knows() -> None:
    known = set(module(FILES / "progress.py").parts().values())
    imported = [
        entry["ansible.builtin.import_playbook"].removesuffix(".yml")
        for half in ("pipeline", "observation")
        for entry in yaml.safe_load((ROOT / f"playbooks/{half}.yml").read_text())
    ]
    assert set(imported) - {"vendors_end"} <= known
    assert imported.index("verify") < imported.index("monitoring")
    halves = [
        entry["ansible.builtin.import_playbook"] for entry in yaml.safe_load((ROOT / "site.yml").read_text())
    ]
    assert halves == ["playbooks/pipeline.yml", "playbooks/observation.yml"]


@pytest.mark.parametrize(
    ("failed", "ansible_failed", "words"),
    [
        (set(), False, None),
        ({"kibana", "grafana"}, False, None),
        ({"kibana"}, True, None),
        ({"prometheus", "kibana"}, True, "not running: prometheus"),
        ({"workers", "web"}, False, "not running: web, workers"),
        (set(), True, "every part runs, and yet Ansible failed"),
    ],
)
def test_only_a_part_of_ours_makes_the_quickstart_fail(
    failed: set[str], ansible_failed: bool, words: str | None
) -> None:
    said = module(FILES / "try_it.py").unwell(failed, ansible_failed)
    assert said is None if words is None else said.startswith(words)


def test_the_sign_in_page_names_files_in_which_the_key_is() -> None:
    ui = ROOT / "app/face_pipeline/web/ui"
    page = (ui / "templates/ui/sign_in.html").read_text() + (ui / "texts/en/sign_in.json").read_text()
    assert KEY in page
    assert f'API_KEY = "{KEY}"' in (FILES / "try_it.py").read_text()
    assert ".quickstart/api_key" in page
    assert "$state/api_key" in (ROOT / "quickstart").read_text()
    assert "secrets/admin_api_key" in page
