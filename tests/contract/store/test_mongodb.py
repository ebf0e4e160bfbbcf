"""The adapter alone: what it asks of MongoDB."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

from chalicelib.adapters.mongo.documents import Document, new_product_id
from chalicelib.adapters.mongo.store import MongoStore
from chalicelib.domain.acts import Act, ActKind
from chalicelib.domain.breaker import BreakerPolicy
from chalicelib.domain.errors import DuplicateSkuError
from chalicelib.domain.messages import ReceivedMessage, SyncMessage
from chalicelib.domain.product import Product
from chalicelib.domain.retry import Schedule
from chalicelib.domain.sync_state import SyncState, SyncStatus
from chalicelib.domain.throughput import Minute
from chalicelib.usecases.activity import Activity
from chalicelib.usecases.admission import Admissions
from chalicelib.usecases.catalog import Catalog, Origin
from chalicelib.usecases.controls import Controls
from chalicelib.usecases.outbox import Outbox
from chalicelib.usecases.ports import Creation, Order, ProductQuery
from chalicelib.usecases.sync import Sync, SyncPolicy
from tests.contract.conftest import new_store
from tests.contract.store.steps import (
    LATER,
    LATEST,
    a_claim,
    a_result,
    change,
    claimed,
    events,
    inserted,
    recorded,
    redriven,
    replay,
    stored,
)
from tests.fakes import (
    BODY,
    GRACE,
    START,
    FakeClock,
    FakeQueue,
    FakeStream,
    FakeSupplyChain,
    a_product,
    fields,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from embedded.services import Endpoints
    from tests.contract.services import Databases


class Commands(CommandListener):
    """Keeps what is sent to the server."""

    def __init__(self) -> None:
        self.sent: list[CommandStartedEvent] = []

    def started(self, event: CommandStartedEvent) -> None:
        self.sent.append(event)

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...

    def named(self, *names: str) -> list[dict[str, Any]]:
        """The commands of these names."""
        return [dict(event.command) for event in self.sent if event.command_name in names]


@pytest.fixture
def commands() -> Commands:
    return Commands()


@pytest.fixture
def watched(servers: Endpoints, databases: Databases, commands: Commands) -> Iterator[MongoStore]:
    """The adapter, each of whose commands is kept."""
    uri = servers.mongodb
    with (
        databases.names.one() as name,
        MongoClient[Document](uri, event_listeners=[commands]) as client,
    ):
        yield new_store(client, name)


def test_each_write_waits_for_the_disks_of_most_nodes(
    watched: MongoStore, commands: Commands
) -> None:
    every_write(watched)

    writes = commands.named("insert", "update", "delete")
    assert {name for write in writes for name in write} >= {"insert", "update", "delete"}
    for write in writes:
        assert dict(write["writeConcern"]) == {"w": "majority", "j": True}


def test_many_products_are_inserted_by_short_commands(
    watched: MongoStore, commands: Commands
) -> None:
    # Others wait for a command of the embedded server.
    watched.insert([(a_product(), None) for _ in range(60)])

    assert [len(write["documents"]) for write in commands.named("insert")] == [25, 25, 10]


def test_what_is_postponed_to_one_time_is_written_by_few_short_updates(
    watched: MongoStore, commands: Commands
) -> None:
    products = [inserted(watched) for _ in range(60)]

    watched.postpone({product.id: (START + GRACE, LATEST) for product in products})

    sent = [update for write in commands.named("update") for update in write["updates"]]
    assert [len(update["q"]["_id"]["$in"]) for update in sent] == [25, 25, 10]


def test_many_deletions_are_dropped_by_short_commands(
    watched: MongoStore, commands: Commands
) -> None:
    done = SyncState(SyncStatus.DELIVERED, overdue_at=START)
    gone = [inserted(watched, version=1, deleted_at=START, sync=done, outbox=()) for _ in range(60)]

    assert watched.drop_tombstones(gone) == 60

    assert [len(write["deletes"]) for write in commands.named("delete")] == [25, 25, 10]


def test_a_product_of_a_release_without_plans_can_be_read_and_delivered(
    watched: MongoStore,
) -> None:
    product = inserted(watched)
    waiting = recorded(watched, product, 500).product
    update = {"$unset": {"sync.plannedAt": ""}}
    assert watched._products.update_one({"_id": product.id}, update).modified_count == 1

    assert stored(watched, product).sync.planned_at is None
    assert stored(watched, product).sync.next_attempt_at == waiting.sync.next_attempt_at
    assert recorded(watched, product).product.sync.status is SyncStatus.DELIVERED


@pytest.mark.parametrize("size", [0, 3])
def test_the_release_before_can_read_a_creation(watched: MongoStore, size: int) -> None:
    watched.insert([(a_product(), Creation("key", "fingerprint", "{}", size))])

    document = watched._products.find_one({"creation.key": "key"})

    # It knows these, and fails at others.
    assert document is not None
    assert document["creation"] == {"key": "key", "fingerprint": "fingerprint", "answer": "{}"}


def test_a_creation_of_the_release_before_can_be_read(watched: MongoStore) -> None:
    watched.insert([(a_product(), Creation("key", "fingerprint", "{}", 3))])
    watched._products.update_one({"creation.key": "key"}, {"$unset": {"batchSize": ""}})

    unknown = Creation("key", "fingerprint", "{}", batch_size=None)
    assert watched.created_under("key") == unknown
    assert watched.created_in_batch(["key"]) == [unknown]


def test_fields_of_a_later_release_in_a_creation_are_ignored(watched: MongoStore) -> None:
    creation = Creation("key", "fingerprint", "{}", 3)
    watched.insert([(a_product(), creation)])
    watched._products.update_one({"creation.key": "key"}, {"$set": {"creation.later": 1}})

    assert watched.created_under("key") == creation


def test_a_product_of_a_release_without_bulk_can_be_read(watched: MongoStore) -> None:
    product = inserted(watched)
    removed = {"$unset": {"sync.bulk": "", "outbox.0.bulk": ""}}
    watched._products.update_one({"_id": product.id}, removed)

    assert not stored(watched, product).sync.bulk
    assert [event.bulk for event in events(watched, product)] == [False]


def every_write(store: MongoStore) -> None:
    """Make each write of the port, and each of the two that a batch may need."""
    product = inserted(store)
    change(store, product)
    replay(store, product)
    claim = claimed(store, product)
    assert store.claim([a_claim(product, "another")]) == set()
    change(store, stored(store, product))
    assert store.record([a_result(claim)]) == set()
    failed = recorded(store, product, 422).product
    assert failed.sync.overdue_at is not None
    store.postpone({failed.id: (failed.sync.overdue_at, LATEST)})
    store.letters_sent([failed])
    assert redriven(store, stored(store, product))
    store.remove_events([(product.id, event.id) for event in events(store, product)])
    store.drop_tombstones([stored(store, product)])


def test_each_update_filters_by_two_fields_at_most(watched: MongoStore, commands: Commands) -> None:
    every_write(watched)

    updates = [each for command in commands.named("update") for each in command["updates"]]
    filters = [set(update["q"]) for update in updates]
    # By the version, by the revision, by the token of a claim, by a lease, and so on.
    assert {frozenset(names - {"_id"}) for names in filters} == {
        frozenset(),
        frozenset({"version"}),
        frozenset({"revision"}),
        frozenset({"sync.claim"}),
        frozenset({"sync.lease.owner"}),
        frozenset({"sync.overdueAt"}),
    }


def test_what_no_failover_may_take_back_is_read_from_the_majority(
    watched: MongoStore, commands: Commands
) -> None:
    product = inserted(watched)
    commands.sent.clear()

    watched.get(product.id, majority=True)
    watched.unpublished(LATEST, 10)
    watched.control()
    watched.get(product.id)

    concerns = [find.get("readConcern") for find in commands.named("find")]
    assert concerns == [{"level": "majority"}] * 3 + [None]


def a_catalog(store: MongoStore) -> Catalog:
    clock = FakeClock(LATER)
    outbox = Outbox(store, FakeStream(clock))
    return Catalog(store, outbox, clock=clock, grace=GRACE, new_id=new_product_id)


def a_worker(store: MongoStore, clock: FakeClock | None = None) -> Sync:
    clock = clock or FakeClock(LATER)
    return Sync(
        store,
        FakeQueue(clock),
        Outbox(store, FakeStream(clock)),
        FakeSupplyChain(clock),
        SyncPolicy(Schedule(), timedelta(seconds=70), GRACE, concurrency=10),
        Admissions(Controls(store), BreakerPolicy(), clock=clock),
        Activity(store, clock=clock),
        clock=clock,
    )


def the_message_of(product: Product) -> ReceivedMessage:
    """What the bridge makes of a product's event."""
    body = SyncMessage(product.id, *product.pair, event_id=product.outbox[0].id).to_json()
    return ReceivedMessage(f"message-{product.id}", "receipt", body, 1, LATER, LATER)


def test_a_batch_of_ordinary_deliveries_costs_one_find_and_two_bulk_writes(
    watched: MongoStore, commands: Commands
) -> None:
    products = [inserted(watched) for _ in range(3)]
    messages = [the_message_of(product) for product in products]
    worker = a_worker(watched)
    worker.handle([the_message_of(inserted(watched))])
    commands.sent.clear()

    assert worker.handle(messages) == []

    assert [event.command_name for event in commands.sent] == ["find", "update", "update"]
    for product in products:
        assert stored(watched, product).sync.status is SyncStatus.DELIVERED
        assert events(watched, product) == ()


def test_the_state_of_the_sync_is_read_once_a_second_and_not_for_each_batch(
    watched: MongoStore, commands: Commands
) -> None:
    clock = FakeClock(LATER)
    worker = a_worker(watched, clock)
    read = []
    for seconds in (0, 0.5, 0.5, 0.5):
        clock.advance(seconds)
        message = the_message_of(inserted(watched))
        commands.sent.clear()
        worker.handle([message])
        read.append([find["find"] for find in commands.named("find")])

    batch, first = ["products"], ["products", "control"]
    assert read == [first, batch, first, batch]


def test_a_product_costs_three_writes_until_it_is_delivered(
    watched: MongoStore, commands: Commands
) -> None:
    catalog = a_catalog(watched)
    commands.sent.clear()

    made = catalog.create(BODY, Origin())
    (product,) = watched.unpublished(LATEST, 1)
    assert a_worker(watched).handle([the_message_of(product)]) == []

    writes = commands.named("insert", "update", "delete")
    ours = [each for each in writes if "activity" not in each.values()]
    assert [len(each.get("documents") or each["updates"]) for each in ours] == [1, 1, 1]
    assert stored(watched, product).sync.status is SyncStatus.DELIVERED
    assert made["id"] == product.id


def test_counting_attempts_costs_a_process_one_update_in_five_seconds(
    watched: MongoStore, commands: Commands
) -> None:
    clock = FakeClock(LATER)
    worker = a_worker(watched, clock)
    written = []
    for seconds in (0, 2.5, 2.5, 2.5):
        clock.advance(seconds)
        message = the_message_of(inserted(watched))
        commands.sent.clear()
        worker.handle([message])
        written.append([each["update"] for each in commands.named("update")])

    batch, counted = ["products", "products"], ["products", "products", "activity"]
    assert written == [counted, batch, counted, batch]


def test_counts_are_not_waited_for_until_most_nodes_have_them(
    watched: MongoStore, commands: Commands
) -> None:
    watched.add_activity([Minute(START, 1)])

    (write,) = commands.named("update")
    assert dict(write.get("writeConcern", {"w": 1})) == {"w": 1}


def test_an_act_waits_for_the_disks_of_most_nodes(watched: MongoStore, commands: Commands) -> None:
    watched.add_act(Act("id", START, "jane", ActKind.PAUSE))

    (write,) = commands.named("insert")
    assert dict(write["writeConcern"]) == {"w": "majority", "j": True}


def test_a_list_is_one_find(watched: MongoStore, commands: Commands) -> None:
    for _ in range(3):
        inserted(watched)
    commands.sent.clear()

    assert len(watched.find(ProductQuery(2))) == 2

    assert [event.command_name for event in commands.sent] == ["find"]


@pytest.mark.parametrize("before", ["the first status", "the second status"])
def test_a_product_that_goes_on_between_two_finds_is_on_the_page_once(
    watched: MongoStore, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    product = inserted(watched, sync=SyncState(behind_since=START, overdue_at=LATEST))
    retrying = recorded(watched, product, 500).product
    finds, find = count(), watched._find_in_order

    def find_meanwhile(condition: Document, query: ProductQuery) -> list[Product]:
        if next(finds) == ["the first status", "the second status"].index(before):
            recorded(watched, retrying, 422)
        return find(condition, query)

    monkeypatch.setattr(watched, "_find_in_order", find_meanwhile)
    statuses = frozenset({SyncStatus.RETRYING, SyncStatus.REJECTED})
    found = watched.find(ProductQuery(5, statuses=statuses, order=Order.BEHIND_SINCE))

    assert [(item.id, item.sync.status) for item in found] == [(product.id, SyncStatus.REJECTED)]


def test_who_has_the_skus_of_a_batch_is_one_find(watched: MongoStore, commands: Commands) -> None:
    for n in range(3):
        inserted(watched, fields=fields(sku=f"{n}"))
    commands.sent.clear()

    watched.insert([(a_product(fields=fields(sku=f"{n}")), None) for n in range(5)])

    assert [event.command_name for event in commands.sent] == ["insert", "find"]


class Late(MongoStore):
    """Something happens between a write that is refused and the look for who has the sku."""

    meanwhile: Callable[[], object]

    def _holders(self, skus: Sequence[str]) -> dict[str | None, str]:
        self.meanwhile()
        return super()._holders(skus)


@pytest.fixture
def late(servers: Endpoints, databases: Databases) -> Iterator[Late]:
    with databases.names.one() as name, MongoClient[Document](servers.mongodb) as client:
        new_store(client, name)
        store = Late(lambda: client, name)
        store.meanwhile = client.close
        yield store


@pytest.mark.parametrize("way", ["insert", "change"])
def test_a_sku_that_was_given_up_meanwhile_was_taken_all_the_same(late: Late, way: str) -> None:
    holder, product = inserted(late, fields=fields(sku="taken")), inserted(late)
    late.meanwhile = lambda: change(late, holder, fields=fields())

    refusal = refused(late, way, product)

    assert refusal.product_id is None
    assert "another product had this sku" in str(refusal)


@pytest.mark.parametrize("way", ["insert", "change"])
def test_a_refusal_stands_though_the_server_goes_away_before_it_says_who_has_the_sku(
    late: Late, way: str
) -> None:
    inserted(late, fields=fields(sku="taken"))
    product = inserted(late)

    assert refused(late, way, product).product_id is None


def refused(store: MongoStore, way: str, product: Product) -> DuplicateSkuError:
    """The refusal of a write that would take the sku "taken"."""
    wanted = fields(sku="taken")
    if way == "insert":
        (failure,) = store.insert([(a_product(fields=wanted), None)])
        assert isinstance(failure, DuplicateSkuError)
        return failure
    with pytest.raises(DuplicateSkuError) as raised:
        change(store, product, fields=wanted)
    return raised.value
