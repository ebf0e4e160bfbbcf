"""Whether the dependencies answer: asked once in a few seconds, however many want to know."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait

from chalicelib.domain.errors import StoreNotMigratedError, StreamNotMigratedError

PATIENCE_SECONDS = 4.0
GOOD_SECONDS = 5.0
"""How long an answer holds in which all is well: as long as Kubernetes waits between two probes."""
BAD_SECONDS = 1.0
"""How long any other answer holds: what waits for a process to be ready waits little longer."""

States = dict[str, str]
"""The name of each dependency → `ok`, `unreachable`, `no answer` or `not migrated`."""


class Readiness:
    """Asks the dependencies, all at a time, and keeps what they said.

    One thread asks. Others get the last answer meanwhile, so that many requests for it, while a
    dependency hangs, do not take the threads of the API. They wait if there is none of late.
    """

    def __init__(
        self, pings: Mapping[str, Callable[[], None]], *, clock: Callable[[], float]
    ) -> None:
        self._pings = pings
        self._clock = clock
        self._checking = threading.Lock()
        self._asking: dict[str, Future[None]] = {}
        self._threads = ThreadPoolExecutor(len(pings), thread_name_prefix="ready")
        self._known: tuple[States, float] | None = None

    def states(self) -> tuple[States, float]:
        """Give each dependency's state, and how many seconds ago it was asked for."""
        known = self._known
        if known is None or not self._holds(*known):
            known = self._checked(known)
        states, at = known
        return states, self._clock() - at

    def _holds(self, states: States, at: float) -> bool:
        good = all(state == "ok" for state in states.values())
        return self._clock() < at + (GOOD_SECONDS if good else BAD_SECONDS)

    def _checked(self, old: tuple[States, float] | None) -> tuple[States, float]:
        usable = old if old and self._clock() < old[1] + GOOD_SECONDS + PATIENCE_SECONDS else None
        if not self._checking.acquire(blocking=usable is None) and usable:
            return usable
        try:
            # While this one waited, another may have asked.
            if self._known is None or not self._holds(*self._known):
                states = self._ask()
                self._known = states, self._clock()
            return self._known
        finally:
            self._checking.release()

    def _ask(self) -> States:
        asked = {name: self._asked(name, ping) for name, ping in self._pings.items()}
        wait(asked.values(), timeout=PATIENCE_SECONDS)
        return {name: _state(answer) for name, answer in asked.items()}

    def _asked(self, name: str, ping: Callable[[], None]) -> Future[None]:
        # What hangs is not asked again, so that it does not collect waiting threads.
        under_way = self._asking.get(name)
        if under_way is None or under_way.done():
            under_way = self._asking[name] = self._threads.submit(ping)
        return under_way


def _state(answer: Future[None]) -> str:
    if not answer.done():
        return "no answer"
    error = answer.exception()
    if isinstance(error, StoreNotMigratedError | StreamNotMigratedError):
        return "not migrated"
    return "ok" if error is None else "unreachable"
