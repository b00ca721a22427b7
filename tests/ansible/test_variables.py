"""Variables: every playbook knows them, an inventory's win, and every role says what its own are."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
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


def test_an_inventorys_value_wins_and_the_nearer_one_over_the_farther(tmp_path: Path) -> None:
    """Each of these places wins over those before it, and the first over group_vars beside site.yml."""
    inventory = tmp_path / "hosts.yml"
    hosts: dict[str, Any] = {"hosts": {"one": {}}, "children": {"web": {"hosts": {"one": {}}}}}
    (tmp_path / "group_vars").mkdir()

    def given(number: int) -> None:
        inventory.write_text(yaml.safe_dump({"all": hosts}))
        hostvars.cache_clear()
        for playbooks in (ROOT, ROOT / "playbooks"):
            assert hostvars(playbooks, inventory)["one"]["face_workers"] == number

    hosts["vars"] = {"face_workers": 11}
    given(11)
    hosts["children"]["web"]["vars"] = {"face_workers": 12}
    given(12)
    (tmp_path / "group_vars" / "all.yml").write_text("face_workers: 13\n")
    given(13)
    (tmp_path / "group_vars" / "web.yml").write_text("face_workers: 14\n")
    given(14)
    hosts["hosts"]["one"] = {"face_workers": 15}
    given(15)


def test_the_quickstart_has_the_free_pack_in_every_playbook() -> None:
    for playbooks in (ROOT, ROOT / "playbooks"):
        (host,) = hostvars(playbooks, ROOT / "inventory/quickstart/hosts.yml").values()
        assert host["face_model_pack"] == "dlib"


def test_the_example_of_an_operators_values_names_variables_that_exist() -> None:
    example = (ROOT / "inventory/group_vars/all.example.yml").read_text()
    named = set(re.findall(r"(?m)^(?:# )?(face_\w+):", example))
    assert named == {"face_model_pack", "face_accept_model_licence"}
    assert named <= product_variables()


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_a_role_describes_each_of_its_variables(role: Path) -> None:
    defaults = role / "defaults" / "main.yml"
    values = yaml.safe_load(defaults.read_text(encoding="utf-8")) if defaults.exists() else {}
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    assert set(specs["argument_specs"]["main"]["options"] or {}) == set(values or {})
    for name in values or {}:
        assert name.startswith(f"{role.name}_")


def entry_points() -> set[tuple[str, str]]:
    """Role and file of tasks of each tasks_from."""

    def walk(node: Any) -> Iterator[tuple[str, str]]:
        if isinstance(node, dict):
            if "tasks_from" in node:
                yield node["name"], node["tasks_from"].removesuffix(".yml")
            node = list(node.values())
        if isinstance(node, list):
            for each in node:
                yield from walk(each)

    files = [*(ROOT / "playbooks").rglob("*.yml"), *(ROOT / "roles").glob("*/tasks/*.yml")]
    files += [*(ROOT / "roles").glob("*/handlers/*.yml"), *(ROOT / "molecule").glob("*/*.yml")]
    return {found for path in files for found in walk(yaml.safe_load(path.read_text(encoding="utf-8")))}


@pytest.mark.parametrize(("role", "entry"), sorted(entry_points()))
def test_a_role_describes_each_of_its_entry_points(role: str, entry: str) -> None:
    """And each variable of an entry point is one that its tasks, or a default of the role, name."""
    assert (ROOT / "roles" / role / "tasks" / f"{entry}.yml").exists()
    specs = yaml.safe_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text(encoding="utf-8"))
    assert entry in specs["argument_specs"]
    described = specs["argument_specs"][entry]
    assert described["short_description"]
    named = "".join(
        path.read_text(encoding="utf-8")
        for part in ("tasks", "templates", "defaults", "vars")
        for path in (ROOT / "roles" / role / part).glob("*")
    )
    for name in described.get("options", {}):
        assert re.search(rf"\b{name}\b", named), name


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
