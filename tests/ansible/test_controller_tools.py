"""The small programs that run beside Ansible: secrets, certificates, releases, the check of a model pack."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tarfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).resolve().parents[2]
ROLES = ROOT / "roles"


def run(script: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_secrets_are_made_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    directory = tmp_path / "secrets"
    first = json.loads(run(ROLES / "base/files/make_secrets.py", directory).stdout)
    assert json.loads(run(ROLES / "base/files/make_secrets.py", directory).stdout) == first
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    assert first["admin_api_key"].startswith("fp_")
    assert len(first["admin_api_key"]) == 43
    assert (directory / "admin_api_key").read_text().strip() == first["admin_api_key"]
    assert len(set(first.values())) == len(first)


def test_a_rotation_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    program, directory = ROLES / "base/files/make_secrets.py", tmp_path / "secrets"
    both = ("session_secret", "admin_api_key")

    def secrets() -> dict[str, str]:
        made: dict[str, str] = json.loads(run(program, directory).stdout)
        return made

    old = secrets()
    for _ in range(2):
        assert run(program, directory, "next", *both).returncode == 0
    named = secrets()
    new = {name: named[f"{name}.next"] for name in both}
    assert named == old | {f"{name}.next": value for name, value in new.items()}
    assert {len(new[name]) - len(old[name]) for name in both} == {0}
    assert new["admin_api_key"].startswith("fp_")
    # A run that ended between the two steps of the first one.
    os.link(directory / both[0], directory / f"{both[0]}.before")
    for _ in range(2):
        assert run(program, directory, "promote").returncode == 0
    assert secrets() == old | new | {f"{name}.before": old[name] for name in both}
    for _ in range(2):
        assert run(program, directory, "forget").returncode == 0
    assert secrets() == old | new
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


def test_a_secret_that_is_not_there_cannot_be_rotated(tmp_path: Path) -> None:
    done = run(ROLES / "base/files/make_secrets.py", tmp_path, "next", "a_password")
    assert done.returncode == 2
    assert "a_password" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_client_trusts_the_certificate_through_its_authority(tmp_path: Path) -> None:
    script = ROLES / "certificates/files/make_certificate.py"
    assert run(script, tmp_path, "face.example", "127.0.0.1").stdout == "made\n"
    assert run(script, tmp_path, "face.example", "127.0.0.1").stdout == "unchanged\n"
    assert (tmp_path / "server.key").stat().st_mode & 0o777 == 0o600
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    client = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    # What Python 3.13 asks of every certificate.
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    for name in ("face.example", "127.0.0.1"):
        handshake(server, client, name)
    authority = (tmp_path / "ca.crt").read_text()
    assert run(script, tmp_path, "face.example", "below.face.example").stdout == "made\n"
    assert (tmp_path / "ca.crt").read_text() == authority


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with server.wrap_socket(theirs, server_side=True) as connection:
            connection.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    with client.wrap_socket(ours, server_hostname=name) as connection:
        connection.send(b"x")
    thread.join(5)


def release(project: Path, cache: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(run(ROLES / "app/files/build_release.py", project, cache).stdout)
    return made


def test_the_same_source_is_the_same_release(tmp_path: Path) -> None:
    project, cache = tmp_path / "project", tmp_path / "cache"
    for part in ("app/face_pipeline/web/api", "requirements"):
        (project / part).mkdir(parents=True)
    (project / "app/face_pipeline/web/api/photos.py").write_text("one")
    (project / "pyproject.toml").write_text("[project]")
    (project / "requirements/app.lock").write_text("lock")
    first = release(project, cache)
    archive = Path(first["path"]).read_bytes()
    (project / "app/face_pipeline/__pycache__").mkdir()
    (project / "app/face_pipeline/__pycache__/x.pyc").write_bytes(b"x")
    shutil.rmtree(cache)
    assert release(project, cache) == first
    assert Path(first["path"]).read_bytes() == archive
    with tarfile.open(first["path"]) as packed:
        assert sorted(packed.getnames()) == [
            "app/face_pipeline/web/api/photos.py", "pyproject.toml", "requirements/app.cdx.json",
            "requirements/app.lock",
        ]  # fmt: skip
    (project / "app/face_pipeline/web/api/photos.py").write_text("two")
    assert release(project, cache)["id"] != first["id"]


def check_pack(wanted: object, accepted: str = "") -> subprocess.CompletedProcess[str]:
    return run(ROLES / "preflight/files/check_pack.py", ROOT / "app", wanted, accepted)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    directory = tmp_path / "pack"
    directory.mkdir()
    (directory / "model.onnx").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    tasks = {role: {"file": "model.onnx", "sha256": digest} for role in ("detection", "recognition")}
    manifest = {"manifest_version": 2, "model_id": "own", "tasks": tasks}
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return directory


def test_a_good_pack_passes(pack: Path) -> None:
    assert check_pack("dlib").stdout == "dlib\n"
    assert check_pack(pack).stdout == "own\n"


def test_a_restricted_licence_needs_to_be_accepted_by_name() -> None:
    refused = check_pack("buffalo_l")
    assert refused.returncode == 1
    assert "face_accept_model_licence" in refused.stdout
    assert check_pack("buffalo_l", "yes").returncode == 1
    assert check_pack("buffalo_l", "buffalo_l").stdout == "buffalo_l\n"


def test_a_bad_pack_is_one_line_that_says_what_to_do(pack: Path, tmp_path: Path) -> None:
    (pack / "model.onnx").write_bytes(b"other")
    for wanted, words in (
        (pack, "has SHA-256"),
        (tmp_path / "none", "is missing"),
        ("nonesuch", "set face_model_pack"),
    ):
        answer = check_pack(wanted)
        assert answer.returncode == 1
        assert words in answer.stdout
        assert answer.stdout.count("\n") == 1
        assert answer.stderr == ""


def own_certificate(directory: Path, names: list[str], days: int) -> tuple[Path, Path]:
    """A certificate of an authority that nobody knows, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "own")])
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority")])
    end = datetime.now(UTC) + timedelta(days=days)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=90))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    certificate, private = directory / f"{names[0]}.crt", directory / f"{names[0]}.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, private


def check_certificate(certificate: Path, key: Path, name: str) -> tuple[int, str]:
    done = run(ROLES / "preflight/files/check_certificate.py", certificate, key, name)
    return done.returncode, done.stdout + done.stderr


def test_an_operators_certificate_is_taken_whoever_signed_it(tmp_path: Path) -> None:
    certificate, key = own_certificate(tmp_path, ["faces.example"], days=30)
    assert check_certificate(certificate, key, "faces.example") == (0, "")


@pytest.mark.parametrize(
    ("days", "name", "other_key", "words"),
    [
        (
            30,
            "other.example",
            False,
            "certificate is not valid for 'other.example'; get one",
        ),
        (-1, "faces.example", False, "certificate has expired"),
        (30, "faces.example", True, "do not go together"),
    ],
)
def test_a_certificate_that_browsers_refuse_is_one_line(
    days: int, name: str, other_key: bool, words: str, tmp_path: Path
) -> None:
    certificate, key = own_certificate(tmp_path, ["faces.example"], days)
    if other_key:
        _, key = own_certificate(tmp_path, ["else.example"], days)
    status, said = check_certificate(certificate, key, name)
    assert (status, said.count("\n")) == (1, 1), said
    assert words in said
