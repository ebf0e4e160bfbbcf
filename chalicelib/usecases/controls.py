"""The state of the sync as a whole: read, and changed by one of many at a time."""

from __future__ import annotations

from collections.abc import Callable

from chalicelib import telemetry
from chalicelib.domain.control import Control
from chalicelib.usecases.collisions import Answer, compare_and_set, sleep_a_little
from chalicelib.usecases.ports import Store

TRIES = 200
"""How often a change is tried when others write first. A pause, and the progress of reconcile, must
succeed while hundreds of workers ask for permits: then one try in twenty does."""
FEW_TRIES = 20
"""The same for the reports and permits of a worker, which cost less to lose than to wait for."""


def sleep_shortly(attempt: int) -> None:
    """Wait half as long as others: one small document is written fast."""
    sleep_a_little(attempt, step=0.005)


class Controls:
    """Reads and changes the one document that all processes share."""

    def __init__(
        self,
        store: Store,
        pause: Callable[[int], None] = sleep_shortly,
    ) -> None:
        self._store = store
        self._pause = pause

    def read(self) -> Control:
        """Give the stored state. Raises StoreUnavailableError."""
        return self._store.control()

    def change(
        self, change: Callable[[Control], tuple[Answer, Control]], tries: int = TRIES
    ) -> tuple[Answer, Control]:
        """Change the stored state; give the answer of `change`, and the state afterwards.

        As `compare_and_set`. Raises StoreUnavailableError, ConcurrentChangeError.
        """
        store = self._store
        answer, before, after = compare_and_set(
            store.control, store.save_control, change, self._pause, tries, "the state of the sync"
        )
        _log(before, after)
        return answer, after


def _log(before: Control, after: Control) -> None:
    # Not each probe: there is one every few seconds, for hours.
    if before.breaker.is_closed and not after.breaker.is_closed:
        telemetry.log.warning("the breaker has opened", reason=after.breaker.reason)
        telemetry.count(breaker_opened=1)
    if after.breaker.is_closed and not before.breaker.is_closed:
        telemetry.log.info("the breaker has closed")
    if after.pause != before.pause:
        telemetry.log.warning(
            "sync is paused" if after.pause else "sync is resumed",
            reason=after.pause.reason if after.pause else None,
        )
