"""How much may be done now, at a rate per second; and what is put off for a while."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from chalicelib.domain.times import LONG_AGO


class Pace:
    """Counts what may be done now, under a rate limit.

    It is kept between runs: a run may be too short for one permit, at a rate of one in a minute.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._at = clock()
        self._permits = 0.0

    def allowed(self, limit: float | None, page: int) -> int:
        """Give the number, `page` at most; `limit` is per second, None for no limit."""
        now = self._clock()
        # A clock may be set back.
        since, self._at = max(0.0, (now - self._at).total_seconds()), now
        if limit is None:
            return page
        # What was not used for a second or two is lost, as with the permits of the calls.
        self._permits = min(self._permits + since * limit, max(1.0, 2 * limit))
        return max(0, min(page, int(self._permits)))

    def spend(self, count: int) -> None:
        """Use permits up; what is beyond them (there was no limit) is not subtracted later."""
        self._permits = max(0.0, self._permits - count)

    def owe(self, count: int) -> None:
        """Use permits up; what is beyond them comes off the next ones."""
        self._permits -= count


class Cooldown:
    """Puts off what would be in vain, or would delay others, for this `time`."""

    def __init__(self, clock: Callable[[], datetime], time: timedelta) -> None:
        self._clock = clock
        self._time = time
        self._until = LONG_AGO

    def begin(self) -> None:
        """Put it off from now on."""
        self._until = self._clock() + self._time

    @property
    def is_on(self) -> bool:
        """Say whether it is put off."""
        now = self._clock()
        # A clock may be set back.
        return now < self._until <= now + self._time
