"""Calls of a batch end at different times; their results are written as they come."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import pytest

from chalicelib import telemetry
from chalicelib.domain.errors import StoreUnavailableError
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.usecases import parallel
from chalicelib.usecases.parallel import InThreads
from tests.fakes import Pipeline
from tests.support import eventually
from tests.unit.sync.steps import WorkerDiedError, die, status, waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from chalicelib.domain.delivery import SyncResult
    from chalicelib.domain.product import Product

Item = TypeVar("Item")
Result = TypeVar("Result")


def one_by_one(
    work: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[list[tuple[Item, Result]]]:
    """Do one after the other; each is a group of its own."""
    for item in items:
        yield [(item, work(item))]


def recorded_sizes(pipeline: Pipeline) -> list[int]:
    """How many results each write of the store will have had."""
    record, sizes = pipeline.store.record, list[int]()

    def counted(results: Sequence[SyncResult]) -> set[str]:
        sizes.append(len(results))
        return record(results)

    pipeline.store.record = counted  # type: ignore[method-assign]
    return sizes


def test_a_call_that_hangs_delays_no_other_result(pipeline: Pipeline) -> None:
    pipeline.sync = pipeline.a_worker(InThreads())
    slow, *others = [pipeline.create() for _ in range(5)]

    def until_the_others_are_written(product: Product) -> None:
        if product.id == slow:
            eventually(
                lambda: {status(pipeline, item) for item in others} == {SyncStatus.DELIVERED}
            )

    pipeline.supply_chain.during = until_the_others_are_written
    pipeline.pass_on()

    assert status(pipeline, slow) is SyncStatus.DELIVERED
    assert pipeline.queue.messages == []


def test_results_that_come_together_are_written_at_once(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "TOGETHER_SECONDS", 30)
    for _ in range(10):
        pipeline.create()
    sizes = recorded_sizes(pipeline)

    pipeline.pass_on()

    assert sizes == [10]


def test_a_result_that_comes_late_is_written_alone(pipeline: Pipeline) -> None:
    pipeline.sync = pipeline.a_worker(InThreads())
    early = [pipeline.create(), pipeline.create()]
    late = pipeline.create()
    sizes = recorded_sizes(pipeline)

    def until_the_first_is_written(product: Product) -> None:
        if product.id == late:
            eventually(lambda: sum(sizes) == len(early))

    pipeline.supply_chain.during = until_the_first_is_written
    pipeline.pass_on()

    assert sizes[-1] == 1
    assert sum(sizes) == 3


def test_a_store_that_is_away_for_one_group_costs_no_other_its_result(pipeline: Pipeline) -> None:
    pipeline.sync = pipeline.a_worker(one_by_one)
    for _ in range(3):
        pipeline.create()
    record, tries = pipeline.store.record, iter([False, True, False])

    def away_once(results: Sequence[SyncResult]) -> set[str]:
        if next(tries):
            raise StoreUnavailableError("away")
        return record(results)

    pipeline.store.record = away_once  # type: ignore[method-assign]
    received = pipeline.pass_on()

    assert waiting(pipeline) == [(received[1].id, 15)]


def test_a_bug_in_one_group_leaves_no_call_of_the_others_behind(pipeline: Pipeline) -> None:
    pipeline.sync = pipeline.a_worker(InThreads())
    first, slow = pipeline.create(), pipeline.create()
    record, bug = pipeline.store.record, threading.Event()

    def broken_once(results: Sequence[SyncResult]) -> set[str]:
        if not bug.is_set():
            bug.set()
            raise ValueError("a bug")
        return record(results)

    def until_the_bug(product: Product) -> None:
        if product.id == slow:
            bug.wait(10)

    pipeline.store.record = broken_once  # type: ignore[method-assign]
    pipeline.supply_chain.during = until_the_bug
    pipeline.pass_on()

    # Lambda freezes a worker that has answered: a call that goes on afterwards could outlive its
    # lease.
    assert status(pipeline, slow) is SyncStatus.DELIVERED
    assert status(pipeline, first) is SyncStatus.PENDING
    assert [seconds for _, seconds in waiting(pipeline)] == [pipeline.LEASE.total_seconds()]


def test_a_worker_that_dies_after_a_group_keeps_what_is_written(pipeline: Pipeline) -> None:
    pipeline.sync = pipeline.a_worker(one_by_one)
    first, second = pipeline.create(), pipeline.create()
    pipeline.supply_chain.during = lambda product: die() if product.id == second else None

    with pytest.raises(WorkerDiedError):
        pipeline.pass_on()

    assert status(pipeline, first) is SyncStatus.DELIVERED
    assert status(pipeline, second) is SyncStatus.PENDING
    assert len(pipeline.queue.messages) == 2


# ---- threads ----


def test_a_single_item_is_done_in_the_callers_own_thread() -> None:
    ((item, thread),) = next(InThreads()(lambda _: threading.current_thread(), ["it"]))
    assert (item, thread) == ("it", threading.current_thread())


def test_a_host_is_told_of_each_wait_for_the_supply_chain_and_the_stream_and_of_no_other(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, seen = [0], list[tuple[str, int]]()

    @contextmanager
    def counted() -> Iterator[None]:
        waits[0] += 1
        try:
            yield
        finally:
            waits[0] -= 1

    def noted(name: str, of: object) -> None:
        work = getattr(of, name)

        def note(*given: object) -> object:
            seen.append((name, waits[0]))
            return work(*given)

        monkeypatch.setattr(of, name, note)

    def in_a_wait(_: Product) -> None:
        eventually(lambda: waits == [1], message="nobody waits for the call")

    pipeline.create()
    pipeline.create()
    pipeline.bridge_once()
    for name in ("get_many", "claim", "record"):
        noted(name, pipeline.store)
    noted("publish", pipeline.stream)
    pipeline.supply_chain.during = in_a_wait
    outer = telemetry.while_waiting.set(counted)
    try:
        pipeline.sync_once()
    finally:
        telemetry.while_waiting.reset(outer)

    assert seen == [("get_many", 0), ("claim", 0), ("publish", 1), ("record", 0)]
    assert waits == [0]
    assert len(pipeline.supply_chain.calls) == 2


def test_all_items_are_done_at_the_same_time() -> None:
    meeting = threading.Barrier(10)

    groups = list(InThreads()(lambda _: meeting.wait(10), range(10)))

    assert sorted(item for group in groups for item, _ in group) == list(range(10))


def test_threads_are_kept_for_the_next_items() -> None:
    in_threads, meeting = InThreads(), threading.Barrier(3)

    def work(_: int) -> threading.Thread:
        meeting.wait(10)
        return threading.current_thread()

    def threads() -> set[threading.Thread]:
        return {thread for group in in_threads(work, range(3)) for _, thread in group}

    first = threads()
    eventually(lambda: threads() == first, message="each time there are new threads")


def test_the_death_of_a_thread_is_the_callers() -> None:
    with pytest.raises(WorkerDiedError):
        list(InThreads()(lambda _: die(), [1, 2]))
