"""The autoscaler's rule against made-up loads: simulated seconds, no worker, no clock. Draws a burst.

.venv/bin/python -m bench.autoscaler [--svg docs/images/autoscaler.svg] [--json FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from face_pipeline.ops.autoscaler.rule import Decision, Observation, Policy, Rule

from bench.common import report

SVG = Path("docs/images/autoscaler.svg")
LOOK_EVERY = 10


@dataclass(frozen=True)
class Moment:
    """One look of the autoscaler: `workers` asked for, `running` of them loaded and alive."""

    at: int
    waiting: int
    workers: int
    running: int
    decision: Decision


@dataclass
class Plant:
    """What the rule steers. Tasks of `task_seconds`, workers that need `start_seconds` to load a model."""

    arrivals: Callable[[int], float]
    policy: Policy = field(default_factory=Policy)
    task_seconds: float = 0.1
    start_seconds: int = 10
    dead: Callable[[int], int] = lambda _: 0
    blind: Callable[[int], bool] = lambda _: False

    def run(self, seconds: int, workers: int | None = None) -> list[Moment]:
        rule, moments = Rule(self.policy), []
        asked = self.policy.minimum if workers is None else workers
        ready = [0] * asked
        waiting = 0.0
        for now in range(seconds):
            running = max(0, sum(at <= now for at in ready) - self.dead(now))
            waiting += self.arrivals(now)
            done = min(waiting, running * self.policy.threads / self.task_seconds)
            waiting -= done
            if now % LOOK_EVERY:
                continue
            busy = round(done * self.task_seconds)
            seen = Observation(now, None if self.blind(now) else int(waiting), asked, busy)
            decision = rule.decide(seen)
            moments.append(Moment(now, int(waiting), decision.desired, running, decision))
            ready = ready[: decision.desired] + [now + self.start_seconds] * (decision.desired - asked)
            asked = decision.desired
        return moments


def burst(now: int) -> float:
    """20 tasks a second; from second 60 on 300 for two minutes, then 120 for two more, then 20 again."""
    return 300 if 60 <= now < 180 else 120 if 180 <= now < 300 else 20


def draw(moments: list[Moment], policy: Policy) -> str:
    """The moments as an SVG: tasks above, workers below."""
    left, width, height, gap, top = 64, 720, 150, 46, 34
    last = moments[-1].at
    most = max(moment.waiting for moment in moments)
    scale_most = next(step for step in (100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000) if step >= most)

    def x(at: float) -> float:
        return round(left + width * at / last, 1)

    def panel(index: int, title: str, values: list[int], full: int, colour: str, stairs: bool) -> str:
        base = top + index * (height + gap) + height
        points = []
        for number, (moment, value) in enumerate(zip(moments, values, strict=True)):
            if stairs and number:
                points.append(f"{x(moment.at)},{round(base - height * values[number - 1] / full, 1)}")
            points.append(f"{x(moment.at)},{round(base - height * value / full, 1)}")
        lines = [f'<text x="{left}" y="{base - height - 10}" class="title">{title}</text>']
        for mark in (0, full // 2, full):
            y = round(base - height * mark / full, 1)
            lines.append(f'<line x1="{left}" x2="{left + width}" y1="{y}" y2="{y}" class="grid"/>')
            lines.append(f'<text x="{left - 8}" y="{y + 4}" class="mark end">{mark:,}</text>')
        area = f"{left},{base} {' '.join(points)} {left + width},{base}"
        lines.append(f'<polygon points="{area}" fill="{colour}" fill-opacity="0.15"/>')
        lines.append(f'<polyline points="{" ".join(points)}" stroke="{colour}" class="curve"/>')
        return "\n".join(lines)

    bottom = top + 2 * height + gap
    minutes = "\n".join(
        f'<text x="{x(minute * 60)}" y="{bottom + 20}" class="mark middle">{minute} min</text>'
        for minute in range(last // 60 + 1)
    )
    waiting = panel(0, "waiting tasks", [m.waiting for m in moments], scale_most, "#c2410c", stairs=False)
    workers = panel(
        1,
        f"workers asked for ({policy.minimum} to {policy.maximum})",
        [m.workers for m in moments],
        policy.maximum,
        "#0369a1",
        stairs=True,
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 30} {bottom + 34}"
 role="img" aria-label="Waiting tasks rise, workers follow, the queue empties, workers go after the window">
<style>
text {{ font-family: system-ui, sans-serif; font-size: 12px; fill: #444 }}
.title {{ font-size: 14px; fill: #111 }} .end {{ text-anchor: end }} .middle {{ text-anchor: middle }}
.grid {{ stroke: #ddd }} .curve {{ fill: none; stroke-width: 2; stroke-linejoin: round }}
</style>
<rect width="100%" height="100%" fill="#fff"/>
{waiting}
{workers}
{minutes}
</svg>
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--svg", type=Path, default=SVG, help="draw the burst here")
    options.add_argument("--json", type=Path, help="write the figures here")
    options.add_argument("--seconds", type=int, default=901)
    arguments = options.parse_args()
    policy = Policy()
    moments = Plant(burst, policy).run(arguments.seconds)
    arguments.svg.parent.mkdir(parents=True, exist_ok=True)
    arguments.svg.write_text(draw(moments, policy), encoding="utf-8")
    for moment in moments:
        if moment.decision.cause in ("up", "down"):
            print(f"{moment.at:4} s  {moment.decision.reason}")
    first_up = next(moment.at for moment in moments if moment.decision.cause == "up")
    at_most = next(m.at for m in moments if m.workers == max(each.workers for each in moments))
    peak = max(range(len(moments)), key=lambda index: moments[index].waiting)
    empty = next(m.at for m in moments[peak:] if m.waiting == 0)
    down = next(m.at for m in moments if m.decision.cause == "down")
    figures = {
        "most tasks waiting": moments[peak].waiting,
        "most workers": max(moment.workers for moment in moments),
        "first more workers, s after the burst began": first_up - 60,
        "most workers, s after the burst began": at_most - 60,
        "queue empty, s after the burst began": empty - 60,
        "first fewer workers, s after the queue was empty": down - empty,
        "changes": sum(moment.decision.cause in ("up", "down") for moment in moments),
    }
    report(figures, arguments.json)


if __name__ == "__main__":
    main()
