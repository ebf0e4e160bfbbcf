"""The roles of a deployment, as their hosts run them: bridge, workers, reconcile, the API."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from chalicelib.domain.answers import Answer
from chalicelib.domain.delivery import Outcome
from chalicelib.domain.errors import (
    QueueUnavailableError,
    StoreUnavailableError,
    StreamUnavailableError,
)
from chalicelib.domain.product import Product
from chalicelib.usecases.activity import Activity
from chalicelib.usecases.acts import Acts
from chalicelib.usecases.admission import Admissions
from chalicelib.usecases.audit import Auditor, AuditPolicy, Questions, Repairs
from chalicelib.usecases.audits import Audits
from chalicelib.usecases.bridge import Bridge
from chalicelib.usecases.catalog import Catalog
from chalicelib.usecases.controls import Controls
from chalicelib.usecases.convergence import Convergence
from chalicelib.usecases.dead_letters import DeadLetters
from chalicelib.usecases.enqueuing import Enqueuer
from chalicelib.usecases.operations import Operations
from chalicelib.usecases.outbox import Outbox
from chalicelib.usecases.reconcile import Reconcile
from chalicelib.usecases.republish import Republisher, Republishes
from chalicelib.usecases.restore import Restorer
from chalicelib.usecases.restores import Restores
from chalicelib.usecases.sync import Sync, SyncPolicy
from simulation.plan import LEASE
from simulation.ports import Port, StorePort
from simulation.scheduler import Crashed, Item, Process, Result, moment

if TYPE_CHECKING:
    from chalicelib.usecases.ports import Consumer, Publisher, Queue, Store, StreamReader
    from simulation.world import World

AWAY = (StoreUnavailableError, StreamUnavailableError, QueueUnavailableError)
LONG_POLL = 20.0
LOOKS = 12
"""How often the bridge looks at the stream from one run of reconcile to the next."""
RECONCILE_SECONDS = 40.0


class Caller:
    """Implements `ports.SupplyChain` for one process."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._process = process

    def deliver(self, product: Product, trace: str | None) -> Outcome:
        del trace
        if self._world.is_deadly(product):
            self._world.say(self._process.name, f"DIES of {product.id}")
            self._world.scheduler.crash(self._process)
            raise Crashed
        return self._world.supply_chain.deliver(product, self._process)

    def ask(self, product: Product) -> Answer | None:
        return self._world.supply_chain.ask(product, self._process)


class Parts:
    """The use cases of one process, with ports that take time and may fail."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._process = process
        self._clock = world.scheduler.clock(process)
        self._grace = timedelta(seconds=world.plan.grace)
        port = StorePort(
            world.store,
            world.step,
            sleep=world.scheduler.sleep,
            lag=world.lag,
            wrote=world.wrote,
        )
        self._store = cast("Store", port)
        self.queue = Port("queue", world.queue, world.step)
        self.stream = Port("stream", world.stream, world.step)
        self._outbox = Outbox(self._store, cast("Publisher", self.stream))
        self._controls = Controls(self._store, pause=self._pause)
        self._enqueuer = Enqueuer(
            self._store,
            cast("Queue", self.queue),
            clock=self._clock,
            grace=self._grace,
            in_parallel=self._in_parallel,
        )
        self._convergence = Convergence(
            self._store, self._controls, self._enqueuer, clock=self._clock
        )

    def _new_id(self) -> str:
        return f"{self._world.number():024x}"

    def _pause(self, attempt: int) -> None:
        self._world.scheduler.sleep(self._world.random.uniform(0, 0.01 * attempt))

    def bridge(self) -> Bridge:
        consumer, queue = cast("Consumer", self.stream), cast("Queue", self.queue)
        return Bridge(consumer, queue, restoring=self._world.restoring)

    def catalog(self) -> Catalog:
        return Catalog(
            self._store,
            self._outbox,
            clock=self._clock,
            grace=self._grace,
            new_id=self._new_id,
            restoring=self._world.restoring,
            pause=self._pause,
        )

    def sync(self) -> Sync:
        world = self._world
        return Sync(
            self._store,
            cast("Queue", self.queue),
            self._outbox,
            Caller(world, self._process),
            SyncPolicy(
                world.plan.schedule,
                LEASE,
                self._grace,
                10,
                max_in_flight=world.plan.max_in_flight,
                jitter=world.random.random,
                restoring=world.restoring,
            ),
            Admissions(self._controls, world.plan.breaker, clock=self._clock),
            Activity(self._store, clock=self._clock),
            clock=self._clock,
            in_parallel=self._in_parallel,
        )

    def operations(self) -> Operations:
        operations = Operations(
            self._store,
            self._controls,
            self._enqueuer,
            self._convergence,
            self._world.plan.breaker,
            self._acts(),
            clock=self._clock,
            grace=self._grace,
            pause=self._pause,
        )
        operations.redriven_at_once = self._world.plan.page
        return operations

    def _acts(self) -> Acts:
        return Acts(self._store, clock=self._clock, new_id=self._new_id)

    def audits(self) -> Audits:
        return Audits(
            self._store,
            self._controls,
            self._acts(),
            self._world.plan.breaker,
            repair=True,
            clock=self._clock,
            pause=self._pause,
        )

    def republishes(self) -> Republishes:
        return Republishes(
            self._store,
            self._acts(),
            rate=5.0,
            restoring=self._world.restoring,
            clock=self._clock,
            pause=self._pause,
        )

    def _questions(self) -> Questions:
        return Questions(
            self._controls,
            Caller(self._world, self._process).ask,
            self._world.plan.breaker,
            clock=self._clock,
            in_parallel=self._in_parallel,
        )

    def restores(self) -> Restores:
        return Restores(
            self._store,
            self._controls,
            self._acts(),
            self._world.plan.breaker,
            restoring=self._world.restoring,
            clock=self._clock,
            pause=self._pause,
        )

    def _dead_letters(self) -> DeadLetters:
        return DeadLetters(self._store, cast("Queue", self.queue), clock=self._clock)

    def _restorer(self) -> Restorer:
        return Restorer(
            self._store,
            cast("StreamReader", self.stream),
            self._dead_letters(),
            self.restores(),
            self._questions(),
            self.audits(),
            clock=self._clock,
            grace=self._grace,
        )

    def _auditor(self) -> Auditor:
        plan, clock, questions = self._world.plan, self._clock, self._questions()
        repairs = Repairs(self._store, self._outbox, self._enqueuer, clock=clock, grace=self._grace)
        policy = AuditPolicy(plan.sample, rate=2.0)
        return Auditor(
            self._store, self.audits(), questions, repairs, policy, plan.breaker, clock=clock
        )

    def reconcile(self) -> Reconcile:
        reconcile = Reconcile(
            self._store,
            self._outbox,
            self._enqueuer,
            self._dead_letters(),
            self._convergence,
            self._auditor(),
            Republisher(self._store, self.republishes(), self._outbox, clock=self._clock),
            self._restorer(),
            self._world.plan.breaker,
            clock=self._clock,
            grace=self._grace,
            restoring=self._world.restoring,
            sleep=self._world.scheduler.sleep,
        )
        reconcile.page = self._world.plan.page
        return reconcile

    def _in_parallel(
        self, work: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[list[tuple[Item, Result]]]:
        return self._world.scheduler.in_parallel(work, items, self._world.random)


def run_bridge(world: World, process: Process) -> None:
    """Forward events for ever."""
    bridge = Parts(world, process).bridge()
    while True:
        if world.restoring:
            # As `drain` does, whose time is the host's.
            world.scheduler.sleep(1.0)
            continue
        try:
            done = bridge.forward_once(timeout=0)
        except AWAY:
            world.scheduler.sleep(1.0)
            continue
        if done.forwarded:
            world.say(process.name, f"forwards {done.forwarded}")
            world.scheduler.notify("queue")
        else:
            world.scheduler.wait("stream", world.plan.period / LOOKS)


def run_worker(world: World, process: Process) -> None:
    """Receive, deliver and delete messages for ever."""
    parts = Parts(world, process)
    sync, clock = parts.sync(), world.scheduler.clock(process)
    while True:
        try:
            messages = parts.queue.receive() if _is_visible(world) else []
            if not messages:
                world.scheduler.wait("queue", _until_visible(world))
                continue
            world.say(process.name, f"receives {[(item.id, item.body) for item in messages]}")
            # By the worker's own clock, as its host gives it.
            kept = sync.handle([replace(item, received=clock()) for item in messages])
            parts.queue.delete([item.receipt for item in messages if item.id not in kept])
        except AWAY:
            world.scheduler.sleep(1.0)


def _is_visible(world: World) -> bool:
    due = world.queue.next_visible()
    return due is not None and due <= moment(world.scheduler.now)


def _until_visible(world: World) -> float:
    due = world.queue.next_visible()
    if due is None:
        return LONG_POLL
    return min(max((due - moment(world.scheduler.now)).total_seconds(), 0.05), LONG_POLL)


def run_reconcile(world: World, process: Process) -> None:
    """Do one run."""
    end = world.scheduler.now + RECONCILE_SECONDS
    try:
        done = Parts(world, process).reconcile().run(lambda: end - world.scheduler.now)
    except AWAY:
        return
    world.repaired(process, done)


def keep_running(world: World, name: str, role: Callable[[World, Process], None]) -> None:
    """Run a role; when its process crashes, start a new process a little later."""

    def start(after: float) -> None:
        process = world.process(name)
        process.when_crashed = lambda: start(world.random.choice((1.0, 5.0, 40.0)))
        world.scheduler.spawn(process, lambda: role(world, process), after)

    start(0.0)
