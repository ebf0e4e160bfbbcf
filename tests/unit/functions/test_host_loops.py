"""The loops of the container host."""

from __future__ import annotations

import json
import math
import threading
import time
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.audit import AuditState
from chalicelib.domain.breaker import Breaker, BreakerState
from chalicelib.domain.control import Control
from chalicelib.domain.errors import StoreUnavailableError, StreamUnavailableError
from chalicelib.domain.republish import RepublishState
from chalicelib.domain.times import rfc3339
from chalicelib.usecases.parallel import InThreads
from embedded.processes import poll
from functions import bridge, reconcile, run, sync
from tests.fakes import START
from tests.support import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


class Reconciling:
    """The role's handler, and its looks between two runs; each has its answer."""

    def __init__(self, flag: Stopping, answers: Sequence[bool | Exception]) -> None:
        self._flag = flag
        self._answers = list(answers)
        self.begun: list[int] = []
        """How often the role had waited when a run began."""

    def __call__(self, *_: object) -> Json:
        self.begun.append(len(self._flag.waited))
        return {}

    def is_needed(self) -> bool:
        """Give the next answer; the last one again and again."""
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def reconciling(
    monkeypatch: pytest.MonkeyPatch, waits: int, answers: Sequence[bool | Exception]
) -> Reconciling:
    """Put the role's handler and looks into the host, which stops after so many waits."""
    made = Reconciling(stopping_after(monkeypatch, waits), answers)
    monkeypatch.setattr(run, "load", {"functions.reconcile.handler": made}.get)
    monkeypatch.setattr(run, "container", lambda: SimpleNamespace(reconcile=made))
    return made


@pytest.mark.parametrize(
    ("grace", "interval"),
    [(300.0, 60.0), (3000.0, 60.0), (50.0, 10.0), (12.0, 2.4), (5.0, 1.0), (0.1, 1.0)],
)
def test_reconcile_runs_every_minute_or_five_times_within_the_grace(
    monkeypatch: pytest.MonkeyPatch, parts: Container, grace: float, interval: float
) -> None:
    looks = math.ceil(interval)
    role = reconciling(monkeypatch, 2 * looks, [False])
    parts.settings = parts.settings.model_copy(update={"reconcile_grace": grace})
    run.run_reconcile(parts)
    assert run.stopping.waited == [interval / looks] * 2 * looks  # type: ignore[attr-defined]  # the fake
    assert role.begun == [0, looks]


def test_reconcile_runs_at_once_after_an_outage(
    monkeypatch: pytest.MonkeyPatch, parts: Container
) -> None:
    role = reconciling(monkeypatch, 5, [False, False, True, False])
    run.run_reconcile(parts)
    assert role.begun == [0, 3]


def test_reconcile_looks_every_second_whether_an_outage_has_ended(
    monkeypatch: pytest.MonkeyPatch, parts: Container
) -> None:
    reconciling(monkeypatch, 30, [False])
    run.run_reconcile(parts)
    assert run.stopping.waited == [1.0] * 30  # type: ignore[attr-defined]  # the fake


@pytest.mark.parametrize("error", [StoreUnavailableError("away"), RuntimeError("a bug")])
def test_a_look_that_fails_ends_neither_the_process_nor_the_waiting(
    monkeypatch: pytest.MonkeyPatch, parts: Container, error: Exception
) -> None:
    # Each failure is a wait more.
    role = reconciling(monkeypatch, 8, [error, error, True])
    run.run_reconcile(parts)
    assert role.begun == [0, 5, 6, 7]


def test_a_pause_that_ends_by_its_time_makes_reconcile_run(world: World) -> None:
    until = rfc3339(START + timedelta(hours=1))
    world.operations.control({"paused": True, "until": until})
    assert not world.reconcile.is_needed()
    world.clock.advance(3600)
    assert world.reconcile.is_needed()


@pytest.mark.parametrize("state", [BreakerState.OPEN, BreakerState.HALF_OPEN])
def test_an_open_breaker_needs_reconcile_for_its_probes_but_not_while_paused(
    world: World, state: BreakerState
) -> None:
    breaker = Breaker(state, START)
    world.controls.change(lambda stored: (None, replace(stored, breaker=breaker)))
    assert world.reconcile.is_needed()
    world.operations.control({"paused": True})
    assert not world.reconcile.is_needed()


def test_reconcile_at_rest_reads_three_documents_and_writes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.store.away = True
    monkeypatch.setattr(world.store, "control", Control)
    monkeypatch.setattr(world.store, "audit", AuditState)
    monkeypatch.setattr(world.store, "republish", RepublishState)
    assert not world.reconcile.is_needed()


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
    monkeypatch.setattr(run, "container", lambda: world.parts)
    monkeypatch.setattr(world.reconcile, "is_needed", lambda: True)
    run.ROLES[role](world.parts)
    assert len(runs) >= 4
    # It waits before it tries again, so that a broken dependency is not hammered.
    assert flag.waited.count(run.AWAY_SECONDS) >= len(runs)


@pytest.mark.parametrize("error", [StreamUnavailableError("away"), RuntimeError("a bug")])
def test_each_step_that_fails_is_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail() -> None:
        raise error

    stopping_after(monkeypatch, 9)
    run._survive(fail)
    run._survive(lambda: None)
    counted = [line for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    assert [json.loads(line)["handler_failed"] for line in counted] == [1]


class Polled:
    """A queue that counts who waits in it, and gives each poller a message when it is let go."""

    def __init__(self) -> None:
        self.waiting = 0
        self.most = 0
        self.deleted = 0
        self.go = threading.Semaphore(0)
        self._lock = threading.Lock()

    def receive_records(self, _: int) -> list[Json]:
        with self._lock:
            self.waiting += 1
            self.most = max(self.most, self.waiting)
        got = self.go.acquire(timeout=10)
        with self._lock:
            self.waiting -= 1
        return [{"messageId": "id", "receiptHandle": "receipt"}] if got else []

    def delete(self, receipts: Sequence[str]) -> None:
        """Count what would be deleted."""
        self.deleted += len(receipts)


class Hanging:
    """A handler whose batches hang until they are released: in their calls, or after them."""

    def __init__(self) -> None:
        self.begun = 0
        self.items: tuple[bool, ...] = (True, False)
        """The calls of a batch; one that is False hangs."""
        self.then_hangs = False
        self.release = threading.Event()
        self._lock = threading.Lock()
        self._in_threads = InThreads()

    def __call__(self, *_: object) -> Json:
        with self._lock:
            self.begun += 1
        list(self._in_threads(lambda item: item or self.release.wait(30), self.items))
        if self.then_hangs:
            self.release.wait(30)
        return {"batchItemFailures": []}


@pytest.fixture
def bulk(parts: Container) -> Polled:
    """The bulk queue, which the role is to find."""
    queue = Polled()
    vars(parts)["bulk_queue"] = queue
    return queue


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch, parts: Container) -> Iterator[tuple[Polled, Hanging]]:
    """The sync role with three pollers, whose every batch hangs."""
    queue, handler = Polled(), Hanging()
    monkeypatch.setattr(run, "stopping", threading.Event())
    monkeypatch.setattr(run, "load", lambda _: handler)
    monkeypatch.setattr(run, "SLOW_SECONDS", 0.05)
    monkeypatch.setattr(run, "HUNG_SECONDS", 60)
    monkeypatch.setattr(run, "container", lambda: parts)
    parts.queue = queue  # type: ignore[assignment]  # what the role uses of it
    parts.settings = parts.settings.model_copy(update={"sync_pollers": 3})
    role = threading.Thread(target=run.run_sync, args=(parts,))
    role.start()
    yield queue, handler
    run.stopping.set()
    handler.release.set()
    for polled in (queue, vars(parts).get("bulk_queue")):
        if polled:
            polled.go.release(1000)
    role.join(30)
    assert not role.is_alive()


def test_no_receive_begins_while_enough_batches_are_in_hand(
    monkeypatch: pytest.MonkeyPatch, hanging: tuple[Polled, Hanging]
) -> None:
    monkeypatch.setattr(run, "SLOW_SECONDS", 60)
    queue, handler = hanging
    queue.go.release(100)
    eventually(lambda: handler.begun >= run.PARALLEL and queue.waiting == 0)
    # The pollers that were waiting got a batch too.
    begun = handler.begun
    assert begun <= run.PARALLEL + 3
    handler.release.set()
    eventually(lambda: handler.begun > begun + 10, message="it does not go on")


def test_batches_that_hang_do_not_keep_the_host_from_receiving(
    hanging: tuple[Polled, Hanging],
) -> None:
    queue, handler = hanging
    queue.go.release(10)
    eventually(lambda: handler.begun == 10, 10, "they are not received")
    eventually(lambda: queue.waiting == 3, 10, "nobody receives in their place")
    assert queue.most == 3


def test_a_batch_of_one_whose_call_hangs_does_not_keep_the_host_from_receiving(
    hanging: tuple[Polled, Hanging],
) -> None:
    queue, handler = hanging
    handler.items = (False,)
    queue.go.release(10)
    eventually(lambda: handler.begun == 10, 10, "they are not received")


def test_while_the_store_is_slow_no_more_batches_are_received(
    hanging: tuple[Polled, Hanging],
) -> None:
    queue, handler = hanging
    # Its calls are answered; then something hangs that is no call.
    handler.items, handler.then_hangs = (True,), True
    queue.go.release(100)
    eventually(lambda: handler.begun >= run.PARALLEL and queue.waiting == 0)
    # Those that were being received are in hand too. Far longer than a slow call is waited for:
    assert not poll(lambda: handler.begun > run.BATCHES // 2, 10 * run.SLOW_SECONDS)
    begun = handler.begun
    handler.release.set()
    eventually(lambda: handler.begun > begun + 10, message="it does not go on")


def test_what_does_not_answer_for_long_does_not_keep_the_host_from_receiving(
    hanging: tuple[Polled, Hanging], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "HUNG_SECONDS", 0.05)
    queue, handler = hanging
    handler.items, handler.then_hangs = (True,), True
    queue.go.release(10)
    eventually(lambda: handler.begun == 10, 10, "they are not received")


def test_waits_for_calls_that_end_one_after_another_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    batch, counted = run.Batch(), list[bool]()
    for _ in range(3):
        with batch.waiting():
            now[0] += 0.4 * run.SLOW_SECONDS
            counted.append(batch.counts)
    assert counted == [True, True, False]
    # It writes their results.
    assert batch.counts


def test_a_host_has_a_bounded_number_of_batches_in_hand(hanging: tuple[Polled, Hanging]) -> None:
    queue, handler = hanging
    queue.go.release(run.BATCHES + 10)
    eventually(lambda: handler.begun == run.BATCHES, 10, "fewer are in hand")
    assert queue.waiting == 0


def test_bulk_batches_leave_room_for_single_changes(
    monkeypatch: pytest.MonkeyPatch, bulk: Polled, hanging: tuple[Polled, Hanging]
) -> None:
    monkeypatch.setattr(run, "SLOW_SECONDS", 60)
    queue, handler = hanging
    bulk.go.release(100)
    eventually(lambda: handler.begun >= run.BULK_PARALLEL and bulk.waiting == 0)
    # The pollers that were waiting got a batch too.
    begun = handler.begun
    assert begun < run.BULK_PARALLEL + run.BULK_POLLERS
    assert queue.waiting == 3
    queue.go.release(1)
    eventually(lambda: handler.begun == begun + 1, message="a single change waits")


def test_bulk_messages_are_deleted_from_their_own_queue(
    bulk: Polled, hanging: tuple[Polled, Hanging]
) -> None:
    queue, handler = hanging
    handler.release.set()
    bulk.go.release(1)
    eventually(lambda: bulk.deleted == 1, message="it is not deleted")
    assert queue.deleted == 0


def test_what_a_process_has_noted_is_written_though_no_batch_follows_and_when_the_host_stops(
    monkeypatch: pytest.MonkeyPatch, parts: Container
) -> None:
    wrote: list[str] = []
    counts = SimpleNamespace(
        write_if_due=lambda: wrote.append("if due"), write=lambda: wrote.append("rest")
    )
    seen = SimpleNamespace(write_if_due=lambda: wrote.append("for the breaker"))
    shared = SimpleNamespace(activity=counts, admissions=seen)
    monkeypatch.setattr(run, "container", lambda: shared)
    monkeypatch.setattr(run, "load", lambda _: lambda *_: pytest.fail("there is no batch"))
    stopping_after(monkeypatch, 20)
    run.run_sync(parts)
    assert wrote[:2] == ["for the breaker", "if due"]
    assert wrote[-1] == "rest"
    assert wrote.count("rest") == 1


@pytest.mark.parametrize("name", ["bridge", "sync", "reconcile"])
def test_a_handler_is_found_by_the_name_that_lambda_uses(name: str) -> None:
    module = {"bridge": bridge, "sync": sync, "reconcile": reconcile}[name]
    assert run.load(f"functions.{name}.handler") is module.handler
