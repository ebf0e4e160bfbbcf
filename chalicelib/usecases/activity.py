"""Counts of the attempts that end in this process, written to the store every few seconds.

They are for people to look at: nothing is decided by them, so some may be lost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from chalicelib import telemetry
from chalicelib.domain.errors import StoreUnavailableError
from chalicelib.domain.throughput import Minute
from chalicelib.domain.times import LONG_AGO
from chalicelib.usecases.ports import Store

WRITE_EVERY = timedelta(seconds=5)
"""So that a process makes one small write in this time, however many products it delivers."""


class Activity:
    """Collects counts by the minute. For several threads."""

    def __init__(self, store: Store, *, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._minutes: dict[datetime, Minute] = {}
        self._written_at = LONG_AGO

    def count(self, error: str | None, *, delivered: bool) -> None:
        """Count an attempt that has ended."""
        attempt = Minute.of_attempt(self._clock(), error, delivered=delivered)
        with self._lock:
            before = self._minutes.get(attempt.at, Minute(attempt.at))
            self._minutes[attempt.at] = before.plus(attempt)

    def write_if_due(self) -> None:
        """Write what is counted, unless something was written a moment ago. Raises nothing.

        For the end of an invocation: Lambda may freeze the process then, and what is not written
        waits for the next one.
        """
        if self._clock() - self._written_at >= WRITE_EVERY:
            self.write()

    def write(self) -> None:
        """Write what is counted, if there is something. Raises nothing."""
        with self._lock:
            minutes, self._minutes = self._minutes, {}
            if not minutes:
                return
            self._written_at = self._clock()
        try:
            self._store.add_activity(list(minutes.values()))
        except StoreUnavailableError as error:
            # Not kept: it may have been written, and nothing depends on it.
            telemetry.log.warning("counts of attempts are lost", reason=str(error))
