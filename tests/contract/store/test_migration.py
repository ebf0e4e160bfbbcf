"""The migration: it makes what is missing, drops what we once made, and the store waits for it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import IndexModel, MongoClient
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from chalicelib.adapters.mongo import migration
from chalicelib.adapters.mongo.acts import ACT_INDEXES
from chalicelib.adapters.mongo.documents import Document, to_document
from chalicelib.adapters.mongo.indexes import (
    INDEXES,
    PRESENT,
    RETIRED,
    check_indexes,
    definition,
    list_indexes,
    missing,
)
from chalicelib.adapters.mongo.migration import migrate
from chalicelib.adapters.mongo.store import MongoStore, acts_of, products_of
from chalicelib.bootstrap import Container
from chalicelib.domain.errors import (
    DuplicateIdempotencyKeyError,
    DuplicateSkuError,
    StoreNotMigratedError,
    StoreUnavailableError,
)
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import FAILED_STATUSES, Attempt, SyncState, SyncStatus
from chalicelib.settings import read_settings
from chalicelib.usecases.ports import Creation
from embedded.services import ROOT, local_environment, role_settings
from tests.contract.conftest import NOWHERE
from tests.contract.store.steps import LATER, ids, inserted
from tests.contract.store.test_mongodb import Commands
from tests.fakes import START, a_product, fields
from tests.support import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from embedded.services import Endpoints
    from tests.contract.services import Databases

NAMES = {index.document["name"] for index in INDEXES}
DONE = SyncState(SyncStatus.DELIVERED)


class Database:
    """A database whose products have no index, and what is sent to it."""

    def __init__(self, client: MongoClient[Document], name: str, commands: Commands) -> None:
        self.client, self.name, self.commands = client, name, commands
        self.products: Collection[Document] = products_of(client, name)

    def migrate(self) -> list[str]:
        return list(migrate(lambda: self.client, self.name, LATER))

    def store(self) -> MongoStore:
        return MongoStore(lambda: self.client, self.name)

    def names(self) -> set[str]:
        return {index.name for index in list_indexes(self.products)} - {"_id_"}

    def has_what_is_needed(self) -> bool:
        found = [index.definition for index in list_indexes(self.products)]
        return all(definition(index.document) in found for index in INDEXES)


@pytest.fixture
def database(servers: Endpoints, databases: Databases) -> Iterator[Database]:
    commands, uri = Commands(), servers.mongodb
    with (
        databases.names.one() as name,
        MongoClient[Document](uri, event_listeners=[commands]) as client,
    ):
        acts_of(client, name).create_indexes(ACT_INDEXES)
        commands.sent.clear()
        yield Database(client, name, commands)


# ---- the migration ----


def test_an_empty_database_gets_every_index_by_one_command(database: Database) -> None:
    changes = database.migrate()

    assert database.names() == NAMES
    assert len(changes) == len(NAMES)
    assert len(database.commands.named("createIndexes")) == 1


def test_the_acts_get_their_index(database: Database) -> None:
    acts = acts_of(database.client, database.name)
    acts.drop()

    assert [change for change in database.migrate() if " product " in change]
    assert {index.name for index in list_indexes(acts)} == {"_id_", "product"}
    assert database.migrate() == []


def test_a_second_run_changes_nothing(database: Database) -> None:
    database.migrate()
    database.commands.sent.clear()

    assert database.migrate() == []
    assert database.commands.named("createIndexes", "dropIndexes", "update") == []


def test_what_earlier_releases_made_is_dropped_and_nothing_else(database: Database) -> None:
    database.products.create_indexes(RETIRED)
    database.products.create_index("name", name="somebody's")

    database.migrate()

    assert database.names() == NAMES | {"somebody's"}


def test_the_unique_indexes_of_the_release_before_stay_beside_the_new_ones(
    database: Database,
) -> None:
    before = {"sku": "sku", "idempotency_key": "creation.key"}
    for name, field in before.items():
        present = {field: {"$exists": True}}
        database.products.create_index(
            field, name=name, unique=True, partialFilterExpression=present
        )

    database.migrate()

    assert database.names() == NAMES | before.keys()
    product, creation = a_product(fields=fields(sku="A")), Creation("key", "f", "{}")
    store = database.store()
    assert store.insert([(product, creation)]) == [None]
    refused = store.insert([(a_product(fields=fields(sku="A")), None), (a_product(), creation)])
    assert [type(failure) for failure in refused] == [
        DuplicateSkuError,
        DuplicateIdempotencyKeyError,
    ]


def test_a_replacement_is_dropped_with_its_retired_index(database: Database) -> None:
    retired = RETIRED[1].document
    database.products.create_index(list(retired["key"].items()), name="status_replacement")

    database.migrate()

    assert database.names() == NAMES


def test_a_strangers_index_with_the_name_of_a_retired_one_stays(database: Database) -> None:
    database.products.create_index("name", name="status")

    database.migrate()

    assert database.names() == NAMES | {"status"}


def test_an_index_that_somebody_made_under_another_name_is_used(database: Database) -> None:
    sku = INDEXES[0].document
    database.products.create_index(
        list(sku["key"].items()),
        name="sku_1",
        unique=True,
        sparse=sku["sparse"],
    )

    database.migrate()

    assert database.names() == NAMES - {"sku_sparse"} | {"sku_1"}
    inserted(database.store())


def test_a_changed_index_is_dropped_when_the_right_one_is_there(database: Database) -> None:
    database.products.create_index("sku", name="sku_sparse", sparse=True)
    database.commands.sent.clear()

    database.migrate()

    assert database.has_what_is_needed()
    assert "sku_sparse" not in database.names(), "the wrong one"
    changing = [
        next(iter(command)) for command in database.commands.named("createIndexes", "dropIndexes")
    ]
    assert changing == ["createIndexes", "dropIndexes"]


def test_an_interrupted_replacement_is_completed(database: Database) -> None:
    database.products.create_index("sku", name="sku_sparse", sparse=True)
    changes = migrate(lambda: database.client, database.name, LATER)
    assert next(changes).startswith("made the index")

    # It was killed before it dropped the wrong one.
    del changes

    assert database.migrate() == ["dropped the index sku_sparse"]
    assert database.has_what_is_needed()


@pytest.mark.parametrize("code", [85, 86])
def test_an_index_that_may_not_be_there_twice_is_dropped_first(
    database: Database, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    # This one would remove products.
    database.products.create_index(
        "sync.overdueAt",
        name="overdue",
        partialFilterExpression={"sync.overdueAt": PRESENT},
        expireAfterSeconds=3600,
    )
    create = Collection.create_indexes

    def as_mongodb(products: Collection[Document], indexes: list[IndexModel]) -> list[str]:
        # MongoDB allows no other index with the same key and filter; the embedded server does.
        if "overdue" in database.names():
            raise OperationFailure("IndexOptionsConflict", code)
        return create(products, indexes)

    monkeypatch.setattr(Collection, "create_indexes", as_mongodb)

    assert "dropped the index overdue" in database.migrate()
    assert database.names() == NAMES


def test_two_products_with_one_sku_are_named_and_no_index_is_dropped(database: Database) -> None:
    database.products.create_indexes(RETIRED)
    twice = [a_product(fields=fields(sku="taken")) for _ in range(2)]
    database.products.insert_many([to_document(product, None) for product in twice])

    with pytest.raises(StoreUnavailableError, match="taken"):
        database.migrate()

    assert {index.document["name"] for index in RETIRED} <= database.names()


def test_two_at_once_are_safe(database: Database) -> None:
    database.products.create_indexes(RETIRED)
    database.products.create_index("sku", name="sku_sparse", sparse=True)
    confirmed_earlier(database, 30)

    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(database.migrate) for _ in range(4)]
        for run in runs:
            run.result(60)

    assert database.has_what_is_needed()
    assert len(database.names()) == len(NAMES)
    assert len(database.store().overdue(LATER, 100)) == 30


# ---- deletions that earlier releases have confirmed ----


def confirmed_earlier(database: Database, count: int, **changes: Any) -> list[str]:  # noqa: ANN401
    """Write confirmed deletions as earlier releases left them; some at the same moment."""
    made = [
        a_product(
            outbox=(),
            **{
                "sync": DONE,
                "fields": fields(sku=None),
                "deleted_at": START + timedelta(seconds=n // 3),
                **changes,
            },
        )
        for n in range(count)
    ]
    database.products.insert_many([to_document(product, None) for product in made])
    return ids(made)


@pytest.mark.parametrize("page", [2, 3, 1000])
def test_deletions_confirmed_earlier_become_overdue(
    database: Database, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(migration, "PAGE", page)
    database.products.create_indexes(RETIRED)
    made = confirmed_earlier(database, 10)

    changes = database.migrate()

    assert "made 10 confirmed deletions overdue, which reconcile drops" in changes
    found = database.store().overdue(LATER, 100)
    assert sorted(ids(found)) == sorted(made)
    assert database.store().drop_tombstones(found) == 10


def test_an_interrupted_run_is_continued(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration, "PAGE", 2)
    database.products.create_indexes(RETIRED)
    confirmed_earlier(database, 5)
    pages = migration._pages

    def killed(products: Collection[Document]) -> Iterator[list[str]]:
        yield next(pages(products))
        raise InterruptedError

    monkeypatch.setattr(migration, "_pages", killed)
    with pytest.raises(InterruptedError):
        database.migrate()
    monkeypatch.setattr(migration, "_pages", pages)

    assert "made 3 confirmed deletions overdue, which reconcile drops" in database.migrate()


def test_a_run_ends_its_pages_when_another_has_done_them_all(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration, "PAGE", 2)
    database.products.create_indexes(RETIRED)
    made = confirmed_earlier(database, 5)
    pages = migration._pages(database.products)
    seen = next(pages)

    database.migrate()

    assert len(seen) == 2
    assert list(pages) == []
    assert len(database.store().overdue(LATER, 100)) == len(made)


@pytest.mark.parametrize(
    "changes",
    [
        {"deleted_at": None},
        {"sync": SyncState(behind_since=START)},
        {"sync": SyncState(SyncStatus.REJECTED, behind_since=START)},
    ],
)
def test_what_is_no_confirmed_deletion_is_not_made_overdue(
    database: Database, changes: dict[str, object]
) -> None:
    database.products.create_indexes(RETIRED)
    confirmed_earlier(database, 1, **changes)

    database.migrate()

    assert database.store().overdue(LATER, 1) == []


def test_without_the_index_of_earlier_releases_no_deletion_is_read(database: Database) -> None:
    confirmed_earlier(database, 1)

    database.migrate()

    assert database.commands.named("update") == []
    read = {find["filter"]["sync.status"] for find in database.commands.named("find")}
    assert read == FAILED_STATUSES


# ---- failures of which earlier releases have not noted the time ----


def failed_earlier(database: Database, count: int = 1, **changes: Any) -> list[Product]:  # noqa: ANN401
    """Write failed products as earlier releases left them; some are behind since the same time."""
    made = []
    for n in range(count):
        status = SyncStatus.EXHAUSTED if n % 5 else SyncStatus.REJECTED
        behind = START + timedelta(seconds=n // 3)
        attempts = tuple(Attempt(behind + timedelta(hours=h), 0, 500, 0.1) for h in (1, 2))
        state = SyncState(status, behind_since=behind, history=attempts)
        made.append(a_product(outbox=(), sync=replace(state, **changes)))
    documents = [to_document(product, None) for product in made]
    for document in documents[::2]:
        if document["sync"]["failedAt"] is None:
            del document["sync"]["failedAt"]
    database.products.insert_many(documents)
    return made


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_a_failure_without_a_time_gets_that_of_the_last_attempt(
    database: Database, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(migration, "PAGE", page)
    made = failed_earlier(database, 11)

    changes = database.migrate()

    assert "noted when 11 products failed" in changes
    store = database.store()
    for product in made:
        found = store.get(product.id)
        assert found is not None
        assert found.sync.failed_at == product.sync.history[-1].time
        assert found.revision == product.revision
    assert database.migrate() == []


def test_a_failure_that_no_attempt_tells_of_gets_the_time_of_the_last_change(
    database: Database,
) -> None:
    (product,) = failed_earlier(database, history=())

    database.migrate()

    found = database.store().get(product.id)
    assert found is not None
    assert found.sync.failed_at == product.updated_at


@pytest.mark.parametrize(
    "changes", [{"failed_at": LATER}, {"status": SyncStatus.RETRYING}], ids=["noted", "retried"]
)
def test_a_time_that_is_noted_stays_and_what_has_not_failed_has_none(
    database: Database, changes: dict[str, Any]
) -> None:
    (product,) = failed_earlier(database, **changes)

    database.migrate()

    found = database.store().get(product.id)
    assert found is not None
    assert found.sync.failed_at == changes.get("failed_at")


@pytest.mark.parametrize(
    "damage",
    [
        {"$unset": {"updatedAt": "", "sync.history": ""}},
        {"$set": {"updatedAt": 5, "sync.history": [{"time": "soon"}]}},
    ],
)
def test_a_failed_product_that_cannot_be_read_does_not_hold_up_the_migration(
    database: Database, damage: dict[str, Any]
) -> None:
    spoiled, other = failed_earlier(database, 2)
    database.products.update_one({"_id": spoiled.id}, damage)

    assert "noted when 1 products failed" in database.migrate()

    found = database.store().get(other.id)
    assert found is not None
    assert found.sync.failed_at is not None


def test_a_product_that_is_replayed_during_the_migration_gets_no_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    (product,) = failed_earlier(database)
    pages = migration._failed

    def meanwhile(products: Collection[Document]) -> Iterator[list[Document]]:
        for page in pages(products):
            retried = {"$set": {"sync.status": SyncStatus.PENDING.value}}
            products.update_one({"_id": product.id}, retried)
            yield page

    monkeypatch.setattr(migration, "_failed", meanwhile)
    database.migrate()

    found = database.store().get(product.id)
    assert found is not None
    assert found.sync.failed_at is None


# ---- the store ----


@pytest.mark.parametrize("index", INDEXES, ids=lambda index: index.document["name"])
def test_a_store_without_an_index_says_what_to_do(database: Database, index: IndexModel) -> None:
    database.migrate()
    name = index.document["name"]
    database.products.drop_index(name)
    store = database.store()

    with pytest.raises(StoreNotMigratedError, match=rf"{name} .* python -m functions\.migrate"):
        store.insert([(a_product(), None)])

    assert database.products.count_documents({}) == 0


def test_a_store_with_an_index_that_is_not_unique_writes_nothing(database: Database) -> None:
    database.migrate()
    database.products.drop_index("sku_sparse")
    database.products.create_index("sku", name="sku_sparse", sparse=True)

    with pytest.raises(StoreNotMigratedError, match="sku"):
        database.store().insert([(a_product(), None)])


def test_a_store_works_as_soon_as_the_migration_has_run(database: Database) -> None:
    store = database.store()
    with pytest.raises(StoreNotMigratedError):
        store.ping()

    database.migrate()

    store.ping()
    inserted(store)


def test_a_store_works_beside_indexes_of_another_release(database: Database) -> None:
    database.migrate()
    database.products.create_index("name", name="newer")

    inserted(database.store())


def test_a_process_looks_for_the_indexes_once_and_makes_none(database: Database) -> None:
    database.migrate()
    database.commands.sent.clear()
    store = database.store()

    for _ in range(3):
        inserted(store)
        store.ping()

    assert len(database.commands.named("listIndexes")) == 1
    assert database.commands.named("createIndexes") == []


# ---- a process ----


def settings_of(servers: Endpoints, database: Database) -> dict[str, str]:
    environ = {"MONGODB_DATABASE": database.name}
    # No NATS: the stream PRODUCTS of somebody's server is not ours to make.
    away = replace(servers, nats=f"nats://{NOWHERE}")
    return role_settings(environ, away, "a secret of at least thirty-two characters")


def test_a_process_is_ready_when_the_command_has_run(
    servers: Endpoints, database: Database
) -> None:
    settings = settings_of(servers, database)
    with contextlib.closing(Container(read_settings(settings))) as parts:
        assert parts.readiness.states()[0]["mongodb"] == "not migrated"

        environment = {**local_environment(os.environ), **settings}
        command = [sys.executable, "-m", "functions.migrate"]
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True
        )

        eventually(lambda: parts.readiness.states()[0]["mongodb"] == "ok")
    assert done.stdout.count("made the index") == len(NAMES)
    assert done.stderr.startswith("warning: the stream was not looked at: NATS: ")


# ---- an index that is being built ----


class Building:
    """A collection whose server answers as MongoDB does while it builds `overdue`."""

    name = "products"
    codec_options = None

    def __init__(self) -> None:
        self.database = self

    def command(self, command: Document, **_: object) -> Document:
        assert command["includeBuildUUIDs"], "without it, a build looks like an index"
        return {"cursor": {"firstBatch": [self._entry(index.document) for index in INDEXES]}}

    def _entry(self, index: Document) -> Document:
        listed = {"v": 2, **index}
        if index["name"] != "overdue":
            return listed
        return {"spec": {**listed, "name": "made_by_hand"}, "buildUUID": uuid.uuid4()}


def test_a_store_waits_for_the_end_of_a_build() -> None:
    with pytest.raises(StoreNotMigratedError, match="no index overdue yet"):
        check_indexes(Building())  # type: ignore[arg-type]  # as far as it is used


def test_the_migration_waits_for_a_build_that_somebody_else_has_begun() -> None:
    # The same index under the same name: MongoDB answers when it is built.
    found = list_indexes(Building())  # type: ignore[arg-type]  # as far as it is used

    (waited_for,) = [migration._with_free_name(index, found) for index in missing(found)]

    assert waited_for.document["name"] == "made_by_hand"
    (overdue,) = [index for index in INDEXES if index.document["name"] == "overdue"]
    assert definition(waited_for.document) == definition(overdue.document)
