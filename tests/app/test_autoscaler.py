"""The autoscaler as an operator notices it: the rule over loads, hosts' shares, agents on a real Redis."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
from face_pipeline.broker.presence import Remembered, remembered
from face_pipeline.ops.autoscaler.host import available_mb, room, tell
from face_pipeline.ops.autoscaler.rule import Cause, Observation, Policy, Rule
from face_pipeline.ops.autoscaler.spread import Host, spread
from face_pipeline.parts import Parts

from bench.autoscaler import Moment, Plant, burst
from tests.installation import Installation, wait_until
from tests.services.process import free_port

POLICY = Policy()


def _changes(moments: list[Moment]) -> list[int]:
    numbers = [moment.workers for moment in moments]
    return [after - before for before, after in itertools.pairwise(numbers) if after != before]


def _turns(moments: list[Moment]) -> int:
    """How often more followed fewer or the other way round."""
    changes = _changes(moments)
    return sum((a > 0) != (b > 0) for a, b in itertools.pairwise(changes))


def _look(
    rule: Rule, now: float, waiting: int | None, workers: int, busy: int | None = 0
) -> tuple[int, Cause]:
    decision = rule.decide(Observation(now, waiting, workers, busy))
    assert decision.reason.endswith(".")
    return decision.desired, decision.cause


# The rule


def test_a_burst_gets_every_worker_within_three_looks_and_gives_them_back_after_the_window() -> None:
    moments = Plant(burst).run(1200)
    begins = next(index for index, moment in enumerate(moments) if moment.waiting)
    assert [moment.workers for moment in moments[begins : begins + 3]] == [6, 6, 10]
    assert max(moment.workers for moment in moments) == POLICY.maximum
    assert min(moment.workers for moment in moments) == moments[-1].workers == POLICY.minimum
    assert _turns(moments) == 1
    empty = max(moment.at for moment in moments if moment.waiting) + 10
    first_fewer = next(moment.at for moment in moments if moment.decision.cause == Cause.DOWN)
    assert first_fewer >= empty + POLICY.down_window - 10


def test_workers_stay_between_the_teeth_of_a_saw() -> None:
    # A batch every two minutes: nobody wants workers to come and go with each.
    moments = Plant(lambda now: 200 if now % 120 < 20 else 0).run(1800)
    assert max(moment.waiting for moment in moments) > 100
    assert max(moment.workers for moment in moments) <= POLICY.maximum
    assert _changes([moment for moment in moments if moment.at >= 600]) == []


def test_a_steady_load_keeps_its_workers() -> None:
    # Workers of 40 tasks a second: 170 a second keep five of them busy, with nothing left to wait.
    moments = Plant(lambda _: 170).run(3600)
    settled = [moment for moment in moments if moment.at >= 1200]
    assert {moment.waiting for moment in settled} == {0}
    assert _changes(settled) == []


def test_dead_workers_are_made_up_for() -> None:
    moments = Plant(lambda _: 60, dead=lambda now: 1 if 300 <= now < 500 else 0).run(1500)
    assert [moment.workers for moment in moments if moment.at == 290] == [2]
    assert next(moment for moment in moments if moment.workers > 2).at <= 320
    assert {moment.waiting for moment in moments if moment.at >= 360} == {0}
    assert moments[-1].workers == 2


def test_a_flapping_metric_does_not_make_workers_flap() -> None:
    rule, workers, numbers = Rule(POLICY), 2, []
    for step in range(180):
        workers, _ = _look(rule, 10.0 * step, 60 if step % 2 else 0, workers)
        numbers.append(workers)
    assert numbers[0] == 2
    assert set(numbers[1:]) == {6}


def test_a_little_more_or_less_than_the_target_changes_nothing() -> None:
    for waiting in (46, 50, 54):
        assert _look(Rule(POLICY), 0, waiting, 5) == (5, Cause.STEADY)
    assert _look(Rule(POLICY), 0, 56, 5) == (6, Cause.UP)


def test_workers_stay_while_nobody_knows_what_waits_and_for_a_window_after() -> None:
    moments = Plant(burst, blind=lambda now: 150 <= now < 900).run(1500)
    assert {moment.workers for moment in moments if 150 <= moment.at < 1190} == {10}
    assert {moment.decision.cause for moment in moments if 150 <= moment.at < 900} == {Cause.BLIND}
    assert moments[-1].workers == POLICY.minimum


@pytest.mark.parametrize(("workers", "wanted"), [(0, 4), (2, 6), (5, 10), (6, 10), (12, 10)])
def test_steps_up_are_limited_and_none_goes_past_the_maximum(workers: int, wanted: int) -> None:
    assert _look(Rule(POLICY), 0, 100_000, workers)[0] == wanted


def test_large_installations_at_most_double() -> None:
    assert _look(Rule(Policy(maximum=100)), 0, 100_000, 20)[0] == 40


def test_changes_keep_their_distance() -> None:
    rule = Rule(Policy(down_window=0))
    assert _look(rule, 0, 30, 2) == (3, Cause.UP)
    assert _look(rule, 10, 90, 3) == (3, Cause.COOLDOWN)
    assert _look(rule, 15, 90, 3) == (7, Cause.UP)
    assert _look(rule, 70, 0, 7) == (7, Cause.COOLDOWN)
    assert _look(rule, 75, 0, 7) == (2, Cause.DOWN)


def test_a_peak_shorter_than_the_window_up_is_waited_out() -> None:
    rule = Rule(Policy(up_window=30))
    _look(rule, 0, 0, 2)
    assert _look(rule, 10, 90, 2) == (2, Cause.WINDOW)
    assert _look(rule, 20, 0, 2) == (2, Cause.STEADY)
    assert [_look(rule, now, 90, 2)[0] for now in (30, 40, 49, 50)] == [2, 2, 2, 6]


def test_busy_workers_are_not_taken_away() -> None:
    def after_a_window(busy: int | None) -> tuple[int, Cause]:
        rule = Rule(POLICY)
        for now in range(0, 310, 10):
            _look(rule, now, 0, 5, busy)
        return _look(rule, 310, 0, 5, busy)

    assert after_a_window(20) == (5, Cause.BUSY)
    assert after_a_window(None) == (5, Cause.BUSY)
    rule = Rule(POLICY)
    assert min(_look(rule, now, 0, 5, 12)[0] for now in range(0, 320, 10)) == 3


def test_a_full_house_says_that_it_is_full() -> None:
    assert _look(Rule(POLICY), 0, 500, 10) == (10, Cause.MAXIMUM)


# Shares


def test_shares_follow_the_weights_and_no_host_is_overfilled() -> None:
    equal = [Host("a", 1, 10), Host("b", 1, 10)]
    assert spread(5, equal) == {"a": 3, "b": 2}
    assert spread(6, [Host("big", 2, 10), Host("small", 1, 10)]) == {"big": 4, "small": 2}
    assert spread(6, [Host("a", 1, 1), Host("b", 1, 10)]) == {"a": 1, "b": 5}
    assert spread(3, [Host("a", 0, 10), Host("b", 1, 10)]) == {"a": 0, "b": 3}
    assert spread(0, []) == {}


def test_one_worker_more_takes_none_from_any_host() -> None:
    hosts = [Host("a", 3, 5), Host("b", 2, 4), Host("c", 1, 10)]
    for total in range(19):
        less, more = spread(total, hosts), spread(total + 1, hosts)
        assert all(more[name] >= less[name] for name in less)


def test_memory_limits_workers_to_be_added_and_takes_none_away() -> None:
    free = available_mb()
    assert free > 0
    assert room(3, 3, maximum=10, memory_mb=free * 2, gpu_memory_mb=0) == 3
    assert room(0, 4, maximum=10, memory_mb=free * 2, gpu_memory_mb=0) == 4
    assert room(3, 3, maximum=10, memory_mb=1, gpu_memory_mb=1) == 10


def test_a_missing_or_broken_state_file_says_nothing(tmp_path: Path) -> None:
    state = tmp_path / "workers.json"
    assert remembered(state) == Remembered(None, False)
    for text in ("", "[]", '{"workers"', '{"workers": null}'):
        state.write_text(text)
        assert remembered(state) == Remembered(None, False)
    state.write_text('{"workers": 3, "installed": 2, "paused": true}')
    assert remembered(state) == Remembered(3, True)


def test_the_wanted_number_is_never_half_written(tmp_path: Path) -> None:
    tell(tmp_path / "wanted", 7)
    tell(tmp_path / "wanted", 12)
    assert (tmp_path / "wanted").read_text() == "12\n"
    assert [path.name for path in tmp_path.iterdir()] == ["wanted"]


# Agents


@dataclass
class WorkerHost:
    """A host with an autoscaler: a systemctl that lists the workers face-workers was told to run."""

    installation: Installation
    directory: Path
    name: str
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.directory.mkdir()
        systemctl = self.directory / "systemctl"
        systemctl.write_text(
            "#!/bin/sh\n"
            f"[ ! -e {self.directory}/broken ] || exit 1\n"
            f"n=$(sed 's/.*workers\": //;s/,.*//' {self.state})\n"
            'for i in $(seq "$n"); do echo "celery@$i.service loaded active running Worker $i"; done\n'
        )
        systemctl.chmod(0o755)
        self.apply(1)

    @property
    def state(self) -> Path:
        return self.directory / "workers.json"

    @property
    def log(self) -> list[dict[str, Any]]:
        lines = self.installation.log(f"{self.name}.log").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def apply(self, workers: int, paused: bool = False) -> None:
        """What face-workers does."""
        temporary = self.state.with_suffix(".new")
        temporary.write_text(json.dumps({"workers": workers, "installed": 1, "paused": paused}))
        temporary.replace(self.state)

    @property
    def wanted(self) -> int | None:
        path = self.directory / "wanted"
        return int(path.read_text()) if path.exists() else None

    def obey(self) -> int | None:
        """Run face-autoscaler-apply.service once; returns the number wanted."""
        if (wanted := self.wanted) is not None and not remembered(self.state).paused:
            self.apply(wanted)
        return wanted

    def start(self) -> None:
        self.process = self.installation.spawn(
            f"{self.name}.log", sys.executable, "-m", "face_pipeline.cli", "autoscaler",
            **{
                "PATH": f"{self.directory}:{os.environ['PATH']}",
                "FACE_AUTOSCALE_HOST": self.name,
                "FACE_AUTOSCALE_INTERVAL_SECONDS": "0.3",
                "FACE_AUTOSCALE_UP_COOLDOWN_SECONDS": "1",
                "FACE_AUTOSCALE_WANTED_FILE": str(self.directory / "wanted"),
                "FACE_AUTOSCALE_STATE_FILE": str(self.state),
                "FACE_METRICS_PORT_BASE": str(self.port),
                **self.settings,
            },
        )  # fmt: skip
        wait_until(lambda: "leader" in self.metrics(), 30, f"{self.name} to serve its metrics")

    def metrics(self) -> dict[str, float]:
        try:
            text = requests.get(f"http://127.0.0.1:{self.port}/metrics", timeout=5).text
        except requests.ConnectionError:
            return {}
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("face_autoscaler_")]
        return {name.removeprefix("face_autoscaler_"): float(value) for name, value in lines}

    @property
    def leads(self) -> bool:
        return self.metrics().get("leader") == 1

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        return self.installation.end(self.process, number)


Hosts = Callable[..., WorkerHost]


@pytest.fixture
def hosts(clean: Installation, tmp_path: Path) -> Iterator[Hosts]:
    made: list[WorkerHost] = []

    def make(name: str, **settings: str) -> WorkerHost:
        (clean.directory / f"{name}.log").unlink(missing_ok=True)
        host = WorkerHost(clean, tmp_path / name, name, settings)
        made.append(host)
        return host

    yield make
    for host in made:
        if host.process and host.process.poll() is None:
            host.end(signal.SIGKILL)


@pytest.fixture
def queue(clean: Installation, parts: Parts) -> redis.Redis:
    return parts.queue


def _fill(queue: redis.Redis, messages: int) -> None:
    pipeline = queue.pipeline()
    pipeline.delete("ingest")
    pipeline.rpush("ingest", *["{}"] * messages)
    pipeline.execute()


def _settle(*hosts: WorkerHost) -> list[int | None]:
    """Let every host obey; returns what each wants now."""
    return [host.obey() for host in hosts]


def test_two_hosts_share_what_the_queue_needs(hosts: Hosts, queue: redis.Redis) -> None:
    one, two = hosts("one"), hosts("two", FACE_AUTOSCALE_WEIGHT="2")
    one.start()
    two.start()
    wait_until(lambda: one.leads != two.leads, 60, "one leader")
    wait_until(lambda: two.leads or one.metrics()["current_workers"] == 2, 60, "both hosts to be seen")
    leader = one if one.leads else two
    up_before = leader.metrics()['decisions_total{direction="up"}']
    _fill(queue, 60)
    wait_until(lambda: _settle(one, two) == [2, 4], 60, "both shares")
    wait_until(lambda: leader.metrics().get("current_workers") == 6, 60, "the workers to be counted")
    seen = leader.metrics()
    assert (seen["desired_workers"], seen["waiting_tasks"]) == (6, 60)
    assert seen['decisions_total{direction="up"}'] == up_before + 1
    assert seen['decisions_total{direction="hold"}'] > 1
    follower = two if one.leads else one
    assert not {"desired_workers", "waiting_tasks"} & set(follower.metrics())
    last = [entry for entry in leader.log if entry.get("reason_code") == "up"][-1]
    assert (last["operation"], last["count"]) == ("autoscale", 6)
    assert last["message"] == "2 to 6 workers: 60 waiting tasks need 6 workers at 10 each."


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_another_host_leads_when_the_leader_ends(hosts: Hosts, queue: redis.Redis, number: int) -> None:
    one, two = hosts("one"), hosts("two")
    one.start()
    two.start()
    assert (one.leads, two.leads) == (True, False)
    _fill(queue, 60)
    wait_until(lambda: _settle(one, two) == [3, 3], 60, "both shares")
    code = one.end(number)
    assert code == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    wait_until(lambda: two.leads, 60, "the other host to lead")
    # The silent host's part goes to the one that is left; the number stays, for nothing has changed.
    wait_until(lambda: _settle(two) == [6], 60, "the other host to take over the workers")
    one.start()
    wait_until(lambda: _settle(one, two) == [3, 3], 60, "the shares when the host is back")
    assert (one.leads, two.leads) == (False, True)


@pytest.mark.campaign("it waits for half a minute")
def test_a_restarted_autoscaler_takes_no_worker_away(hosts: Hosts, queue: redis.Redis) -> None:
    # A heartbeat of three rounds outlives a start of Python, on a busy machine too.
    slow = {"FACE_AUTOSCALE_INTERVAL_SECONDS": "6"}
    one, two = hosts("one", **slow), hosts("two", **slow)
    one.start()
    two.start()
    _fill(queue, 60)
    wait_until(lambda: _settle(one, two) == [3, 3], 15, "both shares")
    queue.delete("ingest")
    for host in (one, two):
        host.end()
        host.start()
    # For more than a round of each.
    time.sleep(13)
    assert _settle(one, two) == [3, 3]


def test_a_host_scaled_by_hand_is_left_out_until_it_is_resumed(hosts: Hosts, queue: redis.Redis) -> None:
    one, two = hosts("one"), hosts("two")
    one.apply(5, paused=True)
    one.start()
    two.start()
    wait_until(lambda: one.metrics()["paused"] == 1, 60, "the pause to be seen")
    _fill(queue, 80)
    # Its five count: eight in all are needed, three are missing.
    wait_until(lambda: _settle(one, two)[1] == 3, 60, "the share of the other host")
    assert one.wanted is None
    assert remembered(one.state).workers == 5

    two.apply(1, paused=True)
    wait_until(lambda: two.metrics()["paused"] == 1, 60, "the second pause")
    wait_until(lambda: not queue.exists("face:autoscaler:assignment"), 60, "the assignment to go")
    leader = one if one.leads else two
    wait_until(lambda: leader.log[-1].get("reason_code") == "paused", 60, "the pause in the log")
    assert leader.log[-1]["message"].startswith("6 workers stay")
    assert "desired_workers" not in leader.metrics()

    one.apply(5)
    two.apply(1)
    wait_until(lambda: _settle(one, two) == [4, 4], 60, "both shares")


def test_a_number_that_got_lost_is_told_again(hosts: Hosts, queue: redis.Redis) -> None:
    one = hosts("one")
    one.start()
    _fill(queue, 50)
    wait_until(lambda: one.wanted == 5, 60, "the number")
    (one.directory / "wanted").unlink()
    wait_until(lambda: one.wanted == 5, 60, "the number again")
    one.obey()
    time.sleep(0.7)
    (one.directory / "wanted").unlink()
    time.sleep(0.7)
    assert one.wanted is None


def test_without_redis_everything_stays_and_goes_on_by_itself(hosts: Hosts, queue: redis.Redis) -> None:
    one = hosts("one")
    one.start()
    _fill(queue, 40)
    wait_until(lambda: _settle(one) == [4], 60, "the share")
    one.installation.redis.stop()
    try:
        time.sleep(2)
        assert one.obey() == 4
        assert one.process is not None
        assert one.process.poll() is None
        warnings = [entry for entry in one.log if entry["log_level"] == "WARNING"]
        assert len(warnings) == 1
        assert "Redis does not answer, the workers stay as they are" in warnings[0]["message"]
        blind = [entry["message"] for entry in one.log if entry.get("reason_code") == "blind"]
        assert blind == ["4 workers stay: nobody can say how many tasks wait."]
        assert one.metrics().keys() >= {"leader"}
        assert "waiting_tasks" not in one.metrics()
    finally:
        one.installation.redis.start()
    wait_until(lambda: one.leads, 60, "the agent to lead again")
    _fill(queue, 100)
    wait_until(lambda: _settle(one) == [8], 60, "more workers")


def _answers(queue: redis.Redis) -> bool:
    try:
        return bool(queue.ping())
    except redis.exceptions.TimeoutError:
        return False


@pytest.mark.campaign("it waits for half a minute")
def test_an_agent_ends_at_once_while_redis_is_silent(hosts: Hosts, queue: redis.Redis) -> None:
    one = hosts("one")
    one.start()
    queue.execute_command("CLIENT", "PAUSE", "30000", "ALL")
    time.sleep(0.5)
    assert one.process is not None
    one.process.send_signal(signal.SIGTERM)
    # It tries to hand the lock back for no longer than one answer may take, not until Redis speaks again.
    one.process.wait(25)
    wait_until(lambda: _answers(queue), 60, "Redis to speak again")


def test_no_more_workers_than_there_is_room_for(hosts: Hosts, queue: redis.Redis) -> None:
    one, two = hosts("one", FACE_AUTOSCALE_HOST_MAX="2"), hosts("two", FACE_AUTOSCALE_HOST_MAX="3")
    one.start()
    two.start()
    _fill(queue, 500)
    wait_until(lambda: _settle(one, two) == [2, 3], 60, "both hosts to be full")
    assert any("5 of 6 workers have a place" in entry["message"] for entry in one.log + two.log)


def test_a_systemd_that_does_not_answer_takes_no_worker_away(hosts: Hosts, queue: redis.Redis) -> None:
    one = hosts("one")
    one.start()
    (one.directory / "broken").touch()
    _fill(queue, 40)
    wait_until(lambda: _settle(one) == [4], 60, "the share")
    time.sleep(1)
    assert len([entry for entry in one.log if entry["log_level"] == "WARNING"]) == 1
    one.end()
    result = subprocess.run(
        [sys.executable, "-m", "face_pipeline.cli", "autoscaler"],
        check=False, capture_output=True, text=True,
        env={**one.installation.environment, "PATH": f"{one.directory}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert result.returncode == 78
    assert "systemd does not say which workers run" in result.stderr


def test_contradicting_settings_are_named(clean: Installation) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "face_pipeline.cli", "autoscaler"],
        check=False, capture_output=True, text=True,
        env={**clean.environment, "FACE_AUTOSCALE_MIN": "5", "FACE_AUTOSCALE_MAX": "4"},
    )  # fmt: skip
    assert result.returncode == 78
    assert "FACE_AUTOSCALE_MIN is 5" in result.stderr
    assert len(result.stderr.splitlines()) == 1
