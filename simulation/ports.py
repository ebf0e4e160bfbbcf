"""The ports of a simulated process: each call takes time, may fail, and may crash the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from chalicelib.domain.errors import StoreUnavailableError
from chalicelib.domain.product import Product
from simulation.servers import ReplicaSet

CLIENT_SECONDS = 10.0
"""How long a driver waits for the majority."""
WRITES = frozenset(
    {
        "insert",
        "save_change",
        "save_sync",
        "remove_events",
        "postpone",
        "apply",
        "save_control",
        "save_audit",
        "save_republish",
        "quarantine",
        "claim",
        "record",
        "letters_sent",
        "drop_tombstones",
        "add_act",
        "put_back",
        "save_restore",
    }
)


class Step(Protocol):
    """Lets time pass in a call of a port, before its effect or after it.

    Raises the port's error where the call fails, Crashed where the process ends.
    """

    def __call__(self, port: str, *, after: bool) -> None:
        """Take the step."""


class Port:
    """A port whose every call takes time, and may fail before its effect or after it."""

    def __init__(self, name: str, inner: object, step: Step) -> None:
        self._name = name
        self._inner = inner
        self._step = step

    def __getattr__(self, method: str) -> Callable[..., Any]:
        target = getattr(self._inner, method)

        def call(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - the port's own
            self._step(self._name, after=False)
            result = self._effect(method, lambda: target(*arguments, **options))
            self._step(self._name, after=True)
            return result

        return call

    def _effect(self, _: str, target: Callable[[], Any]) -> Any:  # noqa: ANN401 - as above
        return target()


class StorePort(Port):
    """The store: a write returns once the majority has it.

    `wrote(method, before)` is called for each write; `lag` gives the seconds until the majority has
    it.
    """

    def __init__(
        self,
        replicas: ReplicaSet,
        step: Step,
        *,
        sleep: Callable[[float], None],
        lag: Callable[[], float],
        wrote: Callable[[str, dict[str, Product]], None],
    ) -> None:
        super().__init__("store", replicas, step)
        self._replicas = replicas
        self._sleep = sleep
        self._lag = lag
        self._wrote = wrote

    def _effect(self, method: str, target: Callable[[], Any]) -> Any:  # noqa: ANN401 - the port's own
        if method not in WRITES:
            return target()
        before = dict(self._replicas.products)
        result = target()
        self._wrote(method, before)
        term, wait = self._replicas.term, self._replicas.written(before, self._lag())
        self._sleep(min(wait, CLIENT_SECONDS))
        if wait > CLIENT_SECONDS or self._replicas.term != term:
            raise StoreUnavailableError(f"{method}: the majority did not answer")
        return result
