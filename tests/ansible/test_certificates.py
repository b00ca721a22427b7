"""The installation's own certificates: what is kept, what is renewed, and what becomes of them on a host."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "roles/certificates/files/make_certificate.py"
NOW = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def program() -> Any:
    made = importlib.util.spec_from_file_location("make_certificate", PROGRAM)
    assert made is not None
    assert made.loader is not None
    loaded = importlib.util.module_from_spec(made)
    sys.modules[made.name] = loaded
    made.loader.exec_module(loaded)
    return loaded


tool = program()


def leaf(directory: Path, *names: str, **more: Any) -> Any:
    return tool.Leaf(directory / "one", [tool.general_name(name) for name in names or ("one", "::1")], **more)


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_certificate_that_lasts_is_kept(tmp_path: Path) -> None:
    assert tool.make(tmp_path, leaf(tmp_path), NOW)
    before = contents(tmp_path)
    assert len(before) == 4
    assert not tool.make(tmp_path, leaf(tmp_path), NOW + 337 * DAY)
    assert not tool.make(tmp_path, leaf(tmp_path, "one"), NOW), "one that has more names"
    assert contents(tmp_path) == before


def test_a_certificate_that_ends_soon_is_renewed_and_its_authority_is_kept(tmp_path: Path) -> None:
    tool.make(tmp_path, leaf(tmp_path), NOW)
    before = contents(tmp_path)
    later = NOW + 339 * DAY
    assert tool.make(tmp_path, leaf(tmp_path), later)
    assert read(tmp_path / "one/server.crt").not_valid_after_utc == later + 398 * DAY
    kept = {name for name, content in contents(tmp_path).items() if before[name] == content}
    assert kept == {str(tmp_path / "ca.key"), str(tmp_path / "ca.crt")}


def test_an_authority_is_renewed_with_its_key_before_a_certificate_would_outlive_it(tmp_path: Path) -> None:
    tool.make(tmp_path, leaf(tmp_path), NOW)
    old, last = read(tmp_path / "ca.crt"), NOW + (3650 - 458 - 1) * DAY
    tool.make(tmp_path, leaf(tmp_path), last)
    signed = read(tmp_path / "one/server.crt")
    assert read(tmp_path / "ca.crt") == old
    assert signed.not_valid_after_utc < old.not_valid_after_utc
    assert tool.make(tmp_path, leaf(tmp_path), last + 2 * DAY)
    new = read(tmp_path / "ca.crt")
    assert new.public_key() == old.public_key()
    assert new.not_valid_after_utc == last + 3652 * DAY
    assert read(tmp_path / "one/server.crt") == signed, "what it signed before stays good"
    signed.verify_directly_issued_by(new)


def test_an_authority_of_the_operators_own_is_never_replaced(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    own = (
        tool.builder(tool.named("Example Ltd"), tool.named("Example Root"), key.public_key(), 90, NOW)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    tool.write_certificate(tmp_path / "ca.crt", own)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "ca.key").write_bytes(key.private_bytes(*form))
    assert tool.make(tmp_path, leaf(tmp_path), NOW)
    assert read(tmp_path / "ca.crt") == own
    read(tmp_path / "one/server.crt").verify_directly_issued_by(own)


@pytest.mark.parametrize("damage", ["name", "use", "key", "authority"])
def test_a_certificate_that_its_owner_could_not_use_is_made_anew(damage: str, tmp_path: Path) -> None:
    tool.make(tmp_path, leaf(tmp_path), NOW)
    wanted = leaf(tmp_path)
    if damage == "name":
        wanted = leaf(tmp_path, "one", "10.0.0.1")
    elif damage == "use":
        wanted = leaf(tmp_path, client=True)
    elif damage == "key":
        # As a run leaves it that was cut off between the two.
        tool.write_key(tmp_path / "one/server.key")
    else:
        (tmp_path / "ca.key").unlink()
    assert tool.make(tmp_path, wanted, NOW)
    assert not tool.make(tmp_path, wanted, NOW)
    made = read(tmp_path / "one/server.crt")
    made.verify_directly_issued_by(read(tmp_path / "ca.crt"))
    assert made.public_key() == tool.read_key(tmp_path / "one/server.key").public_key()
    uses = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == wanted.uses


def play(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The role for three hosts at once, on this machine."""
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {name: {**local, "place": str(directory / name)} for name in ("one", "two", "three")}
    files = [
        {"file": "key", "dest": "{{ place }}/face.key"},
        {"file": "certificate", "dest": "{{ place }}/face.crt", "mode": "0644"},
        {"file": "authority", "dest": "{{ place }}/ca.crt", "mode": "0644"},
    ]
    given = {
        "certificates_name": "store",
        "certificates_names": ["{{ inventory_hostname }}", "localhost", "localhost"],
        "certificates_files": files,
    }
    role = {"ansible.builtin.import_role": {"name": "certificates"}, "vars": given}
    directory.mkdir(exist_ok=True)
    for name in hosts:
        (directory / name).mkdir(exist_ok=True)
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    (directory / "play.yml").write_text(
        yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [role]}])
    )
    shared = {"face_secrets_dir": str(directory / "secrets"), "face_no_log": True}
    return subprocess.run(
        [str(ROOT / ".venv/bin/ansible-playbook"), "-i", str(directory / "hosts.yml"), *options,
         str(directory / "play.yml"), "-e", json.dumps(shared)],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="the files belong to root")
def test_each_host_gets_its_own_of_one_authority(tmp_path: Path) -> None:
    directory = tmp_path / "site"
    checked = play(directory, "--check")
    assert checked.returncode == 0, checked.stdout
    assert not (directory / "secrets").exists()
    done = play(directory, "--diff")
    assert done.returncode == 0, done.stdout
    assert "PRIVATE KEY" not in done.stdout
    authority = read(directory / "secrets/ca.crt")
    for name in ("one", "two", "three"):
        assert read(directory / name / "ca.crt") == authority
        made = read(directory / name / "face.crt")
        made.verify_directly_issued_by(authority)
        found = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert found.get_values_for_type(x509.DNSName) == [name, "localhost"]
        assert made.public_key() == tool.read_key(directory / name / "face.key").public_key()
        assert (directory / name / "face.key").stat().st_mode & 0o777 == 0o640
    again = play(directory)
    assert again.stdout.count("changed=0 ") == 3, again.stdout


def test_an_authority_is_made_before_anything_is_signed(tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAM), str(tmp_path)]
    said = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert said == ["made\n", "unchanged\n"]
    assert {path.name for path in tmp_path.iterdir()} == {"ca.key", "ca.crt"}
    with_names = [*command, "--into", str(tmp_path / "one"), "--client", "one", "::1"]
    subprocess.run(with_names, capture_output=True, text=True, check=True)
    read(tmp_path / "one/server.crt").verify_directly_issued_by(read(tmp_path / "ca.crt"))
