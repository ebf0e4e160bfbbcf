"""The attempts of a process are counted, and written every few seconds."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.throughput import MINUTE, Minute
from chalicelib.usecases.activity import WRITE_EVERY, Activity
from tests.fakes import START, FakeClock, FakeStore, Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Json


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def activity(store: FakeStore, clock: FakeClock) -> Activity:
    return Activity(store, clock=clock)


def deliveries(store: FakeStore) -> int:
    """How many are stored."""
    return sum(minute.delivered for minute in store.minutes.values())


def test_each_attempt_of_a_batch_is_counted_by_its_end(pipeline: Pipeline) -> None:
    answers: dict[int, list[int | None]] = {0: [503], 1: [None], 2: [422], 3: [], 4: []}
    for failures in answers.values():
        pipeline.supply_chain.answers[pipeline.create()] = failures

    pipeline.pass_on()

    (minute,) = pipeline.store.minutes.values()
    assert (minute.delivered, minute.failed) == (2, 3)
    assert minute.kinds == {"http-503": 1, "http-422": 1, "connection": 1}


def test_a_message_without_a_call_is_no_attempt(pipeline: Pipeline) -> None:
    pipeline.create()
    pipeline.bridge_once()
    pipeline.queue.send(pipeline.queue.messages[0].body)
    pipeline.sync_once()

    assert deliveries(pipeline.store) == 1


def test_what_ends_within_seconds_is_written_together(
    activity: Activity, store: FakeStore, clock: FakeClock
) -> None:
    written = []
    for _ in range(12):
        activity.count(None, delivered=True)
        activity.write_if_due()
        written.append(deliveries(store))
        clock.advance(WRITE_EVERY.total_seconds() / 5)

    assert written == [1, 1, 1, 1, 1, 6, 6, 6, 6, 6, 11, 11]


def test_an_attempt_that_is_written_later_counts_for_its_own_minute(
    activity: Activity, store: FakeStore, clock: FakeClock
) -> None:
    activity.count(None, delivered=True)
    clock.advance(60)
    activity.count("HTTP 500", delivered=False)

    activity.write()

    failed = Minute(START + MINUTE, 0, 1, {"http-500": 1})
    assert store.minutes == {START: Minute(START, 1), failed.at: failed}


def test_a_failure_without_words_counts_all_the_same(activity: Activity, store: FakeStore) -> None:
    activity.count(None, delivered=False)
    activity.write()

    assert store.minutes == {START: Minute(START, 0, 1)}


def test_nothing_is_written_where_nothing_was_counted(activity: Activity, store: FakeStore) -> None:
    store.away = True
    activity.write()
    activity.write_if_due()


def test_a_store_that_is_away_loses_only_these_counts(
    activity: Activity, store: FakeStore, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    store.broken = {"add_activity"}
    activity.count(None, delivered=True)
    activity.write_if_due()
    store.broken = set()
    clock.advance(WRITE_EVERY.total_seconds())
    activity.count(None, delivered=True)
    activity.write_if_due()

    assert deliveries(store) == 1
    (line,) = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert (line["level"], line["message"]) == ("WARNING", "counts of attempts are lost")


def test_a_delivery_does_not_depend_on_its_count(pipeline: Pipeline) -> None:
    pipeline.store.broken = {"add_activity"}
    product_id = pipeline.create()

    pipeline.pass_on()

    assert pipeline.product(product_id).sync.behind_since is None
    assert pipeline.queue.messages == []


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("eager_threads")
def test_no_count_is_lost_between_threads(activity: Activity, store: FakeStore) -> None:
    def work(_: int) -> None:
        for _ in range(200):
            activity.count(None, delivered=True)
            activity.write()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))

    assert deliveries(store) == 1600


def shown(pipeline: Pipeline) -> Json:
    """What `GET /sync` shows of it."""
    throughput: Json = pipeline.operations.summary()["throughput"]
    return throughput


def test_operators_see_what_was_counted(pipeline: Pipeline) -> None:
    pipeline.supply_chain.answers[pipeline.create()] = [503]
    pipeline.create()
    pipeline.pass_on()
    pipeline.clock.advance(60)

    assert shown(pipeline)["failureKinds"] == {"http-503": 1}
    assert shown(pipeline)["minutes"][-2] == {
        "at": "2026-01-01T00:00:00.000Z",
        "delivered": 1,
        "failed": 1,
    }
