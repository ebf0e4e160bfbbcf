"""What goes wrong in one run, and when: drawn from the seed before the run begins."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

PORTS = ("store", "stream", "queue")


@dataclass(frozen=True)
class Faults:
    """The rates are per port call unless they say otherwise; times in seconds of the run.

    `away`: per port, from when to when it cannot be reached. `lags`: how long a write may take to
    reach the majority, one of them at random. `window`: the stream's duplicate window. Nothing goes wrong after `until`.
    """

    until: float = 0.0
    crash: float = 0.0
    error: float = 0.0
    pause: float = 0.0
    duplicate: float = 0.0
    lags: tuple[float, ...] = (0.02,)
    window: float = 120.0
    skew: float = 0.0
    away: dict[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    failovers: tuple[float, ...] = ()
    consumer_lost: tuple[float, ...] = ()
    purge: tuple[float, ...] = ()

    def is_away(self, port: str, now: float) -> bool:
        """Say whether a port cannot be reached now."""
        return any(begin <= now < end for begin, end in self.away.get(port, ()))


def draw(random: Random, until: float) -> Faults:
    """Draw a mixture: mostly some kinds of faults, seldom all of them."""

    def rate(*choices: float) -> float:
        return random.choice(choices)

    return Faults(
        until=until,
        crash=rate(0, 0.002, 0.01, 0.03),
        error=rate(0, 0, 0.01, 0.05),
        pause=rate(0, 0, 0.005, 0.02),
        duplicate=rate(0, 0.1, 0.3),
        window=rate(120, 1200),
        skew=rate(0, 0.5),
        away={port: _spans(random, until) for port in PORTS if random.random() < 0.3},
        lags=random.choice(((0.02,), (0.02,), (0.02, 3.0), (0.02, 15.0))),
        failovers=_times(random, until, (0, 0, 1, 4)),
        consumer_lost=_times(random, until, (0, 0, 0, 1)),
        purge=_times(random, until, (0, 0, 0, 1)),
    )


def _times(random: Random, until: float, counts: tuple[int, ...]) -> tuple[float, ...]:
    return tuple(random.uniform(0, until) for _ in range(random.choice(counts)))


def _spans(random: Random, until: float) -> tuple[tuple[float, float], ...]:
    spans = []
    for _ in range(random.choice((1, 1, 2))):
        begin = random.uniform(0, until)
        spans.append((begin, min(until, begin + random.choice((20, 120, 600, 900)))))
    return tuple(spans)
