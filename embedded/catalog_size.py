"""`python -m embedded.catalog_size`: what queries cost as the catalog grows.

For each size it fills a separate database, not through the API, with that many delivered products
and the same few others, and measures the queries of a request or of every minute: their time in
MongoDB, and what `explain` says they read. If that grows with the size, a query reads more than it
returns. It uses a separate embedded stack in a temporary folder, whose roles are stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from pymongo import MongoClient
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

from chalicelib.adapters.mongo.documents import Document, new_product_id, to_document
from chalicelib.adapters.mongo.store import MongoStore
from chalicelib.bootstrap import Container
from chalicelib.domain.messages import ReceivedMessage, SyncMessage
from chalicelib.domain.product import Product, ProductFields
from chalicelib.domain.sync_state import Position, SyncState, SyncStatus
from chalicelib.domain.times import now_utc
from chalicelib.settings import Settings, read_settings
from chalicelib.usecases.ports import Creation, Order, ProductQuery
from embedded.bench import EXPECTED, settings_on
from embedded.demo import demo_environment
from embedded.services import StackError
from embedded.stack import Stack, on_own_stack

SIZES = (1_000, 10_000, 100_000)
LOAD = 1000
"""Documents of one insert."""
FEW = 100
"""Products that have failed, wait or are overdue, whatever the size."""
ROUNDS = 3
EXPLAINED = {"find", "aggregate"}


class Watch(CommandListener):
    """Adds up the time of commands; or has each explained before it runs."""

    def __init__(self, explain: Callable[[str, Document], Document]) -> None:
        self._explain = explain
        self.explaining = False
        self.ms = 0.0
        self.documents = self.keys = 0

    def started(self, event: CommandStartedEvent) -> None:
        """Ask how a query would be run."""
        if self.explaining and event.command_name in EXPLAINED:
            stats = self._explain(event.database_name, dict(event.command))["executionStats"]
            self.documents += stats["totalDocsExamined"]
            self.keys += stats.get("totalKeysExamined", 0)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Add its time."""
        self.ms += event.duration_micros / 1000

    def failed(self, event: CommandFailedEvent) -> None:
        """Nothing is counted for a failure."""

    def clear(self) -> None:
        """Count from zero."""
        self.ms, self.documents, self.keys = 0.0, 0, 0


@dataclass(frozen=True, slots=True)
class Cost:
    """What one use costs: ms in MongoDB, documents and index entries that it reads."""

    ms: float
    documents: int
    keys: int

    def __str__(self) -> str:
        """Give the three as a cell of the table."""
        return f"{self.ms:.1f} / {self.documents} / {self.keys}"


Use = tuple[str, Callable[[], object], Callable[[], object]]
"""A name, what is measured, and what is done before."""


class SizedCatalog:
    """A database with so many delivered products, and the use cases on it."""

    def __init__(self, settings: Settings, size: int) -> None:
        self.size = size
        self._settings = settings
        self._closing = contextlib.ExitStack()
        plain = self._closing.enter_context(MongoClient[Document](settings.mongodb_uri))
        self.watch = Watch(lambda database, command: explained(plain, database, command))
        client = MongoClient[Document](settings.mongodb_uri, event_listeners=[self.watch])
        self._closing.enter_context(client)
        self._store = MongoStore(lambda: client, self._settings.mongodb_database)
        self._plain = plain[self._settings.mongodb_database]["products"]
        self._parts = self._made()
        self._ids: list[str] = []
        self._batch: list[ReceivedMessage] = []

    def _made(self) -> Container:
        parts = self._closing.enter_context(contextlib.closing(Container(self._settings)))
        # The same store for all, which is watched.
        parts.store = self._store
        return parts

    def close(self) -> None:
        """Drop the database."""
        self._plain.database.client.drop_database(self._plain.database)
        self._closing.close()

    def fill(self) -> None:
        """Put the delivered products into it."""
        for _ in self._parts.migrate():
            pass
        now = now_utc()
        done = SyncState(SyncStatus.DELIVERED, attempts=1, delivered_version=0)
        for start in range(0, self.size, LOAD):
            numbers = range(start, min(start + LOAD, self.size))
            made = [a_product(number, done) for number in numbers]
            self._ids += [product.id for product in made]
            self._insert(made)
        keyed = Creation("key", "fingerprint", "{}")
        self._plain.insert_one(to_document(a_product(-1, done), keyed))
        waiting = SyncState(behind_since=now, overdue_at=now + timedelta(days=1))
        self._insert([a_product(-2 - number, waiting) for number in range(FEW)])

    def _insert(self, products: Sequence[Product]) -> None:
        self._plain.insert_many([to_document(item, None) for item in products], ordered=False)

    def uses(self) -> Iterator[Use]:
        """Everything that is measured."""
        find, parts = self._store.find, self._parts
        deep = Position(self._ids[len(self._ids) * 9 // 10])
        nothing: Callable[[], object] = lambda: None  # noqa: E731 - one of many like it
        yield "GET /sync", parts.operations.summary, nothing
        yield "reconcile, nothing to do", self._reconcile, nothing
        yield "list, first page of 50", lambda: find(ProductQuery(50)), nothing
        yield "list, page of 50 after 90 %", lambda: find(ProductQuery(50, deep)), nothing
        pending = ProductQuery(
            50, statuses=frozenset({SyncStatus.PENDING}), order=Order.BEHIND_SINCE
        )
        yield "list by status, page of 50", lambda: find(pending), nothing
        yield "list by sku", lambda: find(ProductQuery(1, sku="sku-7")), nothing
        yield "find by idempotency key", lambda: self._store.created_under("key"), nothing
        yield f"reconcile, {FEW} overdue", self._reconcile, self._make_overdue
        yield f"redrive of {FEW}", lambda: parts.operations.redrive({}), self._make_failed
        yield "deliver a batch of 10", self._deliver, self._make_batch

    def _reconcile(self) -> None:
        # A new process each time: so each run writes its gauges.
        self._made().reconcile.run(lambda: 0.0)

    def _replace_few(self, sync: SyncState) -> None:
        self._plain.delete_many({"name": "one of few"})
        self._insert([a_product(None, sync) for _ in range(FEW)])

    def _make_overdue(self) -> None:
        due = now_utc() - timedelta(hours=1)
        self._replace_few(SyncState(behind_since=due, overdue_at=due))

    def _make_failed(self) -> None:
        since = now_utc() - timedelta(hours=1)
        self._replace_few(SyncState(SyncStatus.EXHAUSTED, attempts=18, behind_since=since))

    def _make_batch(self) -> None:
        now = now_utc()
        new = SyncState(behind_since=now, overdue_at=now + timedelta(days=1))
        self._replace_few(new)
        ids = [each["_id"] for each in self._plain.find({"name": "one of few"}).limit(10)]
        self._batch = [
            ReceivedMessage(name, name, SyncMessage(name, 0).to_json(), 1, now, now) for name in ids
        ]

    def _deliver(self) -> None:
        if kept := self._parts.sync.handle(self._batch):
            raise StackError(f"{len(kept)} of {len(self._batch)} were not delivered")


def a_product(number: int | None, sync: SyncState) -> Product:
    """Build a product with a description and attributes; None: one of those that are replaced."""
    now = now_utc()
    fields: dict[str, Any] = {"name": "one of few", "price": Decimal("12.50"), "quantity": 7}
    if number is not None:
        fields |= {"name": f"Product {number}", "sku": f"sku-{number}", "description": "long " * 40}
    made = ProductFields.model_validate({**fields, "attributes": {"colour": "blue", "kg": 1}})
    return Product(new_product_id(), made, 0, now, now, sync)


def explained(client: MongoClient[Document], database: str, command: Document) -> Document:
    """Say how the server runs a query, and what it reads."""
    names = {"lsid", "$db", "$clusterTime", "readConcern", "writeConcern", "txnNumber"}
    plain = {name: value for name, value in command.items() if name not in names}
    return client[database].command("explain", plain, verbosity="executionStats")


def measure(catalog: SizedCatalog, use: Use) -> Cost:
    """Measure a use: what it reads, and the median of its times."""
    _, work, prepare = use
    watch, times = catalog.watch, list[float]()
    prepare()
    watch.clear()
    watch.explaining = True
    work()
    watch.explaining = False
    read = (watch.documents, watch.keys)
    for _ in range(ROUNDS):
        prepare()
        watch.clear()
        work()
        times.append(watch.ms)
    return Cost(statistics.median(times), *read)


def costs(settings: Settings, size: int) -> dict[str, Cost]:
    """Fill a catalog of this size, and measure each use on it."""
    with contextlib.closing(SizedCatalog(settings, size)) as catalog:
        catalog.fill()
        return {use[0]: measure(catalog, use) for use in catalog.uses()}


def table(columns: dict[int, dict[str, Cost]]) -> Iterator[str]:
    """Give the lines: a row for each use, a column for each size."""
    yield "ms in MongoDB / documents / index entries read, by products in the catalog"
    yield f"{'':32}" + "".join(f"{size:>26,}" for size in columns)
    for name in next(iter(columns.values())):
        yield f"{name:32}" + "".join(f"{found[name]!s:>26}" for found in columns.values())


def run(stack: Stack, sizes: Sequence[int]) -> None:
    """Start the stack and print the table."""
    began, info = time.monotonic(), stack.up()
    for name in ("api", "bridge", "sync", "reconcile"):
        stack.stop(name)
    out, columns = sys.stdout, dict[int, dict[str, Cost]]()
    print(f"MongoDB: {info['store']}\n")
    # Logs and metrics are part of the work, but must not be printed into the table.
    with contextlib.redirect_stdout(io.StringIO()):
        for size in sizes:
            columns[size] = costs(read_settings(settings_on(info, f"size-{size}")), size)
            print(f"{size:,} measured, {time.monotonic() - began:.0f} s", file=sys.stderr)
        print("\n".join(table(columns)), file=out)


def main() -> int:
    """Measure; give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="products; default all")
    sizes = parser.parse_args().sizes
    environ = {**demo_environment(os.environ), "SUPPLY_CHAIN_FAILURE_RATE": "0"}
    return on_own_stack("size", environ, lambda stack: run(stack, sizes), EXPECTED)


if __name__ == "__main__":
    sys.exit(main())
