"""`make bench`: what a delivery costs, and what batches save, as ratios within one run.

Runs a separate embedded stack in a temporary folder. In this order: the cost of a delivery beside
that of a baseline (`delivery_cost`), the round trips to servers for it (`traffic`), and
two ways of doing the same work, with bridge, sync and reconcile stopped. Absolute times depend on
the machine and on its other load, and on which MongoDB runs; the ratios depend less on them.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from chalicelib.bootstrap import Container
from chalicelib.domain import exact_json
from chalicelib.domain.errors import CatalogError
from chalicelib.domain.exact_json import Json
from chalicelib.domain.messages import ReceivedMessage, SyncMessage
from chalicelib.domain.times import now_utc
from chalicelib.settings import SettingsError, read_settings
from chalicelib.usecases.catalog import Origin
from embedded import traffic
from embedded.delivery_cost import Deliveries, product
from embedded.demo import demo_environment
from embedded.services import StackError, local_session
from embedded.stack import Stack, StackInfo, on_own_stack

ROUNDS = 3
ITEMS = 100
ALONE, BURST = 40, 200
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
    # One round to warm up: connections, caches.
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


class Batches:
    """The pairs, on one stack: in batches, and one by one."""

    def __init__(self, info: StackInfo, parts: Container) -> None:
        self._info = info
        self._parts = parts
        self._session = local_session()
        self._session.headers["Authorization"] = f"Bearer {info['token']}"
        # Other products than those whose delivery was measured.
        self._numbers = itertools.count(1_000_000)
        self._messages: Sequence[ReceivedMessage] = ()

    def pairs(self) -> list[Pair]:
        """Everything that is measured."""
        return [
            Pair("write over HTTP", ("a batch", self._batch), ("one by one", self._one_by_one)),
            Pair(
                "deliver messages",
                ("batches of ten", lambda: self._sync(10)),
                ("one by one", lambda: self._sync(1)),
                self._make_messages,
            ),
        ]

    def _bodies(self) -> list[Json]:
        return [product(next(self._numbers)) for _ in range(ITEMS)]

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

    def _make_messages(self) -> None:
        made = self._parts.catalog.create_batch({"items": self._bodies()}, Origin())
        ids = [product["id"] for product in made if not isinstance(product, CatalogError)]
        now = now_utc()
        self._messages = [
            ReceivedMessage(
                product_id, product_id, SyncMessage(product_id, 0).to_json(), 1, now, now
            )
            for product_id in ids
        ]

    def _sync(self, size: int) -> None:
        for start in range(0, ITEMS, size):
            kept = self._parts.sync.handle(self._messages[start : start + size])
            if kept:
                raise StackError(f"{len(kept)} of {size} were not delivered")


def table(pairs: Iterable[Pair]) -> Iterator[str]:
    """Give the lines, each as soon as its pair is measured."""
    yield f"median of {ROUNDS} rounds, {ITEMS} items each; ratio: time of the first / of the second"
    yield f"{'':18}{'first':>26}{'second':>26}{'ratio':>8}  lowest to highest"
    for pair in pairs:
        ratio = compare(pair)
        first = f"{pair.ours[0]} {ratio.ours:.3f} ms"
        second = f"{pair.other[0]} {ratio.other:.3f} ms"
        spread = f"{ratio.low:.2f} to {ratio.high:.2f}"
        yield f"{pair.name:18}{first:>26}{second:>26}{ratio.median:>8.2f}  {spread}"


def counted(stack: Stack, deliveries: Deliveries) -> Iterator[str]:
    """Count round trips and writes, for products alone and in a burst; give the lines."""
    with traffic.CountedRoles(stack) as roles:
        deliveries.catalog(BURST, None)
        roles.counts.clear()
        deliveries.one_by_one(ALONE)
        alone = Counter(roles.counts)
        roles.counts.clear()
        deliveries.catalog(BURST, None)
        columns = {"one by one": (alone, ALONE), f"burst of {BURST}": (roles.counts, BURST)}
    yield from traffic.table(columns)


def settings_on(info: StackInfo, database: str) -> dict[str, str]:
    """Give the settings of use cases in this process, on a running stack."""
    return {
        "MONGODB_URI": info["mongodb"],
        "MONGODB_DATABASE": database,
        "NATS_URL": info["nats"],
        "SYNC_QUEUE_URL": info["queueUrl"],
        "SYNC_DLQ_URL": info["dlqUrl"],
        "SUPPLY_CHAIN_URL": info["supplyChain"],
        "CATALOG_JWT_SECRET": "-" * 32,
        "LOG_LEVEL": "CRITICAL",
    }


def batches(stack: Stack) -> Iterator[str]:
    """Measure the pairs; give the lines."""
    info = stack.up()
    for name in ("bridge", "sync", "reconcile"):
        stack.stop(name)
    with contextlib.closing(Container(read_settings(settings_on(info, "bench")))) as parts:
        for _ in parts.migrate():
            pass
        yield from table(Batches(info, parts).pairs())


def run(stack: Stack) -> None:
    """Start the stack and print the tables."""
    began, info = time.monotonic(), stack.up()
    out = sys.stdout
    print(f"MongoDB: {info['store']}\n")
    deliveries = Deliveries(info, stack.run_dir / "logs")
    tables = (deliveries.compare(), counted(stack, deliveries), batches(stack))
    # Logs and metrics are part of the work, but must not be printed into the tables.
    with contextlib.closing(deliveries), contextlib.redirect_stdout(io.StringIO()):
        for line in itertools.chain(*tables):
            print(line, file=out, flush=True)
    print(f"\nwhole bench {time.monotonic() - began:.0f} s")


def main() -> int:
    """Run the benchmarks; give the exit code."""
    environ = {**demo_environment(os.environ), "SUPPLY_CHAIN_FAILURE_RATE": "0"}
    return on_own_stack("bench", environ, run, EXPECTED)


if __name__ == "__main__":
    sys.exit(main())
