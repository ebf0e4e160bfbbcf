"""How much may be done now, at a rate per second."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime


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
