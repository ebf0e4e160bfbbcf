"""How far a republish is: one document, changed by one of many at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from chalicelib.adapters.mongo.store import MongoStore
from chalicelib.domain.republish import RepublishState, Run
from tests.contract.store.steps import inserted
from tests.fakes import START

if TYPE_CHECKING:
    from chalicelib.usecases.ports import Store

RUN = Run(START, "somebody", 500.0, 5000)
FULL = replace(
    RUN,
    checked=120,
    published=110,
    refused=3,
    unreadable=2,
    position="b",
    tries=1,
    held="the stream is away",
    finished_at=START + timedelta(seconds=1),
    stopped_by="another",
)
STATE = RepublishState(run=RUN, last=FULL, revision=1)


def test_at_first_there_is_no_republish(store: Store) -> None:
    assert store.republish() == RepublishState()


def test_every_field_of_a_republish_is_read_as_it_was_written(store: Store) -> None:
    assert store.save_republish(STATE, expected_revision=0)
    assert store.republish() == STATE


def test_of_two_who_have_read_the_same_republish_one_succeeds(store: Store) -> None:
    assert store.save_republish(STATE, expected_revision=0)
    assert not store.save_republish(STATE, expected_revision=0)
    later = RepublishState(last=RUN, revision=2)
    assert store.save_republish(later, expected_revision=1)
    assert not store.save_republish(STATE, expected_revision=1)
    assert store.republish() == later


@pytest.mark.parametrize("run", ["none", {"started_at": START}, 7])
def test_a_republish_that_cannot_be_read_counts_as_new(
    mongo_store: MongoStore, run: object
) -> None:
    assert mongo_store.save_republish(STATE, expected_revision=0)
    mongo_store._controls.update_one({"_id": "republish"}, {"$set": {"run": run}})

    assert mongo_store.republish() == RepublishState(revision=1)


def test_a_walk_over_what_the_majority_has_finds_the_same(store: Store) -> None:
    products = sorted((inserted(store) for _ in range(3)), key=lambda item: item.id)

    found = store.walk(products[0].id, 5, majority=True)

    assert [*found.products] == [item.id for item in products[1:]]
