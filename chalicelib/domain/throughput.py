"""What was delivered lately, minute by minute, and when the rest will be. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from chalicelib.domain.breaker import BreakerPolicy
from chalicelib.domain.control import Control
from chalicelib.domain.exact_json import Json
from chalicelib.domain.failures import kind_of
from chalicelib.domain.times import rfc3339

MINUTE = timedelta(minutes=1)
SHOWN = 60
"""Minutes that operators see, the current one among them."""
LATELY = 5
"""Whole minutes before the current one whose mean is the rate of now."""
KINDS_OF = 15
"""Minutes whose failures are counted by kind, the current one among them."""


@dataclass(frozen=True, slots=True)
class Minute:
    """The attempts that ended in the minute from `at` on. `kinds`: the failures by their kind."""

    at: datetime
    delivered: int = 0
    failed: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of_attempt(cls, now: datetime, error: str | None, *, delivered: bool) -> Minute:
        """Count one attempt."""
        if delivered:
            return cls(minute_of(now), delivered=1)
        kind = kind_of(error)
        return cls(minute_of(now), failed=1, kinds={kind: 1} if kind else {})

    def plus(self, other: Minute) -> Minute:
        """Add other attempts of this minute."""
        kinds = Counter(self.kinds) + Counter(other.kinds)
        return Minute(
            self.at, self.delivered + other.delivered, self.failed + other.failed, dict(kinds)
        )

    def to_json(self) -> Json:
        """Give the counts as operators see them."""
        return {"at": rfc3339(self.at), "delivered": self.delivered, "failed": self.failed}


def minute_of(moment: datetime) -> datetime:
    """Give the beginning of the minute."""
    return moment.replace(second=0, microsecond=0)


def shown_minutes(now: datetime) -> list[datetime]:
    """Give the minutes that operators see, oldest first."""
    current = minute_of(now)
    return [current - number * MINUTE for number in reversed(range(SHOWN))]


@dataclass(frozen=True, slots=True)
class Throughput:
    """The last minutes, oldest first and without a gap; the last one is that of `now`."""

    minutes: tuple[Minute, ...]
    now: datetime

    @classmethod
    def of(cls, counted: Collection[Minute], now: datetime) -> Throughput:
        """Fill the minutes in which nothing ended."""
        known = {minute.at: minute for minute in counted}
        return cls(tuple(known.get(at, Minute(at)) for at in shown_minutes(now)), now)

    def delivered_per_second(self, since: datetime | None = None) -> float:
        """Give the mean of the last whole minutes and the current one; of less, from `since` on."""
        return self._mean([minute.delivered for minute in self.minutes], since)

    def fastest_per_second(self, since: datetime | None) -> float:
        """Give the fastest of the means of the last minutes, the last two, and the current one.

        After a rest the mean of several minutes says little about what is delivered now.
        """
        starts = [minute_of(self.now) - number * MINUTE for number in (LATELY, 1, 0)]
        return max(self.delivered_per_second(max(start, since or start)) for start in starts)

    def to_json(self) -> Json:
        """Give the rates, the failures by kind and the minutes as operators see them."""
        failed = self._mean([minute.failed for minute in self.minutes], None)
        kinds = sum((Counter(minute.kinds) for minute in self.minutes[-KINDS_OF:]), Counter[str]())
        return {
            "deliveredPerMinute": round(60 * self.delivered_per_second(), 1),
            "failedPerMinute": round(60 * failed, 1),
            "failureKinds": dict(kinds.most_common()),
            "minutes": [minute.to_json() for minute in self.minutes],
        }

    def _mean(self, counts: list[int], since: datetime | None) -> float:
        """Give a rate per second."""
        first = minute_of(self.now) - LATELY * MINUTE
        begin = max(first, min(since, self.now)) if since else first
        pairs = zip(self.minutes, counts, strict=True)
        total = sum(count for minute, count in pairs if minute.at + MINUTE > begin)
        # Not by less than a second: the first deliveries of a ramp would be a rate of thousands.
        return total / max(1.0, (self.now - begin).total_seconds())


def seconds_to_converge(
    waiting: int, lately: Throughput, control: Control, policy: BreakerPolicy
) -> float | None:
    """Estimate when all that waits will be delivered, if it goes as fast as lately.

    0 if nothing waits. None while no calls are made, or if nothing was delivered lately. After an
    outage only what was delivered since then says how fast it goes; it doubles with each step of
    the ramp, and never exceeds the limit. New changes, and the waits for the next attempts of what
    has failed, are not foreseen.
    """
    now, breaker = lately.now, control.breaker
    rate = lately.fastest_per_second(breaker.ramp_since)
    if not waiting:
        return 0.0
    if control.is_held(now) or not rate:
        return None
    left, moment = float(waiting), max(now, breaker.cooldown_until or now)
    while (end := breaker.doubles_at(moment, policy)) is not None:
        done = _within(rate, breaker.limit(moment, policy)) * (end - moment).total_seconds()
        if done >= left:
            break
        left, moment, rate = left - done, end, 2 * rate
    seconds = left / _within(rate, breaker.limit(moment, policy))
    # Rounded up: 0 would say that nothing waits.
    return math.ceil(10 * ((moment - now).total_seconds() + seconds)) / 10


def _within(rate: float, limit: float | None) -> float:
    return rate if limit is None else min(rate, limit)
