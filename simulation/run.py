"""One run: the processes of a deployment, its consumers and operators, until all is quiet."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any, cast

from chalicelib.domain.errors import (
    CatalogError,
    ProductNotFoundError,
    QueueUnavailableError,
    StoreUnavailableError,
    StreamUnavailableError,
)
from chalicelib.domain.messages import parse_sync_message
from chalicelib.domain.product import Product
from chalicelib.domain.retry import Schedule
from chalicelib.domain.sync_state import FAILED_STATUSES
from chalicelib.usecases.bridge import Bridge
from chalicelib.usecases.catalog import Catalog, Origin, Precondition
from chalicelib.usecases.outbox import Outbox
from chalicelib.usecases.reconcile import Reconcile
from chalicelib.usecases.sync import Sync, SyncPolicy
from simulation.faults import Faults
from simulation.promises import Answer, BrokenPromiseError, Promises
from simulation.scheduler import Crashed, Process, Scheduler, moment
from simulation.servers import AtLeastOnceQueue, Port, ReplicaSet, StorePort, WindowedStream
from simulation.supply_chain import TIMEOUT, Call, Mood, SupplyChain

if TYPE_CHECKING:
    from chalicelib.usecases.ports import Consumer, Publisher, Queue, Store

ERRORS: dict[str, type[CatalogError]] = {
    "store": StoreUnavailableError,
    "stream": StreamUnavailableError,
    "queue": QueueUnavailableError,
}
EXPECTED = (StoreUnavailableError, StreamUnavailableError, QueueUnavailableError)
LEASE = timedelta(seconds=2 * TIMEOUT + 15)
PERIOD = 60.0
"""Seconds from one run of reconcile to the next."""


@dataclass(frozen=True)
class Plan:
    """What one run is made of; times in seconds."""

    seed: int
    faults: Faults = field(default_factory=Faults)
    mood: Mood = field(default_factory=Mood)
    calm: Mood = field(default_factory=Mood)
    products: int = 2
    changes: int = 6
    operations: int = 3
    workers: int = 3
    busy: float = 1800.0
    schedule: Schedule = field(default_factory=lambda: Schedule(5, 900, 400))
    grace: float = 120.0


class Run:
    """The world of one run. `trace` holds a line per event that a reader wants to see."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = Random(plan.seed)
        self.scheduler = Scheduler()
        self.trace: list[str] = []
        self.promises = Promises(plan.schedule.waits, lambda: self.scheduler.now)
        self.store = ReplicaSet(lambda: self.scheduler.now)
        self.stream = WindowedStream(self._true_time, plan.faults.window)
        self.queue = AtLeastOnceQueue(
            self._true_time,
            self.random,
            lambda: plan.faults.duplicate if self._faulty else 0.0,
            max_receive_count=200,
        )
        self.supply_chain = SupplyChain(
            self.scheduler,
            self.random,
            budget_of,
            key_of,
            self._call_begins,
            self._wished,
            plan.mood,
        )
        self.relayed = self.enqueued = 0
        self._numbers = itertools.count(1)
        self._ids: list[str] = []

    # ---- the course of a run ----

    def run(self) -> None:
        """Run to the end and check. Raises BrokenPromiseError."""
        plan = self.plan
        self._keep_going("bridge", self._bridge)
        for number in range(plan.workers):
            self._keep_going(f"worker {number}", self._worker)
        self._every_minute()
        self._meddle()
        self.scheduler.run(plan.busy)
        self.supply_chain.mood = plan.calm
        self.say("calm", "the faults have ended")
        self.scheduler.run(plan.busy + self.bound())
        self.promises.check(self.store, self.queue, self.stream, self.supply_chain)
        if plan.faults == Faults():
            self.promises.nothing_healed(self.relayed, self.enqueued, self.supply_chain)

    def bound(self) -> float:
        """Seconds after the last fault within which everything is delivered, or has failed.

        The longest wait that may be left, a whole budget after it, and what reconcile needs to find
        a lost message: its grace, doubled once, and two of its periods.
        """
        longest = max(self.plan.schedule.waits)
        return 2 * (self.plan.schedule.horizon + longest) + 4 * self.plan.grace + 10 * PERIOD

    def say(self, who: str, what: str) -> None:
        """Note something for the reader of the trace."""
        self.trace.append(f"{self.scheduler.now:10.2f}  {who:14} {what}")

    @property
    def _faulty(self) -> bool:
        return self.scheduler.now < self.plan.faults.until

    def _true_time(self) -> Any:  # noqa: ANN401 - a datetime
        return moment(self.scheduler.now)

    # ---- what the processes are made of ----

    def _process(self, name: str) -> Process:
        skew = self.plan.faults.skew
        return Process(name, self.random.uniform(-skew, skew))

    def _step(self, port: str, effect_done: bool) -> None:
        """Let time pass in a port call; the process may end here, and the call may fail."""
        faults, process = self.plan.faults, self.scheduler.process
        seconds = self.random.choice((0.001, 0.003, 0.01, 0.05))
        if process.dead:
            raise Crashed
        if self._faulty:
            if self.random.random() < faults.crash:
                self.say(
                    process.name, f"CRASH at {port}{' after its effect' if effect_done else ''}"
                )
                self.scheduler.crash(process)
                raise Crashed
            if self.random.random() < faults.pause:
                seconds = self.random.choice((2.0, 6.0, 25.0, 130.0))
        self.scheduler.sleep(seconds)
        if faults.is_away(port, self.scheduler.now) and not effect_done:
            raise ERRORS[port](f"{port}: away")
        if self._faulty and self.random.random() < faults.error:
            raise ERRORS[port](f"{port}: an error{' after its effect' if effect_done else ''}")

    def _store(self) -> Store:
        port = StorePort(
            self.store,
            self._step,
            self.scheduler.sleep,
            lambda: self.random.choice(self.plan.faults.lags) if self._faulty else 0.02,
            self._wrote,
        )
        return cast("Store", port)

    def _queue(self) -> Queue:
        return cast("Queue", Port("queue", self.queue, self._step))

    def _publisher(self) -> Publisher:
        return cast("Publisher", Port("stream", self.stream, self._step))

    def _wrote(self, method: str, before: dict[str, Product]) -> None:
        self.promises.wrote(method, before, self.store.products)
        for product_id, product in self.store.products.items():
            old = before.get(product_id)
            if old is not product:
                sync = product.sync
                self.say(
                    self.scheduler.process.name,
                    f"{method}: {product_id} v{product.version} {sync.status} attempts {sync.attempts} "
                    f"message {sync.message_id}",
                )

    def _call_begins(self, call: Call) -> None:
        self.say(
            call.caller.name, f"calls with {call.product.id} v{call.product.version}: {call.answer}"
        )
        self.promises.begun(call, self.supply_chain)

    def _wished(self, call: Call) -> None:
        self.promises.wished.add((call.product.id, call.budget))

    # ---- the roles ----

    def _keep_going(self, name: str, work: Callable[[Process], None], after: float = 0.0) -> None:
        """Run a role; when its process crashes, another takes its place a little later."""
        process = self._process(name)

        def live() -> None:
            try:
                work(process)
            except Crashed:
                self._keep_going(name, work, self.random.choice((1.0, 5.0, 40.0)))
                raise

        self.scheduler.spawn(process, live, after)

    def _bridge(self, process: Process) -> None:
        consumer = cast("Consumer", Port("stream", self.stream, self._step))
        bridge = Bridge(consumer, self._queue())
        while True:
            try:
                done = bridge.forward_once(timeout=0)
            except EXPECTED:
                self.scheduler.sleep(1.0)
                continue
            if done.forwarded:
                self.say(process.name, f"forwards {done.forwarded}")
                self.scheduler.notify("queue")
            else:
                self.scheduler.wait("stream", 5.0)

    def _worker(self, process: Process) -> None:
        supply_chain = _Caller(self.supply_chain, process)
        clock = self.scheduler.clock(process)
        outbox = Outbox(self._store(), self._publisher())
        schedule, grace = self.plan.schedule, timedelta(seconds=self.plan.grace)
        sync = Sync(
            self._store(),
            self._queue(),
            outbox,
            supply_chain,
            SyncPolicy(schedule, LEASE, grace, 10),
            clock=clock,
            jitter=self.random.random,
            new_token=lambda: f"token-{next(self._numbers)}",
            in_parallel=self.scheduler.in_parallel,
        )
        while True:
            messages = self.queue.receive()
            if messages:
                self.scheduler.sleep(0.01)
                received = [replace(message, received=clock()) for message in messages]
                self.say(process.name, f"receives {[(m.id, m.body) for m in messages]}")
                kept = sync.handle(received)
                self.scheduler.sleep(0.01)
                self.queue.delete([m.receipt for m in messages if m.id not in kept])
            else:
                due = self.queue.next_visible()
                ahead = (due - self._true_time()).total_seconds() if due else 20.0
                self.scheduler.wait("queue", min(max(ahead, 0.05), 20.0))

    def _every_minute(self) -> None:
        def tick(number: int) -> None:
            process = self._process(f"reconcile {number}")
            self.scheduler.spawn(process, lambda: self._reconcile(process))
            self.scheduler.spawn(ticker, lambda: tick(number + 1), PERIOD)

        ticker = Process("schedule")
        self.scheduler.spawn(ticker, lambda: tick(0), self.random.uniform(0, PERIOD))

    def _reconcile(self, process: Process) -> None:
        outbox = Outbox(self._store(), self._publisher())
        clock, grace = self.scheduler.clock(process), timedelta(seconds=self.plan.grace)
        reconcile = Reconcile(self._store(), self._queue(), outbox, clock=clock, grace=grace)
        end = self.scheduler.now + 40
        try:
            done = reconcile.run(lambda: end - self.scheduler.now)
        except EXPECTED:
            return
        self.relayed += done.relayed
        self.enqueued += done.enqueued
        if done.relayed or done.enqueued or done.settled:
            self.say(process.name, f"{done}")
        self.scheduler.notify("stream")
        self.scheduler.notify("queue")

    # ---- consumers and operators ----

    def _catalog(self, process: Process) -> Catalog:
        outbox = Outbox(self._store(), self._publisher())
        return Catalog(
            self._store(),
            outbox,
            self._queue(),
            clock=self.scheduler.clock(process),
            grace=timedelta(seconds=self.plan.grace),
            new_id=lambda: f"{next(self._numbers):024x}",
            pause=lambda attempt: self.scheduler.sleep(self.random.uniform(0, 0.01 * attempt)),
        )

    def _meddle(self) -> None:
        """Spread what consumers and operators do over the busy time."""
        plan, consumers = self.plan, Process("consumers")
        for number in range(plan.products):
            price = Decimal(number + 1)
            self.scheduler.spawn(consumers, lambda price=price: self._create(price), number)  # type: ignore[misc]  # bound per turn
        for _ in range(plan.changes):
            self.scheduler.spawn(consumers, self._change, self.random.uniform(5, plan.busy))
        for _ in range(plan.operations):
            self.scheduler.spawn(consumers, self._operate, self.random.uniform(60, plan.busy))
        for time in plan.faults.failovers:
            self.scheduler.spawn(consumers, self._fail_over, time)
        for time in plan.faults.consumer_lost:
            self.scheduler.spawn(consumers, self.stream.lose_consumer, time)
        for time in plan.faults.purge:
            self.scheduler.spawn(consumers, self.queue.messages.clear, time)

    def _fail_over(self) -> None:
        self.say("store", "fails over")
        self.store.fail_over()

    def _request(self, what: str, work: Callable[[Catalog], None]) -> None:
        """Let an API process of its own answer a request; it may crash without an answer."""
        process = self._process(what)

        def answer() -> None:
            try:
                work(self._catalog(process))
            except ProductNotFoundError:
                self.say(process.name, "404")
            except CatalogError as error:
                self.say(process.name, f"{type(error).__name__}")
            self.scheduler.notify("stream")
            self.scheduler.notify("queue")

        self.scheduler.spawn(process, answer)

    def _create(self, price: Decimal) -> None:
        body = {"name": "Anvil", "price": price, "quantity": 1}

        def create(catalog: Catalog) -> None:
            made = catalog.create(body, Origin())
            self._ids.append(made["id"])
            self._answered(made)

        self._request("api create", create)

    def _change(self) -> None:
        """Change a product; a consumer that got no answer asks the same again."""
        if not self._ids:
            return
        product_id = self.random.choice(self._ids)
        kind = self.random.choice(("change", "change", "change", "delete"))
        price = Decimal(self.random.randint(1, 5))

        def change(catalog: Catalog) -> None:
            try:
                body = {"name": "Anvil", "price": price, "quantity": 1}
                self._answered(catalog.replace(product_id, body, Precondition(), Origin()))
            except StoreUnavailableError:
                self._request("api again", change)

        def delete(catalog: Catalog) -> None:
            try:
                catalog.delete(product_id, Precondition(), Origin())
            except StoreUnavailableError:
                self._request("api again", delete)
                return
            except ProductNotFoundError:
                # Gone before, or by this consumer's request before, which was not answered.
                self.say(self.scheduler.process.name, f"404 {product_id}")
            self.promises.gone.append(product_id)

        self._request(f"api {kind}", change if kind == "change" else delete)

    def _answered(self, product: dict[str, Any]) -> None:
        answer = Answer(product["id"], product["version"], product["price"])
        self.say(
            self.scheduler.process.name, f"2xx {answer.product_id} v{answer.version} {answer.price}"
        )
        self.promises.answers.append(answer)

    def _operate(self) -> None:
        kind = self.random.choice(("replay", "redrive", "move", "move"))
        if kind == "move":
            self._move()
        elif kind == "redrive":
            self._request("api redrive", lambda catalog: void(catalog.redrive({})))
        elif self._ids:
            product_id = self.random.choice(self._ids)
            self._request("api replay", lambda catalog: void(catalog.replay(product_id)))

    def _move(self) -> None:
        """Move a dead letter back, as the console of SQS does: a new message with the same body."""
        if not self.queue.dead:
            return
        letter = self.random.choice(self.queue.dead)
        self.queue.dead.remove(letter)
        product_id = parse_sync_message(letter.body).product_id
        self.promises.moves[product_id] += 1
        self.say("operator", f"moves {letter.id} {letter.body}")
        self.queue.send(letter.body)
        self.scheduler.notify("queue")


class _Caller:
    """The supply chain as one process calls it."""

    def __init__(self, supply_chain: SupplyChain, process: Process) -> None:
        self._supply_chain = supply_chain
        self._process = process

    def deliver(self, product: Product, trace: str | None) -> Any:  # noqa: ANN401 - an Outcome
        return self._supply_chain.deliver(product, trace, self._process)


def budget_of(product: Product) -> object:
    """Which budget of attempts a product is delivered under."""
    return product.pair


def key_of(product: Product) -> str:
    """The idempotency key of a call."""
    return product.idempotency_key


def void(_: object) -> None:
    """Take a result that nobody needs."""


__all__ = ["BrokenPromiseError", "FAILED_STATUSES", "Plan", "Run"]
