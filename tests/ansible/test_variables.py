"""Variables: every playbook knows them, an inventory's win, and every role says what its own are."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(ROOT / ".venv" / "bin")
PLAYBOOKS = sorted([ROOT / "site.yml", *(ROOT / "playbooks").glob("*.yml")])
INVENTORIES = sorted((ROOT / "inventory").glob("*.yml")) + sorted((ROOT / "inventory").glob("*/hosts.yml"))
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if (path / "tasks").is_dir())


@cache
def hostvars(playbook_dir: Path, inventory: Path) -> dict[str, dict[str, Any]]:
    command = [TOOLS / "ansible-inventory", "--list", "--playbook-dir", playbook_dir, "-i", inventory]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)["_meta"]["hostvars"]
    return found


def product_variables() -> set[str]:
    names: set[str] = set()
    for path in (ROOT / "group_vars" / "all").glob("*.yml"):
        names |= set(yaml.safe_load(path.read_text(encoding="utf-8")))
    return names


@pytest.mark.parametrize("inventory", INVENTORIES, ids=lambda path: str(path.relative_to(ROOT)))
@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_playbook_knows_the_variables_of_every_host(playbook: Path, inventory: Path) -> None:
    hosts = hostvars(playbook.parent, inventory)
    assert hosts
    for name, known in hosts.items():
        assert product_variables() - set(known) == set(), name


@pytest.mark.parametrize("where", ["file", "group_vars"])
def test_an_inventorys_value_wins(where: str, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    hosts: dict[str, Any] = {"hosts": {"one": {}}}
    if where == "file":
        hosts["vars"] = {"face_workers": 7}
    else:
        (tmp_path / "group_vars").mkdir()
        (tmp_path / "group_vars" / "all.yml").write_text("face_workers: 7\n")
    inventory.write_text(yaml.safe_dump({"all": hosts}))
    assert hostvars(ROOT / "playbooks", inventory)["one"]["face_workers"] == 7


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_a_role_describes_each_of_its_variables(role: Path) -> None:
    defaults = role / "defaults" / "main.yml"
    values = yaml.safe_load(defaults.read_text(encoding="utf-8")) if defaults.exists() else {}
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    assert set(specs["argument_specs"]["main"]["options"] or {}) == set(values or {})
    for name in values or {}:
        assert name.startswith(f"{role.name}_")


def test_no_variable_is_left_over() -> None:
    """What group_vars names, something reads."""
    texts = [
        path.read_text(encoding="utf-8", errors="ignore")
        for directory in ("roles", "playbooks", "group_vars", "molecule", "files/elasticsearch")
        for path in (ROOT / directory).rglob("*")
        if path.is_file() and path.suffix in {".yml", ".j2", ".json"}
    ]
    text = "\n".join(texts)
    # Each name stands once where it is made; `gpu` and others wait in the inventory alone.
    assert [name for name in sorted(product_variables()) if text.count(name) < 2] == []
