"""What is installed and how it is set, and the doctor's checks as an answer."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from face_pipeline import __version__
from face_pipeline.actions import certificates, doctor, system
from face_pipeline.broker import names, presence
from face_pipeline.broker.agreement import Agreement, Heartbeat
from face_pipeline.engine import contract_id, tuned
from face_pipeline.parts import Parts
from face_pipeline.web.api.system import _backups

from tests.app.test_jobs import _nobody_spoke, saying
from tests.app.test_keys_api import by, make
from tests.installation import App, Installation, seal_all
from tests.services import Nginx

SYSTEM = "/api/v1/system"
DOCTOR = f"{SYSTEM}/doctor"

__all__ = ["_nobody_spoke"]


def test_the_system_tells_what_is_installed_and_how_it_is_set(web_app: App, parts: Parts) -> None:
    presence.say(parts.queue, saying())
    told = web_app.get(SYSTEM).json()
    assert told["release"] == {"version": __version__, "id": "development"}
    assert told["database"]["up_to_date"]
    assert told["database"]["database_bytes"] > 0
    pack = told["pack"]
    assert (pack["name"], pack["licence"]) == (parts.pack.name, parts.pack.licence)
    assert pack["contract_id"] == contract_id(parts.pack)
    assert {each["sha256"] for each in pack["files"]} == {each.sha256 for each in parts.pack.files}
    assert pack["thresholds"]["likely"] == parts.pack.match_threshold
    assert told["providers"] == [{"name": "CPUExecutionProvider", "workers": 1}]
    assert told["runtime"] == {
        "wanted": "auto", "used": "onnxruntime", "prepared": False,
        "profile_wanted": "exact", "profile": "exact", "profile_refusal": None,
        "milliseconds_original": None, "milliseconds": None,
    }  # fmt: skip
    host = told["host"]
    assert host["cores"] >= 1
    assert 0 < host["memory_available_bytes"] <= host["memory_bytes"]
    assert 0 < host["originals"]["free_bytes"] <= host["originals"]["total_bytes"]
    # The truth about what there is not.
    assert told["backups"]["configured"] is False
    assert "not configured" in told["backups"]["words"]
    assert told["limits"]["upload_max_bytes"] == parts.settings.upload_max_bytes
    assert told["retention"]["events_days"] == parts.settings.events_days
    assert {"name": "API", "path": "/docs"} in told["links"]
    assert "password" not in json.dumps(told)


def test_backups_are_told_where_they_are_made(parts: Parts) -> None:
    told = _backups(parts.settings.model_copy(update={"backup_enabled": True}))
    assert told.configured is True
    assert "each night" in told.words


def test_a_profile_that_is_not_used_is_told_with_the_reason(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts.settings, "profile", "fast")
    told = system.look(parts).runtime
    assert told is not None
    assert (told.profile_wanted, told.profile) == ("fast", "exact")
    assert told.profile_refusal == "the engine dlib runs packs as they came"


def test_the_system_and_the_doctor_are_for_admins(web_app: App) -> None:
    reader = by(make(web_app, scopes=["read", "write", "enrol", "erase"]))
    for path in (SYSTEM, DOCTOR):
        answer = web_app.get(path, headers=reader)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "scope_missing")


def test_the_doctor_of_a_page_tells_the_checks_of_the_command(
    web_app: App, clean: Installation, parts: Parts
) -> None:
    seal_all(parts)
    told = web_app.get(DOCTOR).json()
    command = json.loads(clean.run("doctor", "--format", "json").stdout)
    assert [each["check"] for each in told["findings"]] == [each["check"] for each in command]
    assert {each["check"]: each["state"] for each in told["findings"]} == {
        each["check"]: each["state"] for each in command
    }
    assert told["state"] in ("ok", "skipped", "warn")
    assert told["command"] == "sudo face-pipeline doctor"


def finding(parts: Parts, check: str) -> doctor.Finding:
    return next(each for each in doctor.examine(parts) if each.check == check)


def test_a_worker_that_was_killed_is_a_warning_that_says_where_to_look(parts: Parts) -> None:
    presence.say(parts.queue, saying(contract=contract_id(parts.pack)))
    assert finding(parts, "workers").state is doctor.State.OK
    parts.queue.pexpire("face:worker:worker1@one", round(1000 * (presence.FORGET_SECONDS - 120)))
    found = finding(parts, "workers")
    assert (found.state, found.ok) == (doctor.State.WARN, True)
    assert "worker1@one" in found.found
    assert "systemctl status" in found.mend


def test_workers_of_another_pack_are_a_warning(parts: Parts) -> None:
    presence.say(parts.queue, saying(contract="insightface-other"))
    assert finding(parts, "workers").state is doctor.State.WARN


def test_what_runs_is_compared_with_what_was_measured(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "face_tune.fact"
    monkeypatch.setattr(parts.settings, "tune_file", file)
    monkeypatch.setattr(parts.settings, "autoscale_host", "one")
    basis = tuned.basis_of(parts.pack, "auto", "exact")
    figures = [
        tuned.Figures(workers, threads, rate, 300.0, 300.0)
        for workers, threads, rate in ((1, 1, 9.0), (1, basis.cores + 3, 20.0), (2, basis.cores + 2, 30.0))
    ]
    kept = tuned.Tuned(
        format=tuned.FORMAT, made_at="2026-01-02T03:04:05+00:00", basis=basis, memory_mb=8000,
        photos="a portrait", load=0.1, measured=figures, search_ms={"1": 40.0}, workers=2,
        threads=basis.cores + 2, worker_photos_per_second=15.0, worker_memory_mb=300,
        worker_memory_max_mb=1344, autoscale_target=150,
    )  # fmt: skip

    def told(*threads: int) -> tuple[doctor.State, str]:
        for name in [*parts.queue.scan_iter("face:worker:*"), names.WORKERS]:
            parts.queue.delete(name)
        for number, each in enumerate(threads, start=1):
            presence.say(parts.queue, saying(f"worker{number}@one", threads=each))
        presence.say(parts.queue, saying("worker1@two", host="two", threads=1))
        found = finding(parts, "tuning")
        assert found.ok
        return found.state, found.message

    assert told(4, 4) == (doctor.State.OK, "how many workers suit this host was not measured")
    tuned.write(file, kept)
    state, words = told(basis.cores + 2, basis.cores + 2)
    assert state is doctor.State.OK
    assert f"2 x {basis.cores + 2} were measured as best on 2026-01-02" in words
    state, words = told(basis.cores + 3)
    assert state is doctor.State.WARN
    assert "they do 20.0 photos a second, not 30.0; run ./face-ansible site.yml" in words
    state, words = told(*[4] * 5)
    assert state is doctor.State.WARN
    assert "they take 900 MB more" in words
    agreement = Agreement(parts.queue, alive_seconds=60)
    agreement.say(Heartbeat("one", 1.0, 10, 1, paused=False))
    assert told(basis.cores + 3)[0] is doctor.State.OK
    assert told(1)[0] is doctor.State.WARN
    agreement.say(Heartbeat("one", 1.0, 10, 1, paused=True))
    assert told(basis.cores + 3)[0] is doctor.State.WARN
    parts.queue.delete(names.AGENT.format(host="one"), names.AGENTS)
    tuned.write(file, replace(kept, basis=replace(basis, pack="another", contract="another")))
    state, words = told(4, 4)
    assert state is doctor.State.WARN
    assert words.startswith(
        f"what was measured was pack another, now {parts.pack.name}; run `sudo face-pipeline"
    )
    file.write_text("{")
    state, words = told(4, 4)
    assert state is doctor.State.WARN
    assert "run it again" in words


def test_a_check_that_hangs_keeps_nobody_waiting(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()

    def hangs(_: Parts) -> str:
        end.wait(60)
        return "well"

    monkeypatch.setattr(doctor, "_checks", lambda: (("slow", hangs), ("quick", lambda _: "well")))
    monkeypatch.setattr(doctor, "PAGE_SECONDS", 0.5)
    try:
        slow, quick = doctor.Examiner().examine(parts)
    finally:
        end.set()
    assert (slow.state, slow.mend) == (doctor.State.SKIPPED, "run sudo face-pipeline doctor")
    assert (quick.state, quick.found) == (doctor.State.OK, "well")


def test_many_who_ask_together_get_one_examination(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[float] = []

    def check(_: Parts) -> str:
        runs.append(time.monotonic())
        return "well"

    monkeypatch.setattr(doctor, "_checks", lambda: (("counted", check),))
    examiner = doctor.Examiner()
    threads = [threading.Thread(target=examiner.examine, args=(parts,)) for _ in range(5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert len(runs) == 1


def test_what_a_check_says_is_parted_into_what_is_and_what_to_do(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(_: Parts) -> str:
        raise doctor.Unwell("it is broken; mend it; then look again")

    def odd(_: Parts) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(doctor, "_checks", lambda: (("wrong", wrong), ("odd", odd)))
    first, second = doctor.examine(parts)
    assert (first.found, first.mend, first.ok) == ("it is broken", "mend it; then look again", False)
    assert (second.found, second.ok) == ("ZeroDivisionError: ", False)


# The certificate

TLS = """
events {}
http { server { listen 127.0.0.1:{port} ssl; ssl_certificate {directory}/tls.pem;
ssl_certificate_key {directory}/tls.pem; location / { return 204; } } }
"""


def certificate(days: int, directory: Path) -> str:
    key, pem = directory / "key.pem", directory / "cert.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", str(key), "-out", str(pem), "-days", str(days), "-subj", "/CN=faces.example.org",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return pem.read_text() + key.read_text()


@pytest.fixture
def served(tmp_path: Path) -> Any:
    opened: list[Nginx] = []

    def serve(days: int) -> int:
        nginx = Nginx(TLS)
        opened.append(nginx)
        nginx.write("tls.pem", certificate(days, tmp_path))
        nginx.start()
        return nginx.port

    yield serve
    for each in opened:
        each.close()


def test_the_certificate_that_users_see_is_told(parts: Parts, served: Any) -> None:
    found = certificates.served("faces.example.org", served(30))
    assert found.subject == found.issuer == "faces.example.org"
    assert found.days_left in (29, 30)


@pytest.mark.parametrize(("days", "state"), [(40, doctor.State.OK), (3, doctor.State.WARN)])
def test_a_certificate_that_ends_soon_is_a_warning(
    parts: Parts, served: Any, monkeypatch: pytest.MonkeyPatch, days: int, state: doctor.State
) -> None:
    monkeypatch.setattr(parts.settings, "public_url", f"https://faces.example.org:{served(days)}")
    assert finding(parts, "certificate").state is state


def test_where_nobody_serves_a_certificate_the_doctor_says_that_it_cannot_see_it(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts.settings, "public_url", "https://faces.example.org:9")
    found = finding(parts, "certificate")
    assert (found.state, found.ok) == (doctor.State.SKIPPED, True)
    assert doctor.COMMAND in found.mend
