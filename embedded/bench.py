"""`make bench`: compares two ways of doing the same work in one run, as ratios of their times.

Runs a separate embedded stack in a temporary folder, with bridge, sync and reconcile stopped. Each
pair runs what it measures itself, in rounds with changing order, so that other load of the machine
affects both. Absolute times depend on the machine and on the embedded MongoDB-wire server; the
ratios depend less on them.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from bson import Decimal128
from pymongo import MongoClient, WriteConcern

from chalicelib.bootstrap import Container
from chalicelib.domain import exact_json
from chalicelib.domain.errors import CatalogError
from chalicelib.domain.events import Event, EventType
from chalicelib.domain.exact_json import Json
from chalicelib.domain.messages import ReceivedMessage, SyncMessage
from chalicelib.domain.times import now_utc
from chalicelib.settings import SettingsError, read_settings
from chalicelib.usecases.catalog import Origin
from embedded.demo import demo_environment
from embedded.services import StackError, local_session
from embedded.stack import Stack, StackInfo, on_own_stack

ROUNDS = 7
ITEMS = 100
EXPECTED = (StackError, SettingsError, CatalogError, OSError)
Way = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two ways to do the same work on `items` items; `prepare` runs before each, not measured."""

    name: str
    ours: tuple[str, Way]
    other: tuple[str, Way]
    prepare: Way = lambda: None
    items: int = ITEMS


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ratio of our time to the other's, over the rounds; times per item in ms."""

    median: float
    low: float
    high: float
    ours: float
    other: float


def compare(pair: Pair, clock: Callable[[], float] = time.perf_counter) -> Ratio:
    """Run both ways in each round, in alternating order."""
    seconds: dict[Way, list[float]] = {pair.ours[1]: [], pair.other[1]: []}
    # One round to warm up: connections, caches, indexes.
    for turn in range(ROUNDS + 1):
        ways = list(seconds) if turn % 2 else list(reversed(seconds))
        for way in ways:
            pair.prepare()
            began = clock()
            way()
            seconds[way].append(clock() - began)
    ours, other = (times[1:] for times in seconds.values())
    ratios = [mine / theirs for mine, theirs in zip(ours, other, strict=True)]
    medians = (1000 * statistics.median(times) / pair.items for times in (ours, other))
    return Ratio(statistics.median(ratios), min(ratios), max(ratios), *medians)


class Bench:
    """The pairs, on one stack."""

    def __init__(self, info: StackInfo, parts: Container) -> None:
        self._info = info
        self._parts = parts
        self._session = local_session()
        self._session.headers["Authorization"] = f"Bearer {info['token']}"
        self._numbers = itertools.count()
        self._events: Sequence[Event] = ()
        self._messages: Sequence[ReceivedMessage] = ()
        self._bare = MongoClient[Json](info["mongodb"])["bench"].get_collection(
            "bare", write_concern=WriteConcern(w="majority", j=True)
        )

    def pairs(self) -> list[Pair]:
        """Everything that is measured."""
        return [
            Pair("write over HTTP", ("a batch", self._batch), ("one by one", self._one_by_one)),
            Pair("write with its event", ("the catalog", self._write), ("no event", self._insert)),
            Pair(
                "publish events",
                ("at once", lambda: self._parts.stream.publish(self._events)),
                ("one by one", self._publish_singly),
                self._make_events,
            ),
            Pair(
                "deliver messages",
                ("batches of ten", lambda: self._sync(10)),
                ("one by one", lambda: self._sync(1)),
                self._make_messages,
            ),
            Pair("read and write JSON", ("exact", _exact), ("floats", _floats)),
        ]

    # ---- writing ----

    def _bodies(self) -> list[Json]:
        return [_product(next(self._numbers)) for _ in range(ITEMS)]

    def _post(self, path: str, body: object) -> None:
        answer = self._session.post(
            f"{self._info['api']}{path}", data=exact_json.dumps(body), timeout=30
        )
        answer.raise_for_status()

    def _batch(self) -> None:
        self._post("/products/batch", {"items": self._bodies()})

    def _one_by_one(self) -> None:
        for body in self._bodies():
            self._post("/products", body)

    def _write(self) -> None:
        for body in self._bodies():
            self._parts.catalog.create(body, Origin())

    def _insert(self) -> None:
        for body in self._bodies():
            self._bare.insert_one({**body, "price": Decimal128(body["price"])})

    # ---- events and messages ----

    def _create(self) -> list[str]:
        made = self._parts.catalog.create_batch({"items": self._bodies()}, Origin())
        return [product["id"] for product in made if not isinstance(product, CatalogError)]

    def _make_events(self) -> None:
        numbers = itertools.islice(self._numbers, ITEMS)
        data, now = exact_json.dumps(_product(0)), now_utc()
        self._events = [Event(EventType.UPDATED, f"bench-{n}", 0, now, data) for n in numbers]

    def _publish_singly(self) -> None:
        for event in self._events:
            self._parts.stream.publish([event])

    def _make_messages(self) -> None:
        now = now_utc()
        self._messages = [
            ReceivedMessage(
                product_id, product_id, SyncMessage(product_id, 0).to_json(), 1, now, now
            )
            for product_id in self._create()
        ]

    def _sync(self, size: int) -> None:
        for start in range(0, ITEMS, size):
            kept = self._parts.sync.handle(self._messages[start : start + size])
            if kept:
                raise StackError(f"{len(kept)} of {size} were not delivered")


def _product(number: int) -> Json:
    return {
        "name": f"Product {number}",
        "price": Decimal(number % 10_000 + 1) / 100,
        "quantity": number % 50,
        "sku": f"BENCH-{number}",
        "description": "What somebody would write about it in a sentence or two. " * 4,
    }


_TEXT = exact_json.dumps([_product(number) for number in range(ITEMS)])


def _exact() -> None:
    exact_json.dumps(exact_json.loads(_TEXT))


def _floats() -> None:
    json.dumps(json.loads(_TEXT))


def table(pairs: Iterable[Pair]) -> Iterator[str]:
    """Give the lines, each as soon as its pair is measured."""
    yield f"median of {ROUNDS} rounds, {ITEMS} items each; ratio: time of the first / of the second"
    yield ""
    yield f"{'':22}{'first':>26}{'second':>26}{'ratio':>8}  lowest to highest"
    for pair in pairs:
        ratio = compare(pair)
        first = f"{pair.ours[0]} {ratio.ours:.3f} ms"
        second = f"{pair.other[0]} {ratio.other:.3f} ms"
        spread = f"{ratio.low:.2f} to {ratio.high:.2f}"
        yield f"{pair.name:22}{first:>26}{second:>26}{ratio.median:>8.2f}  {spread}"


def run(stack: Stack) -> None:
    """Start the stack and print the table."""
    info = stack.up()
    for name in ("bridge", "sync", "reconcile"):
        stack.stop(name)
    settings = {
        "MONGODB_URI": info["mongodb"],
        "MONGODB_DATABASE": "bench",
        "NATS_URL": info["nats"],
        "SYNC_QUEUE_URL": info["queueUrl"],
        "SYNC_DLQ_URL": info["dlqUrl"],
        "SUPPLY_CHAIN_URL": info["supplyChain"],
        "CATALOG_JWT_SECRET": "-" * 32,
        "LOG_LEVEL": "CRITICAL",
    }
    parts = Container(read_settings(settings))
    out = sys.stdout
    try:
        # Logs and metrics are part of the work, but must not be printed into the table.
        with contextlib.redirect_stdout(io.StringIO()):
            for line in table(Bench(info, parts).pairs()):
                print(line, file=out, flush=True)
    finally:
        parts.close()


def main() -> int:
    """Run the benchmarks; give the exit code."""
    environ = {**demo_environment(os.environ), "SUPPLY_CHAIN_FAILURE_RATE": "0"}
    return on_own_stack("bench", environ, run, EXPECTED)


if __name__ == "__main__":
    sys.exit(main())
