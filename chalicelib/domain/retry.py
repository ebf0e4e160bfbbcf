"""The retry schedule: when each attempt is due. Pure; all durations in seconds.

Doubling waits, capped, whose sum is the horizon exactly. Doubling from 1 s would need waits of
18 h and 36 h, but the visibility timeout of a message in SQS ends at most 12 h after its receipt
(ChangeMessageVisibility, SQS developer guide). Hence the cap; the first wait is solved for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import accumulate

SQS_MAX_VISIBILITY_SECONDS = 43_200
"""SQS: the visibility timeout of a message ends at most 12 h after its receipt."""

VISIBILITY_MARGIN_SECONDS = 60
"""A receipt is older than we know: Lambda gathers a batch before it calls us."""

LONGEST_STEP_SECONDS = SQS_MAX_VISIBILITY_SECONDS - 900
"""From one attempt to the next: the longest visibility timeout, less the call. A longer step would
cost a receive that is no attempt, and with it the message before its last one."""

JITTER = 0.2
"""An attempt comes up to this share of its wait early, so that a burst of failures spreads."""


def waits(attempts: int, horizon: float, max_wait: float) -> tuple[float, ...]:
    """Solve the `attempts - 1` waits `min(b * 2**(k-1), max_wait)` that add up to `horizon`.

    Raises ValueError if even `max_wait` every time stays below the horizon.
    """
    count = attempts - 1
    if count == 0:
        return ()
    if count * max_wait < horizon:
        raise ValueError(f"{count} waits of at most {max_wait:g} s cannot span {horizon:g} s")
    # With the last c waits capped, b * (2**(count-c) - 1) + c * max_wait = horizon. The right c
    # is the smallest for which no uncapped wait exceeds the cap.
    for capped in range(count):
        uncapped = count - capped
        base = (horizon - capped * max_wait) / (2**uncapped - 1)
        if base * 2 ** (uncapped - 1) <= max_wait:
            break
    return tuple(min(base * 2**k, max_wait) for k in range(count))


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to try again. `attempts` calls at most, spread over `horizon` seconds."""

    attempts: int = 18
    horizon: float = 259_200
    max_wait: float = 39_600
    waits: tuple[float, ...] = field(init=False)
    _offsets: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        solved = waits(self.attempts, self.horizon, self.max_wait)
        object.__setattr__(self, "waits", solved)
        object.__setattr__(self, "_offsets", tuple(accumulate(solved)))

    def next_attempt(
        self,
        *,
        failed: int,
        first: datetime,
        now: datetime,
        jitter: float,
        retry_after: datetime | None = None,
    ) -> datetime | None:
        """When to try again after `failed` attempts, or None when the budget is spent.

        The aim is `first` plus the waits before it, so delays do not add up; `jitter` in [0, 1]
        moves it earlier. After an outage of our own the aims lie in the past: the wait is then
        the first one of the schedule, so that the budget is not burnt in one go. `retry_after`
        (the supply chain's wish) moves it later, but by no more than the longest wait, which is
        the longest visibility timeout, and not past the horizon. Where jitter has brought the
        attempt before far forward, the next one comes earlier too: SQS allows no longer timeout.
        """
        end = first + timedelta(seconds=self.horizon)
        if failed >= self.attempts or now >= end:
            return None
        wait = self.waits[failed - 1]
        aim = first + timedelta(seconds=self._offsets[failed - 1] - jitter * JITTER * wait)
        aim = max(aim, now + timedelta(seconds=min(wait, self.waits[0])))
        if retry_after is not None:
            aim = max(aim, min(retry_after, now + timedelta(seconds=self.max_wait)))
        return min(aim, max(end, now), now + timedelta(seconds=LONGEST_STEP_SECONDS))

    def stateless_wait(self, receives: int) -> float:
        """Visibility timeout of a message whose product could not be read, in seconds.

        Used while the store is away: only the queue's own receive count (from 1) is known.
        """
        if not self.waits:
            return 0.0
        return max(1.0, self.waits[min(max(receives, 1), len(self.waits)) - 1])


def visibility_timeout(until: datetime, now: datetime, received: datetime) -> int:
    """The VisibilityTimeout (whole seconds, counted by SQS from now) that ends at `until`.

    Rounded up, so that a message does not come back before its time and cost a receive, and
    kept within what SQS still allows for a message received at `received`.
    """
    allowed = SQS_MAX_VISIBILITY_SECONDS - math.ceil((now - received).total_seconds())
    allowed -= VISIBILITY_MARGIN_SECONDS
    return max(0, min(math.ceil((until - now).total_seconds()), allowed))
