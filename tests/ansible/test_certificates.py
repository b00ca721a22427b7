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


def read_key(path: Path) -> Any:
    return serialization.load_pem_private_key(path.read_bytes(), None)


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


@pytest.mark.parametrize("damage", ["name", "use", "key", "authority", "authority's certificate"])
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
    elif damage == "authority":
        (tmp_path / "ca.key").unlink()
        (tmp_path / "ca.crt").unlink()
    else:
        (tmp_path / "ca.crt").unlink()
    assert tool.make(tmp_path, wanted, NOW)
    assert not tool.make(tmp_path, wanted, NOW)
    made = read(tmp_path / "one/server.crt")
    made.verify_directly_issued_by(read(tmp_path / "ca.crt"))
    assert made.public_key() == read_key(tmp_path / "one/server.key").public_key()
    uses = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == wanted.uses


def verified(directory: Path, certificate: Path, authority: Path | None = None) -> str:
    """What OpenSSL says of a certificate of the authority."""
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-attime", str(int(NOW.timestamp())),
         "-CAfile", str(authority or directory / "ca.crt"), str(certificate)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return "OK" if done.returncode == 0 else done.stderr


def stolen(directory: Path, *names: str) -> Path:
    """What somebody signs who has the authority's key, for a name of somebody else."""
    authority = tool.Authority(directory)
    away = tool.Leaf(directory / "stolen", [tool.general_name(name) for name in names])
    away.directory.mkdir(exist_ok=True)
    tool.sign(away, tool.Signer(read(directory / "ca.crt"), authority), NOW)
    made: Path = away.directory / "server.crt"
    return made


def permits(directory: Path) -> list[str]:
    found = read(directory / "ca.crt").extensions.get_extension_for_class(x509.NameConstraints)
    assert found.critical
    assert found.value.excluded_subtrees is None
    return [str(name.value) for name in found.value.permitted_subtrees or []]


def test_an_authority_signs_for_its_own_names_and_networks_alone(tmp_path: Path) -> None:
    given = [tool.permitted_name(text) for text in ("example.org", "192.0.2.0/24", "2001:db8::/64")]
    names = (
        "faces.example.org",
        "db1",
        "10.3.4.5",
        "192.0.2.9",
        "203.0.113.7",
        "fd00::1",
        "2001:db8::9",
        "localhost",
    )
    tool.make(tmp_path, leaf(tmp_path, *names), NOW, given)
    assert permits(tmp_path) == [
        "db1", "example.org", "localhost", "10.0.0.0/8", "127.0.0.0/8", "192.0.2.0/24", "203.0.113.7/32",
        "::1/128", "2001:db8::/64", "fc00::/7",
    ]  # fmt: skip
    assert verified(tmp_path, tmp_path / "one/server.crt") == "OK"
    for name in ("other.example.org", "10.9.9.9", "192.0.2.200", "fd00::2", "127.0.0.1"):
        assert verified(tmp_path, stolen(tmp_path, name)) == "OK", name
    for name in ("bank.example.com", "org", "notexample.org", "172.16.0.1", "203.0.113.8", "2001:db8:1::1"):
        for more in ([], ["db1"]):
            assert "permitted subtree violation" in verified(tmp_path, stolen(tmp_path, *more, name)), name


def test_a_host_that_comes_later_is_permitted_by_a_certificate_of_the_same_key(tmp_path: Path) -> None:
    tool.make(tmp_path, leaf(tmp_path, "db1", "10.0.0.1"), NOW)
    before, old = read(tmp_path / "ca.crt"), tmp_path / "old.crt"
    old.write_bytes((tmp_path / "ca.crt").read_bytes())
    assert not tool.make(
        tmp_path, leaf(tmp_path, "db1", "10.0.0.1"), NOW, [tool.permitted_name("10.200.0.0/16")]
    )
    later = tool.Leaf(tmp_path / "two", [tool.general_name(name) for name in ("db2", "10.0.0.2")])
    said = tool.make(tmp_path, later, NOW)
    assert said[0] == "made"
    assert "may now sign for db2, localhost, 10.0.0.0/8" in said[1]
    assert "ca.crt need the new one" in said[1]
    assert tool.make(tmp_path, later, NOW) == []
    assert read(tmp_path / "ca.crt").public_key() == before.public_key()
    assert permits(tmp_path) == ["db1", "db2", "localhost", "10.0.0.0/8", "127.0.0.0/8", "::1/128"]
    for authority in (old, tmp_path / "ca.crt"):
        assert verified(tmp_path, tmp_path / "one/server.crt", authority) == "OK"
    assert verified(tmp_path, tmp_path / "two/server.crt") == "OK"
    assert "permitted subtree violation" in verified(tmp_path, tmp_path / "two/server.crt", old)
    renewed = NOW + (3650 - 458 + 1) * DAY
    tool.make(tmp_path, tool.Leaf(tmp_path, []), renewed)
    assert read(tmp_path / "ca.crt").not_valid_after_utc == renewed + 3650 * DAY
    assert permits(tmp_path) == ["db1", "db2", "localhost", "10.0.0.0/8", "127.0.0.0/8", "::1/128"]


def without_constraints(directory: Path) -> x509.Certificate:
    """An authority as earlier releases made it, with the certificate of `leaf`."""
    key = tool.write_key(directory / "ca.key")
    made: x509.Certificate = (
        tool.builder(tool.AUTHORITY, tool.AUTHORITY, key.public_key(), 3650, NOW)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(tool.usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    tool.write_certificate(directory / "ca.crt", made)
    tool.make(directory, leaf(directory), NOW)
    return made


def test_an_authority_of_an_earlier_release_stays_until_its_certificate_is_removed(tmp_path: Path) -> None:
    old = without_constraints(tmp_path)
    assert tool.make(tmp_path, leaf(tmp_path, "new.example"), NOW) == ["made"]
    assert read(tmp_path / "ca.crt") == old
    signed = read(tmp_path / "one/server.crt")
    (tmp_path / "ca.crt").unlink()
    assert tool.make(tmp_path, leaf(tmp_path, "new.example"), NOW) == ["made"]
    assert permits(tmp_path) == ["localhost", "new.example", "127.0.0.0/8", "::1/128"]
    assert read(tmp_path / "one/server.crt") == signed, "what it signed stays good"
    assert verified(tmp_path, tmp_path / "one/server.crt") == "OK"


def test_an_authority_of_the_operators_own_that_does_not_permit_a_name_is_told(tmp_path: Path) -> None:
    key = tool.write_key(tmp_path / "ca.key")
    only = x509.NameConstraints([x509.DNSName("example.org")], None)
    own = (
        tool.builder(tool.named("Example Ltd"), tool.named("Example Ltd"), key.public_key(), 90, NOW)
        .add_extension(only, critical=True)
        .sign(key, hashes.SHA256())
    )
    tool.write_certificate(tmp_path / "ca.crt", own)
    with pytest.raises(
        tool.NotMadeError, match=r"of your own that permits example\.org and not all of .*one"
    ):
        tool.make(tmp_path, leaf(tmp_path), NOW)
    assert read(tmp_path / "ca.crt") == own


def test_a_key_that_was_taken_away_is_asked_for_when_it_is_needed_and_not_before(tmp_path: Path) -> None:
    tool.make(tmp_path, leaf(tmp_path), NOW)
    before, key = read(tmp_path / "ca.crt"), (tmp_path / "ca.key").read_bytes()
    (tmp_path / "ca.key").unlink()
    assert not tool.make(tmp_path, leaf(tmp_path), NOW + 337 * DAY)
    asked = {
        ("::1", "127.0.0.9"): "sign the certificate of one",
        ("two",): "let the authority sign for localhost, two",
    }
    for names, purpose in asked.items():
        with pytest.raises(
            tool.NotMadeError, match=rf"needed to {purpose}.*ca\.key is not there: bring it back"
        ):
            tool.make(tmp_path, leaf(tmp_path, *names), NOW)
    assert read(tmp_path / "ca.crt") == before, "no other authority came of it"
    tool.write_key(tmp_path / "ca.key")
    with pytest.raises(tool.NotMadeError, match=r"is not the key of .*ca\.crt: bring back the one that is"):
        tool.make(tmp_path, leaf(tmp_path, "two"), NOW)
    (tmp_path / "ca.key").write_bytes(key)
    assert tool.make(tmp_path, leaf(tmp_path, "two"), NOW)


def test_a_key_is_encrypted_once_there_is_a_passphrase_and_opens_with_no_other(tmp_path: Path) -> None:
    passphrase = b"a passphrase of a vault"
    tool.make(tmp_path, leaf(tmp_path), NOW)
    plain = read_key(tmp_path / "ca.key")
    assert tool.make(tmp_path, leaf(tmp_path), NOW, passphrase=passphrase) == ["made"]
    assert tool.make(tmp_path, leaf(tmp_path), NOW, passphrase=passphrase) == []
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in (tmp_path / "ca.key").read_bytes()
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600
    assert tool.Authority(tmp_path, passphrase).key("look at it").public_key() == plain.public_key()
    for other, said in (
        (None, "is encrypted: give its passphrase"),
        (b"another passphrase, too", "does not open it"),
    ):
        assert tool.make(tmp_path, leaf(tmp_path), NOW, passphrase=other) == [], "nothing has to be signed"
        with pytest.raises(tool.NotMadeError, match=rf"{said}.*|.*{said}.*face_authority_passphrase"):
            tool.make(tmp_path, leaf(tmp_path, "::1", "127.0.0.9"), NOW, passphrase=other)
    assert tool.make(tmp_path, leaf(tmp_path, "::1", "127.0.0.9"), NOW, passphrase=passphrase) == ["made"]
    assert verified(tmp_path, tmp_path / "one/server.crt") == "OK"


def play(directory: Path, *options: str, **more: object) -> subprocess.CompletedProcess[str]:
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
    shared = {"face_secrets_dir": str(directory / "secrets"), "face_no_log": True, **more}
    return subprocess.run(
        [str(ROOT / ".venv/bin/ansible-playbook"), "-i", str(directory / "hosts.yml"), *options,
         str(directory / "play.yml"), "-e", json.dumps(shared)],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.campaign("the scenario `cluster` installs so, on hosts")
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
        assert made.public_key() == read_key(directory / name / "face.key").public_key()
        assert (directory / name / "face.key").stat().st_mode & 0o777 == 0o640
    again = play(directory)
    assert again.stdout.count("changed=0 ") == 3, again.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="the files belong to root")
def test_a_run_keeps_the_passphrase_to_itself_and_says_when_it_needs_the_key(tmp_path: Path) -> None:
    directory, given = tmp_path / "site", {"face_authority_passphrase": "a passphrase of a vault"}
    done = play(directory, "-vvv", **given)
    assert done.returncode == 0, done.stdout
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in (directory / "secrets/ca.key").read_bytes()
    assert given["face_authority_passphrase"] not in done.stdout + done.stderr
    (directory / "secrets/store-two/server.crt").unlink()
    needed = play(directory)
    said = " ".join(needed.stdout.split())
    assert needed.returncode == 2
    assert "ca.key is encrypted: give its passphrase as face_authority_passphrase" in said
    assert said.count("fatal: [two]") == said.count("fatal: ") == 1


def test_an_authority_is_made_before_anything_is_signed(tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAM), str(tmp_path)]
    said = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert said == ["made\n", "unchanged\n"]
    assert {path.name for path in tmp_path.iterdir()} == {"ca.key", "ca.crt"}
    with_names = [*command, "--into", str(tmp_path / "one"), "--client", "one", "::1"]
    subprocess.run(with_names, capture_output=True, text=True, check=True)
    read(tmp_path / "one/server.crt").verify_directly_issued_by(read(tmp_path / "ca.crt"))


def test_a_passphrase_that_can_be_guessed_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAM), str(tmp_path / "own"), "--passphrase"]
    done = subprocess.run(command, input="short\n", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "face_authority_passphrase is too short to keep a key: give 20 characters" in done.stderr
    assert not (tmp_path / "own").exists()
