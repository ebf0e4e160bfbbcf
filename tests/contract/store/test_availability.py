"""A store that answers, and one that is away."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from pymongo import MongoClient
from pymongo.errors import ServerSelectionTimeoutError

from chalicelib.adapters.mongo.documents import Document
from chalicelib.adapters.mongo.store import MongoStore
from chalicelib.domain.acts import Act, ActKind
from chalicelib.domain.control import Control
from chalicelib.domain.errors import StoreUnavailableError
from chalicelib.domain.poison import ALL_POISON, PoisonLetter
from chalicelib.domain.product import Product
from chalicelib.domain.republish import RepublishState
from chalicelib.domain.restore import RestoreState
from chalicelib.domain.selection import Portion
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.domain.throughput import Minute
from chalicelib.usecases.ports import Order, ProductQuery, PutBack
from tests.contract.conftest import NOWHERE
from tests.contract.store.steps import LATER, a_claim, a_redrive, a_result
from tests.fakes import START, a_product

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.collection import Collection as MongoCollection

    from chalicelib.usecases.ports import Store


def test_a_store_that_answers_can_be_pinged(store: Store) -> None:
    store.ping()


EVERY_METHOD: dict[str, Callable[[Store, Product], object]] = {
    "insert": lambda store, product: store.insert([(product, None)]),
    "created_under": lambda store, _: store.created_under("key"),
    "created_in_batch": lambda store, _: store.created_in_batch(["key"]),
    "get": lambda store, product: store.get(product.id),
    "get by the majority": lambda store, product: store.get(product.id, majority=True),
    "get_many": lambda store, product: store.get_many([product.id]),
    "save_change": lambda store, product: store.save_change(product, expected_version=0),
    "save_sync": lambda store, product: store.save_sync(product, expected_revision=0),
    "find": lambda store, _: store.find(ProductQuery(1)),
    "search": lambda store, _: store.search(ProductQuery(1, order=Order.BEHIND_SINCE), 1),
    "count": lambda store, _: store.count(Portion(SyncStatus.RETRYING)),
    "summary": lambda store, _: store.summary(LATER),
    "remove_events": lambda store, product: store.remove_events([(product.id, "event")]),
    "unpublished": lambda store, _: store.unpublished(LATER, 1),
    "overdue": lambda store, _: store.overdue(LATER, 1),
    "postpone": lambda store, product: store.postpone({product.id: (START, LATER)}),
    "apply": lambda store, product: store.apply([a_redrive(product)]),
    "quarantine": lambda store, _: store.quarantine([PoisonLetter("a", None, "", START)]),
    "quarantined": lambda store, _: store.quarantined(ALL_POISON, 1),
    "count_quarantined": lambda store, _: store.count_quarantined(ALL_POISON),
    "quarantine_bytes": lambda store, _: store.quarantine_bytes(),
    "discard": lambda store, _: store.discard(["a"]),
    "republish": lambda store, _: store.republish(),
    "save_republish": lambda store, _: store.save_republish(RepublishState(), expected_revision=0),
    "control": lambda store, _: store.control(),
    "save_control": lambda store, _: store.save_control(Control(), expected_revision=0),
    "claim": lambda store, product: store.claim([a_claim(product)]),
    "record": lambda store, product: store.record([a_result(a_claim(product))]),
    "letters_sent": lambda store, product: store.letters_sent([product]),
    "failed": lambda store, _: store.failed(1),
    "drop_tombstones": lambda store, product: store.drop_tombstones([product]),
    "add_activity": lambda store, _: store.add_activity([Minute(START, 1)]),
    "activity": lambda store, _: store.activity([START]),
    "forget_activity": lambda store, _: store.forget_activity(START),
    "add_act": lambda store, _: store.add_act(Act("id", START, "jane", ActKind.PAUSE)),
    "acts": lambda store, _: store.acts(1),
    "put_back": lambda store, product: store.put_back([PutBack(product, 0)]),
    "restore": lambda store, _: store.restore(),
    "save_restore": lambda store, _: store.save_restore(RestoreState(), expected_revision=0),
    "ping": lambda store, _: store.ping(),
}


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_a_store_that_is_away_says_so(store_away: Store, method: str) -> None:
    with pytest.raises(StoreUnavailableError):
        EVERY_METHOD[method](store_away, a_product())


def test_requests_while_the_server_is_away_do_not_wait_for_one_another() -> None:
    uri = f"mongodb://{NOWHERE}/?directConnection=true"
    together = threading.Barrier(3)

    class Waiting(MongoStore):
        """Meets the others in the middle of looking for the indexes, which fails."""

        @property
        def _collection(self) -> MongoCollection[Document]:
            together.wait(10)
            raise ServerSelectionTimeoutError("nobody is there")

    def look(_: int) -> None:
        with pytest.raises(StoreUnavailableError):
            store.get("any")

    with MongoClient[Document](uri) as client, ThreadPoolExecutor(3) as pool:
        store = Waiting(lambda: client, "test")
        list(pool.map(look, range(3)))
