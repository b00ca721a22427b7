"""The autoscaler of one host. All say what they run; one leads, and says who runs how many.

What they say is in broker/agreement.py.
"""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from typing import NoReturn

from face_pipeline.broker import log_level
from face_pipeline.broker.agreement import Agreement, Heartbeat
from face_pipeline.broker.presence import remembered
from face_pipeline.broker.queues import lengths
from face_pipeline.broker.redis import connect
from face_pipeline.config import Settings
from face_pipeline.errors import ConfigurationError, QueueUnavailable, root_cause
from face_pipeline.ops.autoscaler.host import room, running_workers, tell
from face_pipeline.ops.autoscaler.rule import Cause, Decision, Observation, Policy, Rule
from face_pipeline.ops.autoscaler.spread import Host, places, spread
from face_pipeline.parts import Parts
from face_pipeline.store import ledger
from face_pipeline.store.models import State
from face_pipeline.telemetry.metrics import AutoscalerMetrics
from face_pipeline.telemetry.serving import serve_metrics
from face_pipeline.telemetry.systemd import notify
from face_pipeline.words import counted

log = logging.getLogger(__name__)

# A heartbeat and the lock outlive two rounds that went wrong.
ROUNDS_ALIVE = 3
# Sooner than other clients give up: a round must not last much longer than the interval.
SOCKET_TIMEOUT_SECONDS = 3


def policy_of(settings: Settings) -> Policy:
    """The rule's settings; raises ConfigurationError where they contradict each other."""
    if settings.autoscale_min > settings.autoscale_max:
        raise ConfigurationError(
            f"FACE_AUTOSCALE_MIN is {settings.autoscale_min}, "
            f"more than FACE_AUTOSCALE_MAX, which is {settings.autoscale_max}"
        )
    return Policy(
        target=settings.autoscale_target,
        minimum=settings.autoscale_min,
        maximum=settings.autoscale_max,
        tolerance=settings.autoscale_tolerance,
        up_window=settings.autoscale_up_window_seconds,
        down_window=settings.autoscale_down_window_seconds,
        up_cooldown=settings.autoscale_up_cooldown_seconds,
        down_cooldown=settings.autoscale_down_cooldown_seconds,
        threads=settings.worker_concurrency,
    )


class Agent:
    """One host's autoscaler; `tick` is one round of it."""

    def __init__(self, parts: Parts, count: Callable[[], int] = running_workers):
        settings = self.settings = parts.settings
        self._database = parts.database
        self.policy = policy_of(settings)
        self.host = settings.autoscale_host or socket.gethostname()
        self.metrics = AutoscalerMetrics()
        self._count = count
        self._running = self._first_count()
        self._queue = connect(settings.redis_url, timeout=SOCKET_TIMEOUT_SECONDS, authority=settings.tls_ca)
        self._agreed = Agreement(
            self._queue, alive_seconds=settings.autoscale_interval_seconds * ROUNDS_ALIVE
        )
        self._troubles: set[str] = set()
        self._step_down()

    def tick(self) -> None:
        """Say what runs here, lead if nobody else does, and pass on how many are to run here.

        Without Redis everything stays as it is.
        """
        try:
            own = self._beat()
            if self._leads():
                self._decide()
            self._follow(own)
        except QueueUnavailable as error:
            if self._desired is not None:
                blind = Observation(time.monotonic(), None, self._desired, None)
                self._record(self._rule.decide(blind), self._desired)
            self._step_down()
            reason = root_cause(error)
            self._trouble("redis", f"Redis does not answer, the workers stay as they are: {reason}")
        else:
            self._trouble("redis", None)

    def close(self) -> None:
        """Let another agent lead. The heartbeat stays: a restart of this one takes no worker away."""
        self._agreed.give_up_lead()

    # This host

    def _first_count(self) -> int:
        try:
            return self._count()
        except (OSError, subprocess.SubprocessError) as error:
            raise ConfigurationError(
                f"systemd does not say which workers run: {error}; is dbus there?"
            ) from error

    def _beat(self) -> Heartbeat:
        settings = self.settings
        try:
            self._running = self._count()
        except (OSError, subprocess.SubprocessError) as error:
            self._trouble(
                "systemd", f"systemd does not say which workers run, counting on the last number: {error}"
            )
        else:
            self._trouble("systemd", None)
        given = remembered(settings.autoscale_state_file)
        capacity = room(
            self._running,
            given.workers or 0,
            maximum=settings.autoscale_host_max,
            memory_mb=settings.autoscale_worker_memory_mb,
            gpu_memory_mb=settings.autoscale_worker_gpu_memory_mb,
        )
        own = Heartbeat(self.host, settings.autoscale_weight, capacity, self._running, given.paused)
        self.metrics.paused = own.paused
        self._agreed.say(own)
        return own

    def _follow(self, own: Heartbeat) -> None:
        """Repeat the number until face-workers has taken it: while it drains workers it hears nothing."""
        wanted = self._agreed.assignment().get(self.host)
        if own.paused or wanted is None or wanted == remembered(self.settings.autoscale_state_file).workers:
            return
        tell(self.settings.autoscale_wanted_file, wanted)

    # All hosts

    def _leads(self) -> bool:
        held = self._agreed.still_leads()
        if not held:
            if self.metrics.leader:
                self._step_down()
            held = self._agreed.takes_lead()
        if held and not self.metrics.leader:
            log.info(f"{self.host} leads the autoscalers", extra={"operation": "autoscale"})
        self.metrics.leader = held
        return held

    def _step_down(self) -> None:
        self.metrics.leader = False
        self.metrics.current = self.metrics.waiting = None
        self._start_over()

    def _start_over(self) -> None:
        self._rule = Rule(self.policy)
        self._desired: int | None = None
        self.metrics.desired = None
        self._held: Cause | None = None

    def _decide(self) -> None:
        agents = self._agreed.hosts()
        self.metrics.current = sum(agent.running for agent in agents)
        self.metrics.waiting = self._waiting()
        free = [agent for agent in agents if not agent.paused]
        by_hand = sum(agent.running for agent in agents if agent.paused)
        if not free:
            self._pause(by_hand)
            return
        before = self._agreed.assignment()
        if self._desired is None:
            self._desired = by_hand + sum(before.get(agent.host, agent.running) for agent in free)
        seen = Observation(time.monotonic(), self.metrics.waiting, self._desired, self._busy())
        decision = self._rule.decide(seen)
        self._record(decision, self._desired)
        self._desired = self.metrics.desired = decision.desired
        self._assign(max(0, decision.desired - by_hand), free, before)

    def _pause(self, by_hand: int) -> None:
        """Every host was scaled by hand; once one goes on, the rule starts from what a person left."""
        held = self._held
        self._start_over()
        self._held = held
        self._agreed.assign(None)
        stay = counted(by_hand, "worker", "stay")
        reason = f"{stay}: the number was set by hand, and the autoscaler is paused."
        self._record(Decision(by_hand, Cause.PAUSED, reason), by_hand)

    def _assign(self, workers: int, agents: list[Heartbeat], before: dict[str, int]) -> None:
        hosts = [Host(agent.host, agent.weight, agent.capacity) for agent in agents]
        placed = min(workers, places(hosts))
        full = f"{placed} of {workers} workers have a place: no host has room for another"
        self._trouble("room", full if placed < workers else None)
        shares = spread(placed, hosts)
        if shares != before:
            self._agreed.assign(shares)

    def _waiting(self) -> int:
        return sum(lengths(self._queue).values())

    def _busy(self) -> int | None:
        """Photos under way; None while the database does not answer."""
        try:
            with self._database.reading() as session:
                return ledger.states(session).get(State.PROCESSING, 0)
        except Exception:
            # Whatever ails the database: the rule decides without this number.
            return None

    # What people read

    def _record(self, decision: Decision, before: int) -> None:
        """Count a decision; log it when it changes something, or holds back for another cause than before."""
        change = decision.desired - before
        direction = "up" if change > 0 else "down" if change < 0 else "hold"
        self.metrics.decisions.labels(direction).inc()
        held_anew = decision.cause not in (Cause.STEADY, self._held)
        if change or held_anew:
            log.info(
                decision.reason,
                extra={
                    "operation": "autoscale",
                    "count": decision.desired,
                    "reason_code": decision.cause.value,
                },
            )
        if change:
            self._held = None
        elif held_anew:
            self._held = decision.cause

    def _trouble(self, what: str, message: str | None) -> None:
        """Log a trouble once when it begins and once when it is over (None)."""
        if message is None:
            if what in self._troubles:
                log.info(f"{what}: well again", extra={"operation": "autoscale"})
            self._troubles.discard(what)
        elif what not in self._troubles:
            log.warning(message, extra={"operation": "autoscale"})
            self._troubles.add(what)


def run(parts: Parts) -> None:
    """Be this host's autoscaler until SIGTERM."""
    settings = parts.settings
    agent = Agent(parts)
    serve_metrics(
        settings.metrics_host,
        settings.metrics_port_base,
        agent.metrics.registry,
        settings.metrics_certificate,
        settings.metrics_key,
    )
    signal.signal(signal.SIGTERM, _end)
    log_level.follow("face-autoscaler", settings.log_level, lambda: parts.queue)
    notify("READY=1")
    try:
        while True:
            agent.tick()
            time.sleep(settings.autoscale_interval_seconds)
    finally:
        notify("STOPPING=1")
        agent.close()


def _end(*_: object) -> NoReturn:
    # Also out of a read that Redis does not answer.
    raise SystemExit
