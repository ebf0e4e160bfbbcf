"""The faults of one run, and their times: drawn from the seed before the run begins."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

PORTS = ("store", "stream", "queue")
NO_LIMIT = 120_000
"""Messages in flight that a standard queue of SQS allows."""

Spans = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Faults:
    """The faults and their rates, per call of a port; times in seconds of the run.

    There are no faults after `until`. `skew`: the largest error of a clock, in both directions.
    `lags`: how long a write takes to reach the majority, one of them at random. `window`: the
    stream's duplicate window. `away`: per port, from when to when it cannot be reached.
    """

    until: float = 0.0
    crash: float = 0.0
    error: float = 0.0
    pause: float = 0.0
    duplicate: float = 0.0
    skew: float = 0.0
    lags: tuple[float, ...] = (0.02,)
    window: float = 1200.0
    in_flight: int = NO_LIMIT
    away: dict[str, Spans] = field(default_factory=dict)
    failovers: tuple[float, ...] = ()
    consumer_lost: tuple[float, ...] = ()
    purges: tuple[float, ...] = ()
    streams_lost: tuple[float, ...] = ()

    @property
    def lossless(self) -> bool:
        """Say whether nothing is ever lost or late, so that there is nothing to repair."""
        return self == Faults(self.until, duplicate=self.duplicate, window=self.window)

    def is_away(self, port: str, now: float) -> bool:
        """Say whether a port cannot be reached now."""
        return any(begin <= now < end for begin, end in self.away.get(port, ()))


def draw(random: Random, until: float) -> Faults:
    """Draw a mixture: mostly some kinds of faults, rarely all of them."""
    choice = random.choice
    return Faults(
        until=until,
        crash=choice((0, 0.002, 0.01, 0.03)),
        error=choice((0, 0, 0.01, 0.05)),
        pause=choice((0, 0, 0.005, 0.02)),
        duplicate=choice((0, 0.1, 0.3)),
        skew=choice((0, 0.5)),
        lags=choice(((0.02,), (0.02,), (0.02, 3.0), (0.02, 15.0))),
        window=choice((120, 1200)),
        in_flight=choice((NO_LIMIT, NO_LIMIT, 12)),
        away={port: _spans(random, until) for port in PORTS if random.random() < 0.3},
        failovers=_times(random, until, (0, 0, 1, 4)),
        consumer_lost=_times(random, until, (0, 0, 0, 1)),
        purges=_times(random, until, (0, 0, 0, 1)),
    )


def _times(random: Random, until: float, counts: tuple[int, ...]) -> tuple[float, ...]:
    return tuple(random.uniform(0, until) for _ in range(random.choice(counts)))


def _spans(random: Random, until: float) -> Spans:
    begins = _times(random, until, (1, 1, 2))
    return tuple((b, min(until, b + random.choice((20, 120, 600, 900)))) for b in begins)
