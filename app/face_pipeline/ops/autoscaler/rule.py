"""How many workers: target tracking as Kubernetes' HorizontalPodAutoscaler does it. No clock, no I/O.

Source: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/ (algorithm, stabilization
window, scaling policies).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from face_pipeline.words import counted


@dataclass(frozen=True)
class Policy:
    """What the rule aims at. Seconds; `threads` is how many tasks one worker runs at once."""

    target: float = 10.0
    minimum: int = 2
    maximum: int = 10
    tolerance: float = 0.1
    up_window: float = 0.0
    down_window: float = 300.0
    up_cooldown: float = 15.0
    down_cooldown: float = 60.0
    up_factor: float = 2.0
    up_step: int = 4
    threads: int = 4


@dataclass(frozen=True)
class Observation:
    """What is to be seen at `now` (seconds of any clock that only goes on).

    `waiting` tasks are in the queues, `busy` ones under way; None: nobody knows. `workers` is the number
    asked for so far.
    """

    now: float
    waiting: int | None
    workers: int
    busy: int | None = 0


class Cause(StrEnum):
    STEADY = "steady"
    UP = "up"
    DOWN = "down"
    BLIND = "blind"
    COOLDOWN = "cooldown"
    WINDOW = "window"
    BUSY = "busy"
    MAXIMUM = "maximum"
    PAUSED = "paused"


@dataclass(frozen=True)
class Decision:
    """`desired` workers in all, and why: `cause` for programs, `reason` for people."""

    desired: int
    cause: Cause
    reason: str


@dataclass
class Rule:
    """One run of decisions: remembers its recommendations as long as a window lasts, and its last change."""

    policy: Policy
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _changed: float = -math.inf

    def decide(self, seen: Observation) -> Decision:
        policy = self.policy
        if not self._recommended:
            # Nothing is known of the time before: take it that what runs was needed.
            self._remember(seen.now, self._bounded(seen.workers))
        if seen.waiting is None:
            self._remember(seen.now, self._bounded(seen.workers))
            return self._hold(seen, Cause.BLIND, "nobody can say how many tasks wait")
        needed = self._needed(seen.waiting, seen.workers)
        kept_busy = self._kept_busy(seen)
        recommended = self._bounded(max(needed, kept_busy))
        self._remember(seen.now, recommended)
        tasks = counted(seen.waiting, "waiting task", "need")
        load = f"{tasks} {counted(needed, 'worker')} at {policy.target:g} each"
        up = min([recommended, *self._since(seen.now - policy.up_window)])
        down = max([recommended, *self._since(seen.now - policy.down_window)])

        if up > seen.workers:
            if left := self._cooling(seen.now, policy.up_cooldown):
                return self._hold(
                    seen, Cause.COOLDOWN, f"{load}, the last change is too fresh ({left} s left)"
                )
            step = max(math.floor(seen.workers * policy.up_factor), seen.workers + policy.up_step)
            return self._change(seen, Cause.UP, min(up, step), load)
        if down < seen.workers:
            if left := self._cooling(seen.now, policy.down_cooldown):
                return self._hold(
                    seen, Cause.COOLDOWN, f"{load}, the last change is too fresh ({left} s left)"
                )
            return self._change(seen, Cause.DOWN, down, load)
        if recommended != seen.workers:
            window = policy.down_window if recommended < seen.workers else policy.up_window
            return self._hold(seen, Cause.WINDOW, f"{load}, not yet for all of the last {window:g} s")
        if needed > policy.maximum:
            return self._hold(seen, Cause.MAXIMUM, f"{load}, {policy.maximum} is the maximum")
        if self._bounded(needed) < kept_busy:
            return self._hold(seen, Cause.BUSY, f"{load}, but tasks under way keep the workers busy")
        return self._hold(seen, Cause.STEADY, load)

    def _needed(self, waiting: int, workers: int) -> int:
        """ceil(workers x (waiting / workers) / target), or `workers` where that is within the tolerance."""
        ratio = waiting / (workers * self.policy.target) if workers else math.inf
        if abs(ratio - 1.0) <= self.policy.tolerance:
            return workers
        return math.ceil(waiting / self.policy.target)

    def _kept_busy(self, seen: Observation) -> int:
        """Workers that have their hands full: a queue that is empty because they keep up takes none away."""
        if seen.busy is None:
            return seen.workers
        return min(seen.workers, math.ceil(seen.busy / self.policy.threads))

    def _bounded(self, workers: int) -> int:
        return max(self.policy.minimum, min(self.policy.maximum, workers))

    def _remember(self, now: float, recommended: int) -> None:
        longest = max(self.policy.up_window, self.policy.down_window)
        self._recommended = [item for item in self._recommended if item[0] > now - longest]
        self._recommended.append((now, recommended))

    def _since(self, moment: float) -> list[int]:
        return [workers for at, workers in self._recommended if at > moment]

    def _cooling(self, now: float, cooldown: float) -> int:
        """Whole seconds until a change may be made."""
        return math.ceil(max(0.0, self._changed + cooldown - now))

    def _hold(self, seen: Observation, cause: Cause, why: str) -> Decision:
        return Decision(seen.workers, cause, f"{counted(seen.workers, 'worker', 'stay')}: {why}.")

    def _change(self, seen: Observation, cause: Cause, desired: int, why: str) -> Decision:
        self._changed = seen.now
        return Decision(desired, cause, f"{seen.workers} to {counted(desired, 'worker')}: {why}.")
