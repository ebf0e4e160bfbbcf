"""What a delivery costs on the embedded stack, beside the least that it could cost.

The catalog: `POST /products`, until the supply chain has the product and the result is stored. The
baseline: a client inserts a document into the same MongoDB server, as durably, and posts it to the
same supply chain itself. Both do the same work in turn, in one run, so that other load of the
machine affects both: a burst, and a steady rate.
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

from bson import Decimal128
from pymongo import MongoClient, WriteConcern

from chalicelib.domain import exact_json
from chalicelib.domain.exact_json import Json
from embedded.processes import poll
from embedded.services import ROLES, StackError, local_session
from embedded.stack import StackInfo

CLIENTS = 12
ROUNDS = 2
WARM_UP = 60
BURST = 500
STEADY_RATE, STEADY_SECONDS = 40.0, 7.0
DELIVERED_SECONDS = 60.0
OURS = (*ROLES, "mongodb", "nats", "sqs")
BARE = ("mongodb", "supplyChain", "clients")
LOGS = "log bytes"

Write = Callable[[int], str]
"""Writes the product of a number, and gives its id."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What some products cost.

    `seconds`: from the first write to the last arrival at the supply chain. `waits`: ms from each
    write to the arrival. `used`: CPU seconds by process, and `LOGS`. `steady`: written at a rate.
    """

    seconds: float
    waits: Sequence[float]
    used: Mapping[str, float]
    steady: bool

    def __add__(self, other: Cost) -> Cost:
        used = {name: self.used[name] + other.used[name] for name in self.used}
        waits = [*self.waits, *other.waits]
        return Cost(self.seconds + other.seconds, waits, used, self.steady)


class Deliveries:
    """Writes products to one stack, numbered from `first`, and measures what that uses."""

    def __init__(self, info: StackInfo, logs: Path, first: int = 0) -> None:
        self._info, self._logs = info, logs
        self._session = local_session()
        self._next = first
        self._mongodb = MongoClient[Json](info["mongodb"])
        self._bare = self._mongodb["bench"].get_collection(
            "bare", write_concern=WriteConcern(w="majority", j=True)
        )

    def close(self) -> None:
        """Close the connection to MongoDB."""
        self._mongodb.close()

    def compare(self) -> Iterator[str]:
        """Measure, and give the lines of the table, each scenario's when it is measured."""
        self.catalog(WARM_UP, None)
        self.baseline(WARM_UP, None)
        # Not after the burst: for some seconds after one, deliveries have been seen to take longer.
        steady = int(STEADY_RATE * STEADY_SECONDS)
        name = f"{ROUNDS} times {STEADY_SECONDS:.0f} s of {STEADY_RATE:.0f}/s"
        yield from table(name, self._in_turn(steady, STEADY_RATE))
        yield from table(f"{ROUNDS} bursts of {BURST}", self._in_turn(BURST, None))

    def _in_turn(self, count: int, rate: float | None) -> tuple[Cost, Cost]:
        rounds = [(self.catalog(count, rate), self.baseline(count, rate)) for _ in range(ROUNDS)]
        (ours, base), *rest = rounds
        for mine, bare in rest:
            ours, base = ours + mine, base + bare
        return ours, base

    def catalog(self, count: int, rate: float | None) -> Cost:
        """Measure deliveries by the catalog, `rate` per second; None: as fast as it answers."""
        return self._measure(self._catalog_client, self._results_are_stored, count, rate)

    def baseline(self, count: int, rate: float | None) -> Cost:
        """Measure the least that could be done instead."""
        whole = self._measure(self._bare_client, lambda: True, count, rate)
        # The stack is idle meanwhile.
        return replace(whole, used={name: whole.used[name] for name in BARE})

    def one_by_one(self, count: int) -> None:
        """Let the catalog deliver products, each when the one before has arrived."""
        write = self._catalog_client()
        for number in range(self._next, self._next + count):
            self._await_arrival(write(number))
        self._next += count

    def _await_arrival(self, product_id: str) -> None:
        calls = f"{self._info['supplyChain']}/_control/calls?id={product_id}"
        if not poll(lambda: bool(self._get(calls)["items"]), DELIVERED_SECONDS):
            raise StackError(f"not delivered in {DELIVERED_SECONDS:.0f} s: {product_id}")

    def _measure(
        self,
        client: Callable[[], Write],
        stored: Callable[[], bool],
        count: int,
        rate: float | None,
    ) -> Cost:
        control = f"{self._info['supplyChain']}/_control"
        self._session.delete(f"{control}/products", timeout=10).raise_for_status()
        before = self._used()
        numbers = range(self._next, self._next + count)
        self._next += count
        began = send(client, numbers, rate)
        summary = f"{control}/summary"
        if not poll(lambda: self._get(summary)["products"] >= count, DELIVERED_SECONDS):
            raise StackError(f"{count} products not delivered in {DELIVERED_SECONDS:.0f} s")
        if not poll(stored, DELIVERED_SECONDS):
            raise StackError(f"results not stored after {DELIVERED_SECONDS:.0f} s")
        after = self._used()
        used = {name: after[name] - before[name] for name in after}
        return cost(began, self._get(f"{control}/calls")["items"], used, steady=rate is not None)

    def _get(self, url: str, headers: Mapping[str, str] | None = None) -> Json:
        answer = self._session.get(url, headers=headers, timeout=30)
        answer.raise_for_status()
        content: Json = answer.json()
        return content

    # ---- the two ways ----

    def _catalog_client(self) -> Write:
        post = poster(f"{self._info['api']}/products", self._authorization())

        def write(number: int) -> str:
            return str(json.loads(post(product(number)))["id"])

        return write

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._info['token']}"}

    def _results_are_stored(self) -> bool:
        counts = self._get(f"{self._info['api']}/sync", self._authorization())["products"]
        return not counts["pending"] and not counts["retrying"]

    def _bare_client(self) -> Write:
        post = poster(f"{self._info['supplyChain']}/supply-chain", {})

        def write(number: int) -> str:
            body, product_id = product(number), f"bare-{number}"
            document = {**body, "_id": product_id, "price": Decimal128(body["price"])}
            self._bare.insert_one(document)
            post({**body, "id": product_id, "version": 0})
            return product_id

        return write

    # ---- what it uses ----

    def _used(self) -> dict[str, float]:
        cpu = cpu_seconds()
        used = {name: cpu.get(pid, 0.0) for name, pid in self._info["processes"].items()}
        logs = sum((self._logs / f"{role}.log").stat().st_size for role in ROLES)
        return {**used, "clients": time.process_time(), LOGS: logs}


def product(number: int) -> Json:
    """Make a product of an everyday size, another one for each number."""
    return {
        "name": f"Product {number}",
        "price": Decimal(number % 10_000 + 1) / 100,
        "quantity": number % 50,
        "sku": f"BENCH-{number}",
        "description": "What somebody would write about it in a sentence or two. " * 4,
    }


def poster(url: str, headers: Mapping[str, str]) -> Callable[[Json], bytes]:
    """Make a function that posts JSON over one connection: little CPU, which the stack needs."""
    target = urlsplit(url)
    connection = http.client.HTTPConnection(target.netloc, timeout=30)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    headers = {"Content-Type": "application/json", **headers}

    def post(body: Json) -> bytes:
        connection.request("POST", target.path, exact_json.dumps(body).encode(), headers)
        answer = connection.getresponse()
        content = answer.read()
        if not 200 <= answer.status < 300:
            raise StackError(f"POST {url} answers {answer.status}: {content[:300]!r}")
        return content

    return post


def send(
    client: Callable[[], Write], numbers: Sequence[int], rate: float | None
) -> dict[str, float]:
    """Write these products with `CLIENTS` clients; give by product id when each write began.

    With a rate, a write begins when it is due, even if its client was late: so what waits for a
    slow answer counts too.
    """
    turns: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
    for turn in enumerate(numbers):
        turns.put(turn)
    began: dict[str, float] = {}
    start = time.time()

    def work() -> None:
        write = client()
        while not turns.empty():
            try:
                turn, number = turns.get_nowait()
            except queue.Empty:
                return
            due = start + turn / rate if rate else time.time()
            time.sleep(max(0.0, due - time.time()))
            began[write(number)] = due

    with ThreadPoolExecutor(CLIENTS) as pool:
        for client_thread in [pool.submit(work) for _ in range(CLIENTS)]:
            client_thread.result()
    return began


def cost(
    began: Mapping[str, float],
    calls: Sequence[Json],
    used: Mapping[str, float],
    *,
    steady: bool,
) -> Cost:
    """Combine when the writes began with the supply chain's record of when the products came."""
    arrived: dict[str, float] = {}
    for call in calls:
        arrived.setdefault(call["id"], datetime.fromisoformat(call["time"]).timestamp())
    waits = [1000 * (arrived[product_id] - at) for product_id, at in began.items()]
    return Cost(max(arrived.values()) - min(began.values()), waits, used, steady)


def cpu_seconds() -> dict[int, float]:
    """Give the CPU seconds by process group, ended children included; empty where no /proc is."""
    seconds: dict[int, float] = defaultdict(float)
    tick = os.sysconf("SC_CLK_TCK")
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        seconds[int(fields[2])] += sum(map(int, fields[11:15])) / tick
    return seconds


# ---- the table ----


def percentile(values: Sequence[float], share: float) -> float:
    """Give the smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def table(name: str, costs: tuple[Cost, Cost]) -> Iterator[str]:
    """Give the lines of a scenario: the catalog, the baseline, and the ratio if both have it."""
    yield f"{name:38}{'catalog':>10}{'baseline':>10}{'ratio':>8}"
    ours, base = (figures(cost) for cost in costs)
    for label, mine in ours.items():
        other = base.get(label)
        ratio = f"{_shown(other):>10}{mine / other:>8.2f}" if other else ""
        yield f"  {label:36}{_shown(mine):>10}{ratio}"
    yield ""


def _shown(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.2f}"


def figures(cost: Cost) -> dict[str, float]:
    """Give what the table shows of a cost, by label.

    In a burst the time until a delivery says only how long the queue is, so it is left out.
    """
    count = len(cost.waits)
    shown = {"delivered per second": count / cost.seconds}
    if cost.steady:
        for share in (50, 95, 99):
            shown[f"ms until delivered, p{share}"] = percentile(cost.waits, share / 100)
    cpu = {name: 1000 * used / count for name, used in cost.used.items() if name != LOGS}
    shown["CPU s per 1,000: all"] = sum(cpu.values())
    if LOGS in cost.used:
        shown["  the catalog and its servers"] = sum(cpu[name] for name in OURS)
    shown |= {f"  {name}": seconds for name, seconds in cpu.items()}
    if LOGS in cost.used:
        shown["log bytes per product"] = cost.used[LOGS] / count
    return shown
