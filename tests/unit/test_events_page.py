"""The page about the events: its table, its example and its consumer are true."""

from __future__ import annotations

import copy
import json
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.domain.events import EventType
from tests.support import code_block
from tests.unit.test_asyncapi import EXAMPLES, validator_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support import Json

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/events.md"


@pytest.mark.parametrize("event_type", EventType)
@pytest.mark.parametrize("page", [ROOT / "README.md", PAGE], ids=lambda page: page.name)
def test_a_page_names_each_type_beside_its_subject(page: Path, event_type: EventType) -> None:
    assert f"| `{event_type.subject}` | `{event_type}` |" in page.read_text()


def test_the_example_of_the_page_fits_the_document() -> None:
    validator_of("product:updated").validate(json.loads(code_block(PAGE, "json")))


# ---- its consumer ----


class Copy:
    """What the consumer of the page makes of events."""

    def __init__(self) -> None:
        names: dict[str, Any] = {"__name__": "listener"}
        exec(code_block(PAGE, "python"), names)  # noqa: S102 - a page of ours
        self._store: Callable[[sqlite3.Connection, Json], bool] = names["store"]
        self._database = sqlite3.connect(":memory:")
        self._database.executescript(names["TABLES"])

    def take(self, event_type: EventType, version: int, **data: object) -> bool:
        """Whether it is new."""
        event = copy.deepcopy(EXAMPLES[event_type]["payload"])
        event["id"] = f"{event['subject']}:{version}:{event_type}"
        event["data"] |= {"version": version, **data}
        return self._store(self._database, event)

    def products(self) -> list[tuple[object, ...]]:
        return self._database.execute("SELECT version, price, deleted_at FROM products").fetchall()

    def delivered(self) -> list[tuple[int]]:
        return self._database.execute("SELECT version FROM delivered").fetchall()


def test_the_consumer_keeps_the_newest_version() -> None:
    listener = Copy()
    listener.take(EventType.CREATED, 0, price=Decimal("19.90"))
    listener.take(EventType.UPDATED, 1, price=Decimal("17.50"))
    assert listener.products() == [(1, "17.50", None)]


def test_the_consumer_ignores_an_older_version_that_comes_late() -> None:
    listener = Copy()
    listener.take(EventType.UPDATED, 2, price=2)
    listener.take(EventType.UPDATED, 1, price=1)
    listener.take(EventType.CREATED, 0, price=0)
    assert listener.products() == [(2, "2", None)]


def test_the_consumer_knows_an_event_that_comes_again() -> None:
    listener = Copy()
    assert listener.take(EventType.UPDATED, 1, price=1)
    assert not listener.take(EventType.UPDATED, 1, price=2)
    assert listener.products() == [(1, "1", None)]


def test_the_consumer_does_not_bring_a_deleted_product_back() -> None:
    listener = Copy()
    listener.take(EventType.DELETED, 2, price=1, deletedAt="then")
    listener.take(EventType.UPDATED, 1, price=1)
    assert listener.products() == [(2, "1", "then")]


def test_the_consumer_hears_of_the_delivery_of_a_version_that_it_has() -> None:
    listener = Copy()
    listener.take(EventType.CREATED, 0)
    assert listener.take(EventType.SYNC_COMPLETE, 0)
    assert listener.delivered() == [(0,)]


def test_a_late_delivery_of_an_older_version_changes_nothing() -> None:
    listener = Copy()
    listener.take(EventType.UPDATED, 1, price=1)
    listener.take(EventType.SYNC_COMPLETE, 1)
    listener.take(EventType.SYNC_COMPLETE, 0, price=0)
    assert (listener.products(), listener.delivered()) == ([(1, "1", None)], [(1,)])
