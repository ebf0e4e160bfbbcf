"""The loops of the container host."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.errors import StreamUnavailableError
from functions import bridge, reconcile, run, sync

if TYPE_CHECKING:
    from chalicelib.bootstrap import Container
    from tests.support import Json
    from tests.unit.conftest import World


class Stopping(threading.Event):
    """The host's flag, which notes how long the loops wait and stops after so many waits."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self.waited: list[float | None] = []
        self._left = waits

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout)
        if len(self.waited) >= self._left:
            self.set()
        return self.is_set()


def stopping_after(monkeypatch: pytest.MonkeyPatch, waits: int) -> Stopping:
    made = Stopping(waits)
    monkeypatch.setattr(run, "stopping", made)
    return made


def test_the_context_counts_down(monkeypatch: pytest.MonkeyPatch) -> None:
    stopping_after(monkeypatch, 1)
    context = run.HostContext(60)
    first = context.get_remaining_time_in_millis()
    time.sleep(0.01)
    assert 59_000 < context.get_remaining_time_in_millis() < first <= 60_000


def test_no_time_is_left_once_it_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    stopping_after(monkeypatch, 1)
    assert run.HostContext(-1).get_remaining_time_in_millis() == 0


def test_no_time_is_left_once_the_host_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    stopping_after(monkeypatch, 1).set()
    assert run.HostContext(60).get_remaining_time_in_millis() == 0


@pytest.mark.parametrize(
    ("grace", "interval"), [(300.0, 60.0), (3000.0, 60.0), (50.0, 10.0), (5.0, 1.0), (0.1, 1.0)]
)
def test_reconcile_runs_every_minute_or_five_times_within_the_grace(
    monkeypatch: pytest.MonkeyPatch, parts: Container, grace: float, interval: float
) -> None:
    flag = stopping_after(monkeypatch, 3)
    runs: list[object] = []
    monkeypatch.setattr(run, "load", lambda name: lambda *_: runs.append(name))
    parts.settings = parts.settings.model_copy(update={"reconcile_grace": grace})
    run.run_reconcile(parts)
    assert flag.waited == [interval] * 3
    assert runs == ["functions.reconcile.handler"] * 3


@pytest.mark.parametrize("role", ["bridge", "reconcile", "sync"])
@pytest.mark.parametrize("error", [StreamUnavailableError("away"), RuntimeError("a bug")])
def test_a_step_that_fails_does_not_end_the_process(
    world: World, monkeypatch: pytest.MonkeyPatch, role: str, error: Exception
) -> None:
    world.queue.send("body")
    monkeypatch.setattr(world.queue, "VISIBILITY", world.queue.VISIBILITY * 0)
    flag = stopping_after(monkeypatch, 8)
    runs: list[float] = []

    def fail(*_: object) -> Json:
        runs.append(time.monotonic())
        raise error

    monkeypatch.setattr(run, "load", lambda _: fail)
    run.ROLES[role](world.parts)
    assert len(runs) >= 4
    # It waits before it tries again, so that a broken dependency is not hammered.
    assert flag.waited.count(run.AWAY_SECONDS) >= len(runs)


def test_several_threads_poll_the_queue(monkeypatch: pytest.MonkeyPatch, parts: Container) -> None:
    stopping_after(monkeypatch, 1)
    meeting = threading.Barrier(run.POLLERS)
    pollers: list[str] = []

    def once(*_: object) -> None:
        # Broken, and so a failure, unless all of them are here at a time.
        meeting.wait(10)
        pollers.append(threading.current_thread().name)
        run.stopping.set()

    monkeypatch.setattr(run, "sync_once", once)
    run.run_sync(parts)
    assert len(set(pollers)) == run.POLLERS


@pytest.mark.parametrize("name", ["bridge", "sync", "reconcile"])
def test_a_handler_is_found_by_the_name_that_lambda_uses(name: str) -> None:
    module = {"bridge": bridge, "sync": sync, "reconcile": reconcile}[name]
    assert run.load(f"functions.{name}.handler") is module.handler
