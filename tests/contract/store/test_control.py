"""The state of the sync as a whole: one document, changed by one of many at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.adapters.mongo.store import MongoStore
from chalicelib.domain.breaker import Breaker, BreakerState, Tally
from chalicelib.domain.control import CatchUp, Control, Pause, Redrive
from chalicelib.domain.errors import StoreUnavailableError
from chalicelib.domain.selection import Selection
from chalicelib.domain.sync_state import Position, SyncStatus
from tests.fakes import START

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.usecases.ports import Store


def at(seconds: float) -> Any:  # noqa: ANN401 - a datetime, as the dataclasses want it
    return START + timedelta(seconds=seconds)


FULL = Control(
    Breaker(
        state=BreakerState.HALF_OPEN,
        since=at(1),
        reason="HTTP 503",
        probe_at=at(2),
        successes=2,
        ramp_since=at(3),
        cooldown_until=at(4),
        spent_until=at(5.000667),
        queued_until=at(6),
        tallies=(
            Tally(at(7), 10, 3, frozenset({"one", "other"})),
            Tally(at(8), 4, 0, frozenset()),
        ),
    ),
    Pause(at(9), "maintenance", at(10)),
    CatchUp(at(11), Position("product", at(12))),
    Redrive(
        (SyncStatus.EXHAUSTED, SyncStatus.RETRYING),
        at(13),
        1_000_000,
        5,
        Position("id", at(14)),
        asked_at=(at(13), at(12)),
    ),
    revision=1,
)


FILTERED = replace(
    FULL,
    redrive=Redrive(
        (SyncStatus.EXHAUSTED, SyncStatus.EXHAUSTED),
        at(13),
        1_000_000,
        5,
        Position("id", at(14)),
        asked_at=(at(13), at(12)),
        selections=(Selection(at(1), at(2), at(3), "http-503", "down"), Selection()),
    ),
)


def test_at_first_the_state_of_the_sync_is_that_all_is_well(store: Store) -> None:
    assert store.control() == Control()


@pytest.mark.parametrize("full", [FULL, FILTERED], ids=["a redrive of all", "… of some"])
def test_every_field_of_the_state_is_read_as_it_was_written(store: Store, full: Control) -> None:
    assert store.save_control(full, expected_revision=0)

    assert store.control() == full


BARE = {
    "a pause without end and reason": Control(pause=Pause(START), revision=1),
    "catching up that begins": Control(catch_up=CatchUp(START), revision=1),
    "a redrive that begins": Control(redrive=Redrive((SyncStatus.REJECTED,), START, 3), revision=1),
    "nothing": Control(revision=1),
}


@pytest.mark.parametrize("what", BARE)
def test_what_is_absent_stays_absent(store: Store, what: str) -> None:
    store.save_control(FULL, expected_revision=0)
    following = replace(BARE[what], revision=2)

    assert store.save_control(following, expected_revision=1)

    assert store.control() == following


def test_of_two_who_write_for_the_first_time_one_succeeds(store: Store) -> None:
    first, second = replace(FULL, pause=None), replace(FULL, redrive=None)

    assert store.save_control(first, expected_revision=0)
    assert not store.save_control(second, expected_revision=0)

    assert store.control() == first


def test_of_two_who_have_read_the_same_state_one_succeeds(store: Store) -> None:
    store.save_control(FULL, expected_revision=0)
    won, lost = (replace(FULL, pause=Pause(at(n)), revision=2) for n in (1, 2))

    assert store.save_control(won, expected_revision=1)
    assert not store.save_control(lost, expected_revision=1)

    assert store.control() == won


def test_a_state_that_is_not_there_is_not_changed(store: Store) -> None:
    assert not store.save_control(replace(FULL, revision=8), expected_revision=7)

    assert store.control() == Control()


# ---- the document ----


def change_document(store: MongoStore, update: dict[str, Any]) -> None:
    assert store._controls.update_one({"_id": "sync"}, update).matched_count == 1


def test_fields_of_a_later_release_are_ignored(mongo_store: MongoStore) -> None:
    mongo_store.save_control(FULL, expected_revision=0)
    places = ("", "breaker.", "breaker.tallies.0.", "pause.", "catch_up.", "redrive.")
    after = ("catch_up.after.", "redrive.after.")
    change_document(mongo_store, {"$set": {f"{place}new": 1 for place in (*places, *after)}})

    assert mongo_store.control() == FULL


def test_a_redrive_of_an_earlier_release_goes_on(mongo_store: MongoStore) -> None:
    begun = Redrive((SyncStatus.EXHAUSTED,), START, 3, asked_at=(START,))
    mongo_store.save_control(replace(FULL, redrive=begun), expected_revision=0)
    change_document(mongo_store, {"$unset": {"redrive.asked_at": ""}})

    assert mongo_store.control().redrive == replace(begun, asked_at=())


def document_of(store: MongoStore) -> dict[str, Any]:
    found = store._controls.find_one({"_id": "sync"})
    assert found
    return found


def test_the_release_before_reads_no_redrive_where_there_is_one_of_some_products(
    mongo_store: MongoStore,
) -> None:
    # It knows no filters, and would redrive all products with the statuses.
    mongo_store.save_control(FILTERED, expected_revision=0)

    assert document_of(mongo_store)["redrive"] is None


def test_the_release_before_reads_a_redrive_of_all_products(mongo_store: MongoStore) -> None:
    mongo_store.save_control(FULL, expected_revision=0)

    assert document_of(mongo_store)["redrive"]["statuses"] == ["exhausted", "retrying"]
    assert "filtered_redrive" not in document_of(mongo_store)


def test_what_the_release_before_writes_has_no_redrive_of_some_products_any_more(
    mongo_store: MongoStore,
) -> None:
    mongo_store.save_control(FILTERED, expected_revision=0)
    # It writes what it has read.
    change_document(mongo_store, {"$unset": {"filtered_redrive": ""}})

    assert mongo_store.control() == replace(FILTERED, redrive=None)


def test_a_redrive_by_a_filter_of_a_later_release_is_left_alone(mongo_store: MongoStore) -> None:
    # Without that condition more products would be redriven than are asked for.
    mongo_store.save_control(FILTERED, expected_revision=0)
    change_document(mongo_store, {"$set": {"filtered_redrive.selections.1.new": 1}})

    assert mongo_store.control() == replace(FILTERED, redrive=None)


DAMAGE: dict[str, dict[str, Any]] = {
    "an unknown state": {"$set": {"breaker.state": "ajar"}},
    "an unknown status": {"$set": {"redrive.statuses": ["lost"]}},
    "no breaker": {"$unset": {"breaker": ""}},
    "a breaker of another type": {"$set": {"breaker": "closed"}},
    "permits of another type": {"$set": {"breaker.spent_until": START}},
    "no pause": {"$unset": {"pause": ""}},
    "a pause of another type": {"$set": {"pause": True}},
    "a pause without a beginning": {"$unset": {"pause.since": ""}},
    "no revision": {"$unset": {"revision": ""}},
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_state_that_cannot_be_read_is_an_error(mongo_store: MongoStore, what: str) -> None:
    # It may say that an operator has paused.
    mongo_store.save_control(FULL, expected_revision=0)
    change_document(mongo_store, DAMAGE[what])

    with pytest.raises(StoreUnavailableError, match="control"):
        mongo_store.control()


def test_the_state_of_another_release_can_be_replaced(mongo_store: MongoStore) -> None:
    mongo_store.save_control(FULL, expected_revision=0)
    change_document(mongo_store, {"$set": {"new": 1}})

    assert mongo_store.save_control(Control(revision=2), expected_revision=1)

    assert mongo_store.control() == Control(revision=2)


USES: dict[str, Callable[[Store], object]] = {
    "read": lambda store: store.control(),
    "write": lambda store: store.save_control(FULL, expected_revision=0),
}


@pytest.mark.parametrize("use", USES)
def test_a_store_that_is_away_has_no_state(store_away: Store, use: str) -> None:
    with pytest.raises(StoreUnavailableError):
        USES[use](store_away)
