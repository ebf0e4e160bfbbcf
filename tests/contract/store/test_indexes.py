"""Which index serves each query of the store, and how many documents it reads.

Left out are the list of all products and the walk of an audit, which read the `_id` index;
SecantusDB has none for ranges.
The queries are those that the adapter sends. The server's `explain` says how it would run them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient

from chalicelib.adapters.mongo.acts import ACT_INDEXES
from chalicelib.adapters.mongo.audits import AUDIT_ID
from chalicelib.adapters.mongo.controls import CONTROL_ID
from chalicelib.adapters.mongo.documents import Document
from chalicelib.adapters.mongo.indexes import INDEXES
from chalicelib.adapters.mongo.store import MongoStore
from chalicelib.domain.acts import Act, ActKind
from chalicelib.domain.audit import AuditState
from chalicelib.domain.control import Control
from chalicelib.domain.delivery import Transition, park
from chalicelib.domain.messages import SyncMessage
from chalicelib.domain.product import Product
from chalicelib.domain.selection import Portion, Selection
from chalicelib.domain.sync_state import FAILED_STATUSES, Position, SyncState, SyncStatus
from chalicelib.usecases.ports import Creation, Order, ProductQuery
from tests.contract.conftest import new_store
from tests.contract.store.steps import LATER, LATEST, a_claim, a_result, insert
from tests.contract.store.test_mongodb import Commands
from tests.fakes import START, a_failed_state, a_product, fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from embedded.services import Endpoints
    from tests.contract.services import Databases

PRODUCT = "a" * 24
DELIVERED = 60
"""Products that no query of these is about."""


@dataclass(frozen=True)
class Query:
    """A query of the store, the index of each of its commands, and how many products it is about.

    MongoDB reads no more than the limit, SecantusDB the whole range.
    """

    ask: Callable[[MongoStore], object]
    indexes: tuple[str, ...]
    about: int


UNDELIVERED = 9
"""What SecantusDB reads for a condition on what the index does not have; MongoDB reads the range.
"""
BY_ERROR = Selection(error_kind="http-500", error_text="500", since=START, until=LATER)
FIRST = Position("", START)
"""Before all that have been behind since START."""


def waiting(status: SyncStatus, after: Position | None = None) -> ProductQuery:
    return ProductQuery(
        5, after, statuses=frozenset({status}), order=Order.BEHIND_SINCE, details=False
    )


def selected(status: SyncStatus, after: Position | None = None) -> ProductQuery:
    return replace(waiting(status, after), selection=BY_ERROR)


QUERIES = {
    # Every minute, and every second after an outage.
    "old events": Query(lambda store: store.unpublished(LATER, 100), ("outbox",), 2),
    "what is overdue": Query(lambda store: store.overdue(START, 100), ("overdue",), 3),
    "the counts, and the backlog of events": Query(
        lambda store: store.summary(LATER), ("undelivered", "outbox"), 9
    ),
    "what has a dead letter": Query(
        lambda store: store.failed(100), ("undelivered", "undelivered"), UNDELIVERED
    ),
    "… by its error: the page after a failed product": Query(
        lambda store: store.search(selected(SyncStatus.EXHAUSTED, FIRST), 1),
        ("undelivered",) * 3,
        UNDELIVERED,
    ),
    "how many those are": Query(
        lambda store: store.count(Portion(SyncStatus.REJECTED, BY_ERROR)),
        ("undelivered",),
        UNDELIVERED,
    ),
    "how many are retried": Query(
        lambda store: store.count(Portion(SyncStatus.PENDING)), ("undelivered",), 5
    ),
    "what waits, to bring it forward: the first page": Query(
        lambda store: store.find(waiting(SyncStatus.PENDING)), ("undelivered",), 5
    ),
    "… the page after a product": Query(
        lambda store: store.find(waiting(SyncStatus.PENDING, FIRST)),
        ("undelivered",),
        5,
    ),
    "what has failed, to redrive it: the first page": Query(
        lambda store: store.find(waiting(SyncStatus.EXHAUSTED)), ("undelivered",), 2
    ),
    "… the page after a failed product": Query(
        lambda store: store.find(waiting(SyncStatus.EXHAUSTED, FIRST)),
        ("undelivered", "undelivered"),
        2,
    ),
    # With each request of a consumer or an operator.
    "a list by two statuses": Query(
        lambda store: store.find(
            ProductQuery(5, statuses=FAILED_STATUSES, order=Order.BEHIND_SINCE)
        ),
        ("undelivered", "undelivered"),
        2,
    ),
    "a list by sku": Query(
        lambda store: store.find(ProductQuery(5, sku="sku-1")), ("sku_sparse",), 1
    ),
    "a list by the beginning of the name": Query(
        lambda store: store.find(ProductQuery(5, name="Rare", order=Order.NAME)), ("name",), 1
    ),
    "a list of what was changed": Query(
        lambda store: store.find(ProductQuery(5, updated_since=LATER, order=Order.UPDATED_AT)),
        ("updated",),
        1,
    ),
    "what operators did with a product": Query(
        lambda store: store.acts(5, product_id=PRODUCT), ("product",), 1
    ),
    # With each creation under an idempotency key, if it is repeated or a batch.
    "a creation": Query(lambda store: store.created_under("key"), ("creation_key",), 1),
    "who has the skus of refused items": Query(
        lambda store: store._holders(["sku-1", "sku-2", "none"]), ("sku_sparse",), 2
    ),
    "the creations of a batch": Query(
        lambda store: store.created_in_batch(["batch 0", "batch 1"]), ("creation_key",), 1
    ),
}


@pytest.fixture(scope="module")
def filled(servers: Endpoints, databases: Databases) -> Iterator[tuple[MongoStore, Commands]]:
    """A catalog most of which is delivered, and the commands that are sent to it."""
    commands, uri = Commands(), servers.mongodb
    with (
        databases.names.one() as name,
        MongoClient[Document](uri, event_listeners=[commands]) as client,
    ):
        store = new_store(client, name)
        _fill(store)
        yield store, commands


def _fill(store: MongoStore) -> None:
    done = SyncState(SyncStatus.DELIVERED)
    delivered = [
        a_product(outbox=(), sync=done, fields=fields(sku=f"sku-{n}")) for n in range(DELIVERED)
    ]
    overdue = SyncState(behind_since=START, overdue_at=START)
    insert(store, *delivered)
    insert(store, *[a_product(outbox=(), sync=overdue) for _ in range(3)])
    waiting = SyncState(behind_since=START, overdue_at=LATEST)
    insert(store, *[a_product(sync=waiting) for _ in range(2)])
    failed = [a_failed_state(status) for status in sorted(FAILED_STATUSES) * 2]
    insert(store, *[a_product(outbox=(), sync=sync) for sync in failed])
    keyed = replace(a_product(outbox=(), sync=done), sync_completed_at=START)
    assert store.insert([(keyed, Creation("key", "fingerprint", "{}"))]) == [None]
    rare = a_product(outbox=(), sync=done, fields=fields(name="Rare"), updated_at=LATEST)
    for number, product_id in enumerate((PRODUCT, "b" * 24, None)):
        store.add_act(Act(f"{number}", START, "jane", ActKind.REPLAY, product_id=product_id))
    assert store.insert([(rare, Creation("batch 0", "fingerprint", "{}", 2))]) == [None]


def explained(store: MongoStore, command: Document) -> dict[str, Any]:
    """How the server runs a command, with what it has read; an update as the find of its filter."""
    if "updates" in command:
        command = {"find": command["update"], "filter": command["updates"][0]["q"]}
    plain = {
        name: value
        for name, value in command.items()
        if name not in {"lsid", "$db", "$clusterTime", "readConcern", "writeConcern", "txnNumber"}
    }
    database = store._client[store._database]
    return dict(database.command("explain", plain, verbosity="executionStats"))


def stages(plan: object) -> Iterator[dict[str, Any]]:
    """Every stage of a plan, from the outermost."""
    if isinstance(plan, dict):
        if "stage" in plan:
            yield plan
        for inner in plan.values():
            yield from stages(inner)
    elif isinstance(plan, list):
        for inner in plan:
            yield from stages(inner)


@pytest.mark.embedded(
    "mongodb", "reads SecantusDB's form of `explain`, and no other has been tried"
)
@pytest.mark.parametrize("name", QUERIES)
def test_a_query_reads_by_its_index_no_more_than_what_it_is_about(
    filled: tuple[MongoStore, Commands], name: str
) -> None:
    (store, commands), query = filled, QUERIES[name]
    commands.sent.clear()
    query.ask(store)
    sent = [dict(each.command) for each in commands.sent if each.command_name in READS]

    answers = [explained(store, command) for command in sent]

    found = [list(stages(answer)) for answer in answers]
    used = [{stage["indexName"] for stage in each if "indexName" in stage} for each in found]
    assert used == [{index} for index in query.indexes]
    assert not [stage for each in found for stage in each if stage["stage"] == "COLLSCAN"]
    read = [answer["executionStats"]["totalDocsExamined"] for answer in answers]
    assert max(read) <= query.about


READS = {"find", "aggregate"}
BY_ID: dict[str, Callable[[MongoStore, Product], object]] = {
    # With each message, each run of reconcile, each second of each process.
    "the state of the sync as a whole": lambda store, _: store.control(),
    "how far audits are": lambda store, _: store.audit(),
    "one product": lambda store, product: store.get(product.id),
    "the products of a batch": lambda store, product: store.get_many([product.id]),
    "a change, and the look after a lost race": lambda store, product: store.apply(
        [parked(product)]
    ),
    "a postponement": lambda store, product: store.postpone({product.id: (START, START)}),
    "an event that is published": lambda store, product: store.remove_events([(product.id, "")]),
    "a letter that is sent": lambda store, product: store.letters_sent([product]),
    "a claim": lambda store, product: store.claim([a_claim(product)]),
    "a result": lambda store, product: store.record([a_result(a_claim(product))]),
    "a deletion that is dropped": lambda store, product: store.drop_tombstones([product]),
    "a new state of the sync": lambda store, _: store.save_control(
        Control(revision=8), expected_revision=7
    ),
    "how far audits are by now": lambda store, _: store.save_audit(
        AuditState(revision=8), expected_revision=7
    ),
}


def parked(product: Product) -> Transition:
    return park(product, SyncMessage(product.id, *product.pair), 0, LATER, LATEST)


def conditions(command: dict[str, Any]) -> list[Document]:
    """What a command looks for."""
    statements = command.get("updates") or command.get("deletes")
    return [each["q"] for each in statements] if statements else [command["filter"]]


@pytest.mark.parametrize("what", BY_ID)
def test_all_else_is_looked_up_by_id(filled: tuple[MongoStore, Commands], what: str) -> None:
    store, commands = filled
    product = a_product(outbox=())
    commands.sent.clear()

    BY_ID[what](store, product)

    found = [each for event in commands.sent for each in conditions(dict(event.command))]
    assert found
    assert {id_of(condition) for condition in found} <= {product.id, CONTROL_ID, AUDIT_ID}


def test_the_walk_of_an_audit_is_a_range_of_ids(filled: tuple[MongoStore, Commands]) -> None:
    store, commands = filled
    commands.sent.clear()

    store.walk("0", 5)

    (sent,) = [dict(event.command) for event in commands.sent if event.command_name == "find"]
    assert (sent["filter"], sent["sort"], sent["limit"]) == ({"_id": {"$gt": "0"}}, {"_id": 1}, 5)


def id_of(condition: Document) -> object:
    """The one id that a condition names."""
    wanted = condition["_id"]
    (one,) = wanted["$in"] if isinstance(wanted, dict) else [wanted]
    return one


def test_each_index_serves_a_query() -> None:
    names = {index.document["name"] for index in (*INDEXES, *ACT_INDEXES)}

    assert names == {index for query in QUERIES.values() for index in query.indexes}
