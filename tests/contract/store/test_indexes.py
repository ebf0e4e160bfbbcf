"""Which index serves each query of the store, and how many documents it reads.

Left out is the list of all products, which reads the `_id` index; SecantusDB has none for ranges.
The queries are those that the adapter sends. The server's `explain` says how it would run them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient

from chalicelib.adapters.mongo.documents import Document
from chalicelib.adapters.mongo.indexes import INDEXES
from chalicelib.adapters.mongo.store import MongoStore
from chalicelib.domain.sync_state import FAILED_STATUSES, SyncState, SyncStatus
from chalicelib.usecases.ports import Creation, ProductQuery
from tests.contract.conftest import new_store
from tests.contract.store.steps import LATER, LATEST, insert
from tests.contract.store.test_mongodb import Commands
from tests.fakes import START, a_failed_state, a_product, fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from embedded.services import Endpoints
    from tests.contract.services import Databases

DELIVERED = 60
"""Products that no query of these is about."""


@dataclass(frozen=True)
class Query:
    """A query of the store, the index that must serve it, and how many products it is about."""

    ask: Callable[[MongoStore], object]
    index: str
    about: int


QUERIES = {
    "old events": Query(lambda store: store.unpublished(LATER, 100), "outbox", 2),
    "what is overdue": Query(lambda store: store.overdue(START, 100), "overdue", 3),
    "what is pending": Query(
        lambda store: store.find(ProductQuery(5, status=SyncStatus.PENDING)), "undelivered", 5
    ),
    "what has failed": Query(lambda store: store.failed(100), "undelivered", 2),
    "the counts": Query(lambda store: store.summary(START), "undelivered", 9),
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
    sent = next(each for each in commands.sent if each.command_name in READS)

    answer = explained(store, dict(sent.command))

    found = list(stages(answer))
    assert {stage["indexName"] for stage in found if "indexName" in stage} == {query.index}
    assert not [stage for stage in found if stage["stage"] == "COLLSCAN"]
    assert answer["executionStats"]["totalDocsExamined"] <= query.about


READS = {"find", "aggregate", "update"}
EQUALITIES = {
    "sku": lambda store: store.find(ProductQuery(5, sku="sku-1")),
    "creation.key": lambda store: store.created_under("key"),
}
"""What is looked up in a unique index. SecantusDB does not use it for that, unlike MongoDB: it does
not see that a value exists where it equals something."""


@pytest.mark.parametrize("field", EQUALITIES)
def test_what_is_unique_is_looked_up_by_one_value(
    filled: tuple[MongoStore, Commands], field: str
) -> None:
    store, commands = filled
    commands.sent.clear()

    EQUALITIES[field](store)

    (find,) = commands.named("find")
    assert isinstance(find["filter"][field], str)


def test_each_index_serves_a_query() -> None:
    unique = {next(iter(index.document["key"])) for index in INDEXES if "unique" in index.document}
    others = {index.document["name"] for index in INDEXES if "unique" not in index.document}

    assert unique == EQUALITIES.keys()
    assert others == {query.index for query in QUERIES.values()}
