"""The retry schedule: when each attempt is due. Pure; all durations in seconds.

Doubling waits, capped, whose sum is the horizon exactly. Doubling from 1 s would need waits of
18 h and 36 h, but the visibility timeout of a message in SQS ends at most 12 h after its receipt
(ChangeMessageVisibility, SQS developer guide). Hence the cap; the first wait is solved for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta

SQS_MAX_VISIBILITY_SECONDS = 43_200
"""SQS: the visibility timeout of a message ends at most 12 h after its receipt."""

SQS_MAX_IN_FLIGHT = 120_000
"""SQS: a standard queue with this many messages in flight, deferred ones too, delivers none."""

QUEUE_RETENTION_SECONDS = 14 * 24 * 3600
"""SQS keeps a message no longer. The stream keeps its events as long, to refill a lost queue."""

VISIBILITY_MARGIN_SECONDS = 60
"""Allowance for the age of a receipt: Lambda collects a batch before it invokes the function."""

LONGEST_WAIT_SECONDS = SQS_MAX_VISIBILITY_SECONDS - 900
"""The longest wait in one visibility timeout, less the time of the call. A wait that became longer
because of a delay takes two visibility timeouts."""

MIN_RECEIVES = 200
"""Lowest `maxReceiveCount`. The redrive policy is only for messages that crash their worker, but
leases, duplicates, throttles and waits of more than 12 h use up receives too."""

JITTER = 0.2
"""An attempt is up to this share of its wait early, so that retries of a burst are spread."""


def waits(attempts: int, horizon: float, max_wait: float) -> tuple[float, ...]:
    """Solve the `attempts - 1` waits `min(b * 2**(k-1), max_wait)` that add up to `horizon`.

    Raises ValueError if even `max_wait` every time stays below the horizon.
    """
    count = attempts - 1
    if count == 0:
        return ()
    if count * max_wait < horizon:
        raise ValueError(f"{count} waits of at most {max_wait:g} s cannot span {horizon:g} s")
    first = _first_wait(count, horizon, max_wait)
    return tuple(min(first * 2**k, max_wait) for k in range(count))


def _first_wait(count: int, total: float, max_wait: float) -> float:
    """Solve the first of `count` capped doubling waits that add up to `total`.

    `max_wait` where even that, every time, adds up to less.
    """
    if count * max_wait <= total:
        return max_wait
    # With the last c waits capped, b * (2**(count-c) - 1) + c * max_wait = total. The right c is
    # the smallest for which no uncapped wait exceeds the cap.
    for capped in range(count):
        uncapped = count - capped
        base = (total - capped * max_wait) / float(2**uncapped - 1)
        if base * 2 ** (uncapped - 1) <= max_wait:
            break
    return base


@dataclass(frozen=True, slots=True)
class NextAttempt:
    """`due`: when to try again: `aim` less jitter. `ends`: the end of the horizon."""

    due: datetime
    aim: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to try again. `attempts` calls at most, spread over `horizon` seconds."""

    attempts: int = 18
    horizon: float = 259_200
    max_wait: float = 39_600
    waits: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        solved = waits(self.attempts, self.horizon, self.max_wait)
        object.__setattr__(self, "waits", solved)

    def next_attempt(
        self,
        *,
        failed: int,
        started: datetime,
        aim: datetime | None,
        ends: datetime | None,
        jitter: float,
        retry_after: datetime | None = None,
    ) -> NextAttempt | None:
        """When to try again after `failed` attempts, or None when the budget is spent.

        The last attempt began at `started` and was planned for `aim` (None: it was the first);
        `ends` is the end of the horizon (None: likewise). If the attempt was late, the end moves by
        as much, so a delay does not shorten later waits: without `retry_after` there are always
        `attempts` calls. The remaining waits are computed again from the time that is left.
        `jitter` in [0, 1] moves the attempt earlier. `retry_after`, from the supply chain, moves it
        later, at most by the longest wait and to the end, and so uses up the horizon.
        """
        if failed >= self.attempts:
            return None
        aim = aim or started
        ends = (ends or started + timedelta(seconds=self.horizon)) + max(started - aim, timedelta())
        # If jitter made the attempt early, the next wait still counts from `aim`.
        base = max(started, aim)
        left = (ends - base).total_seconds()
        if left < self.waits[0] / 2:
            return None
        solved = _first_wait(self.attempts - failed, left, self.max_wait)
        wait = min(max(solved, self.waits[0]), left)
        aim = base + timedelta(seconds=wait)
        due = aim - timedelta(seconds=jitter * JITTER * wait)
        if retry_after is not None and retry_after > due:
            longest = base + timedelta(seconds=self.max_wait)
            aim = due = max(aim, min(retry_after, longest, ends))
        return NextAttempt(due, aim, ends)

    def stateless_wait(self, receives: int) -> float:
        """Visibility timeout of a message whose product could not be read, in seconds.

        Used while the store is away: only the queue's receive count (from 1) is known.
        """
        if not self.waits:
            return 0.0
        return max(1.0, self.waits[min(max(receives, 1), len(self.waits)) - 1])


def max_receive_count(attempts: int) -> int:
    """Give the `maxReceiveCount` of the queue's redrive policy; SQS allows 1000 at most."""
    return max(MIN_RECEIVES, 10 * attempts)


def visibility_timeout(until: datetime, now: datetime, received: datetime) -> int:
    """The VisibilityTimeout (whole seconds, counted by SQS from now) that ends at `until`.

    Rounded up, so that a message does not become visible too early and use up a receive. At most
    what SQS allows for a message received at `received`.
    """
    allowed = SQS_MAX_VISIBILITY_SECONDS - math.ceil((now - received).total_seconds())
    allowed -= VISIBILITY_MARGIN_SECONDS
    return max(0, min(math.ceil((until - now).total_seconds()), allowed))
