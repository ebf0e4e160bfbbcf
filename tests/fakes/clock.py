"""The clock of a test."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.fakes.builders import START


class FakeClock:
    """A clock that moves only when it is told to; milliseconds, as BSON keeps them."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(milliseconds=round(seconds * 1000))
