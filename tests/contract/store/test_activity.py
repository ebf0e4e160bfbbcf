"""Counts of attempts by the minute: added up over processes, read by their minutes, forgotten."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

from chalicelib.domain.throughput import MINUTE, Minute
from tests.fakes import START

if TYPE_CHECKING:
    from chalicelib.usecases.ports import Store

NEXT = START + MINUTE
EVER = [START + number * MINUTE for number in range(-60, 60)]


def in_order(store: Store) -> list[Minute]:
    """All that is stored of two hours."""
    return sorted(store.activity(EVER), key=lambda minute: minute.at)


def test_at_first_nothing_is_counted(store: Store) -> None:
    assert store.activity(EVER) == []


def test_counts_are_read_as_they_were_written(store: Store) -> None:
    minutes = [Minute(START, 3, 2, {"http-503": 1, "timeout": 1}), Minute(NEXT, 1)]

    store.add_activity(minutes)

    assert in_order(store) == minutes


def test_counts_of_the_same_minute_are_added_up(store: Store) -> None:
    store.add_activity([Minute(START, 3, 2, {"http-503": 1, "timeout": 1})])
    store.add_activity([Minute(START, 4, 3, {"http-503": 2, "connection": 1})])

    kinds = {"http-503": 3, "timeout": 1, "connection": 1}
    assert store.activity([START]) == [Minute(START, 7, 5, kinds)]


def test_no_count_is_lost_between_processes_that_begin_a_minute_together(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.add_activity([Minute(START, 1)]), range(40)))

    assert store.activity([START]) == [Minute(START, 40)]


def test_only_the_minutes_that_are_asked_for_are_found(store: Store) -> None:
    store.add_activity([Minute(START, 1), Minute(NEXT, 2)])

    assert store.activity([NEXT, NEXT + MINUTE]) == [Minute(NEXT, 2)]


def test_earlier_minutes_are_forgotten(store: Store) -> None:
    store.add_activity([Minute(START - MINUTE, 1), Minute(START, 2), Minute(NEXT, 3)])

    store.forget_activity(START)

    assert in_order(store) == [Minute(START, 2), Minute(NEXT, 3)]


def test_there_may_be_nothing_to_forget(store: Store) -> None:
    store.forget_activity(START + timedelta(days=1))

    assert in_order(store) == []
