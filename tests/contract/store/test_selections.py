"""What an operator selects of what is not delivered: found page by page, and counted."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from pymongo import MongoClient

from chalicelib.adapters.mongo.documents import Document
from chalicelib.domain.failures import WORKERS_DIED
from chalicelib.domain.selection import ALL, Portion, Selection
from chalicelib.domain.sync_state import (
    FAILED_STATUSES,
    UNDELIVERED_STATUSES,
    WAITING_STATUSES,
    SyncState,
    SyncStatus,
)
from chalicelib.usecases.ports import Order, ProductQuery
from tests.contract.conftest import new_store
from tests.contract.store.steps import insert, inserted, recorded, stored
from tests.fakes import START, FakeStore, a_product, every_field, fields

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chalicelib.domain.product import Product
    from chalicelib.usecases.ports import Store
    from embedded.services import Endpoints
    from tests.contract.services import Databases

PENDING, RETRYING = SyncStatus.PENDING, SyncStatus.RETRYING
EXHAUSTED, REJECTED = SyncStatus.EXHAUSTED, SyncStatus.REJECTED


def hour(number: int) -> datetime:
    return START + timedelta(hours=number)


def state(
    status: SyncStatus, behind: int, error: str | None = None, failed: int | None = None
) -> SyncState:
    """The state of a product that is behind since an hour, and has failed at another."""
    failed_at = hour(failed) if failed is not None else None
    return SyncState(
        status, behind_since=hour(behind), last_error=error, failed_at=failed_at, overdue_at=None
    )


STATES = {
    "new": state(PENDING, 8),
    "503": state(RETRYING, 1, "HTTP 503: down (for maintenance)"),
    "timeout": state(RETRYING, 3, "no answer within 10 s", failed=2),
    "reset": state(RETRYING, 3, "Connection reset by peer"),
    "500": state(EXHAUSTED, 2, "HTTP 500: \u00c4rger", failed=5),
    "5000": state(EXHAUSTED, 2, "HTTP 5000", failed=6),
    "worker": state(EXHAUSTED, 4, WORKERS_DIED, failed=9),
    "unknown": state(EXHAUSTED, 7, "HTTP 503: DOWN"),
    "422": state(REJECTED, 2, "HTTP 422: a.b*\0 [x]\\", failed=5),
    "zero": state(RETRYING, 2, "HTTP 502"),
    "done": SyncState(SyncStatus.DELIVERED),
}


@pytest.fixture(scope="module", params=["fake", "real"])
def catalog(
    request: pytest.FixtureRequest, servers: Endpoints, databases: Databases
) -> Iterator[Store]:
    """A store with a product of each state, whose name says which."""
    products = [a_product(fields=fields(name=name), sync=STATES[name]) for name in sorted(STATES)]
    if request.param == "fake":
        fake = FakeStore()
        insert(fake, *products)
        yield fake
        return
    with databases.names.one() as name, MongoClient[Document](servers.mongodb) as client:
        real = new_store(client, name)
        insert(real, *products)
        yield real


CASES: dict[str, tuple[Selection, set[str]]] = {
    "all": (ALL, STATES.keys() - {"done"}),
    "behind since then or longer": (
        Selection(behind_by=hour(2)),
        {"503", "500", "5000", "422", "zero"},
    ),
    "failed since, or behind since; an unknown time is not left out": (
        Selection(since=hour(6)),
        {"new", "5000", "worker", "unknown"},
    ),
    "failed until, or behind until": (
        Selection(until=hour(5)),
        {"503", "timeout", "reset", "500", "unknown", "422", "zero"},
    ),
    "within": (
        Selection(since=hour(3), until=hour(5)),
        {"timeout", "reset", "500", "unknown", "422"},
    ),
    "within and behind": (
        Selection(since=hour(1), until=hour(5), behind_by=hour(2)),
        {"503", "500", "422", "zero"},
    ),
    "a status": (Selection(error_kind="http-500"), {"500"}),
    "another status": (Selection(error_kind="http-503"), {"503", "unknown"}),
    "timeouts": (Selection(error_kind="timeout"), {"timeout"}),
    "crashes": (Selection(error_kind="worker"), {"worker"}),
    "connections": (Selection(error_kind="connection"), {"reset", "5000"}),
    "a text in any case": (Selection(error_text="dOwN"), {"503", "unknown"}),
    "a letter that is not ASCII": (Selection(error_text="\u00e4RGER"), {"500"}),
    "a text that looks like a pattern": (Selection(error_text="A.B*\0 [X]\\"), {"422"}),
    "a pattern that is no text": (Selection(error_text="HTTP.*"), set()),
    "kind and text": (Selection(error_kind="http-503", error_text="maintenance"), {"503"}),
    "what nothing has": (Selection(error_kind="http-599"), set()),
}


def pages(store: Store, query: ProductQuery, reads: int) -> list[list[str]]:
    """The names on the pages of a search."""
    found: list[list[str]] = []
    while True:
        window = store.search(query, reads)
        found.append([product.fields.name for product in window.products])
        if window.after is None:
            return found
        query = replace(query, after=window.after)


def query_of(selection: Selection, limit: int = 2, **more: object) -> ProductQuery:
    query = ProductQuery(limit, order=Order.BEHIND_SINCE, details=False, selection=selection)
    return replace(query, **more)  # type: ignore[arg-type]  # any field


def in_order(names: set[str]) -> list[str]:
    """Oldest change first, then by id."""
    return sorted(names, key=lambda name: (STATES[name].behind_since or START, name))


@pytest.mark.parametrize("reads", [1, 100])
@pytest.mark.parametrize("name", CASES)
def test_all_that_is_selected_is_found_in_order_however_little_a_page_reads(
    catalog: Store, name: str, reads: int
) -> None:
    selection, wanted = CASES[name]

    found = pages(catalog, query_of(selection), reads)

    assert [item for page in found for item in page] == in_order(wanted)


@pytest.mark.parametrize("statuses", [FAILED_STATUSES, WAITING_STATUSES], ids=["failed", "waiting"])
@pytest.mark.parametrize("name", CASES)
def test_what_is_selected_can_have_some_statuses_only(
    catalog: Store, name: str, statuses: frozenset[SyncStatus]
) -> None:
    selection, wanted = CASES[name]

    found = pages(catalog, query_of(selection, statuses=statuses), 2)

    assert [item for page in found for item in page] == in_order(
        {item for item in wanted if STATES[item].status in statuses}
    )


@pytest.mark.parametrize("name", CASES)
def test_what_is_selected_is_counted(catalog: Store, name: str) -> None:
    selection, wanted = CASES[name]

    counted = {each: catalog.count(Portion(each, selection)) for each in UNDELIVERED_STATUSES}

    statuses = [STATES[item].status for item in wanted]
    assert counted == {each: statuses.count(each) for each in UNDELIVERED_STATUSES}


def test_a_page_on_which_nothing_is_selected_ends_after_its_reads(catalog: Store) -> None:
    nothing, _ = CASES["what nothing has"]
    query = query_of(nothing, statuses=frozenset({EXHAUSTED}))

    first = catalog.search(query, 3)

    assert list(first.products) == []
    assert first.after is not None
    assert first.after.behind_since == hour(4)
    assert catalog.search(replace(query, after=first.after), 3).after is None


def test_a_search_has_histories_and_no_details_if_it_is_asked_so(store: Store) -> None:
    product = inserted(store, fields=fields(**every_field()))
    recorded(store, product, 500)

    (found,) = store.search(query_of(ALL, history=True), 9).products

    whole = stored(store, product)
    assert found.sync == whole.sync
    assert found.sync.history
    assert found.fields == fields().model_copy(update={"name": whole.fields.name, **_kept(whole)})


def _kept(product: Product) -> dict[str, object]:
    """The fields that every product has."""
    return {"price": product.fields.price, "quantity": product.fields.quantity}
