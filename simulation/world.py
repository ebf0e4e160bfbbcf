"""One run: the servers, the processes of a deployment and the people around it, to the end."""

from __future__ import annotations

import itertools
from datetime import datetime
from random import Random

from chalicelib.domain.control import Control
from chalicelib.domain.errors import (
    CatalogError,
    QueueUnavailableError,
    StoreUnavailableError,
    StreamUnavailableError,
)
from chalicelib.domain.product import Product
from chalicelib.domain.retry import max_receive_count
from chalicelib.usecases.reconcile import Reconciled
from simulation.disaster import Disaster
from simulation.faults import NO_LIMIT, Faults
from simulation.outages import BrokenPromiseError, Watch
from simulation.people import People
from simulation.plan import Plan
from simulation.promises import Promises
from simulation.roles import keep_running, run_bridge, run_reconcile, run_worker
from simulation.scheduler import Crashed, Process, Scheduler, moment, seconds
from simulation.servers import AtLeastOnceQueue, ReplicaSet, WindowedStream
from simulation.supply_chain import Call, SupplyChain

ERRORS: dict[str, type[CatalogError]] = {
    "store": StoreUnavailableError,
    "stream": StreamUnavailableError,
    "queue": QueueUnavailableError,
}
FULL_FOR = 15.0
"""Seconds until each worker knows that the queue is full, and has ended its batch."""
AUDITED_WITHIN = 5
"""Periods of reconcile in which an audit ends, and what it has found is delivered again."""
CUTS = 30
"""Steps of the search for the shortest run that still breaks the promise."""


class World:
    """Everything of one run.

    `trace` has a line for each event, `broken` the promise that the run has broken. `restoring`:
    the setting CATALOG_MODE of all processes.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = Random(plan.seed)
        self.scheduler = Scheduler()
        self.trace: list[str] = []
        self.broken: BrokenPromiseError | None = None
        self.restoring = False
        self.watch = Watch(
            plan.breaker,
            lambda: self.scheduler.now,
            plan.staleness,
            2 * plan.faults.skew,
            plan.faults.lossless,
        )
        self.promises = Promises(
            plan.schedule.waits, plan.schedule.max_wait, lambda: self.scheduler.now, self.watch
        )
        self.store = ReplicaSet(lambda: self.scheduler.now)
        self.stream = WindowedStream(self._now, plan.faults.window)
        self.queue = AtLeastOnceQueue(
            self._now,
            self.random,
            duplicate=lambda: plan.faults.duplicate if self._faulty else 0.0,
            in_flight=plan.faults.in_flight,
            max_receive_count=plan.receives or max_receive_count(plan.schedule.attempts),
            sent=lambda: self.scheduler.notify("queue"),
            room=plan.max_in_flight,
            crowded=self._crowded,
        )
        self.promises.moved = self.queue.moved
        self.promises.in_order = plan.reconcilers == 1
        self.supply_chain = SupplyChain(
            self.scheduler,
            self.random,
            self._call_begins,
            self.promises.wish,
            lambda process: self.watch.asked(process.name),
            plan.mood,
        )
        self.people = People(self)
        self._disaster = Disaster(self)
        self._processes: list[Process] = []
        self._repairs: list[Reconciled] = []
        self._numbers = itertools.count(1)

    def run(self) -> None:
        """Run to the end, and check the promises. Raises BrokenPromiseError."""
        plan = self.plan
        keep_running(self, "bridge", run_bridge)
        for number in range(plan.workers):
            keep_running(self, f"worker {number}", run_worker)
        for _ in range(plan.reconcilers):
            self._reconcile_every_period()
        self.people.plan()
        self._disaster.plan()
        self._plan_accidents()
        self.scheduler.run(plan.busy)
        self.supply_chain.mood = plan.calm
        self.say("calm", "the faults have ended")
        if self.watch.control.held_by(self._now()) and plan.calm.weights[0] == 1:
            self.scheduler.run(plan.busy + plan.converges)
            self.promises.converged(self.store, plan.calm.poison)
        self.scheduler.run(plan.busy + plan.bound)
        if self.plan.parks_in_time and self.queue.over_limit:
            raise BrokenPromiseError(f"the queue still refuses everybody: {self.queue.over_limit}")
        self._disaster.check()
        if plan.audits or plan.restored:
            self._prove()
        if plan.republishes:
            self._tell_a_new_listener()
        self.promises.check(self.store, self.queue, self.stream, self.supply_chain)
        self._judge_repairs()

    def _prove(self) -> None:
        """Audit twice: the first audit repairs what differs, the second one finds nothing."""
        for _ in range(2):
            self.people.audit()
            self.scheduler.run(self.scheduler.now + AUDITED_WITHIN * self.plan.period)
            self.promises.holds_the_catalog(self.store, self.supply_chain)
        self.promises.proved(self.store)

    def _tell_a_new_listener(self) -> None:
        """Publish the catalog again: who begins to listen now hears all of it."""
        self.people.republish()
        self.scheduler.run(self.scheduler.now + AUDITED_WITHIN * self.plan.period)
        self.promises.heard_anew(self.store, self.stream)

    def _judge_repairs(self) -> None:
        plan = self.plan
        if plan.audits or plan.restored:
            # What differs, or was lifted, is delivered again.
            return
        if self.watch.was_held() or plan.breaker.max_rate or plan.max_in_flight < NO_LIMIT // 2:
            # Parked products are enqueued by reconcile; those that wait for permits are relayed.
            return
        if self.plan.faults.lossless and not self.plan.deadly:
            relayed = sum(done.relayed for done in self._repairs)
            enqueued = sum(done.enqueued for done in self._repairs)
            letters = sum(done.letters for done in self._repairs)
            self.promises.nothing_repaired(relayed, enqueued, letters)
        if self.plan.faults == Faults():
            self.promises.nothing_twice(self.supply_chain)

    # ---- for the processes ----

    def process(self, name: str) -> Process:
        """Make a process, whose clock is a little off."""
        skew = self.plan.faults.skew
        process = Process(name, self.random.uniform(-skew, skew))
        self._processes = [*(it for it in self._processes if it.tasks and not it.dead), process]
        return process

    def restart(self, *, restoring: bool) -> None:
        """End all processes; those that follow have another CATALOG_MODE."""
        self.restoring = restoring
        for process in self._processes:
            if process.tasks and not process.dead:
                self.scheduler.crash(process)
        self._note_control()

    def number(self) -> int:
        """Give an unused number."""
        return next(self._numbers)

    def say(self, who: str, what: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.scheduler.now:10.2f}  {who:14} {what}")

    def step(self, port: str, *, after: bool) -> None:
        """Let time pass in a call of a port; the process may end here, and the call may fail."""
        faults, process, random = self.plan.faults, self.scheduler.process, self.random
        if process.dead:
            raise Crashed
        seconds = random.choice((0.001, 0.003, 0.01, 0.05))
        if self._faulty and random.random() < faults.crash:
            self.say(process.name, f"CRASHES {'after' if after else 'before'} a call of the {port}")
            self.scheduler.crash(process)
            raise Crashed
        if self._faulty and random.random() < faults.pause:
            # Some end near the end of a lease or of a visibility timeout, some much later.
            seconds = random.choice((2.0, random.uniform(4, 26), 61.0, 130.0))
        self.scheduler.sleep(seconds)
        if not after and faults.is_away(port, self.scheduler.now):
            raise ERRORS[port](f"{port}: away")
        if self._faulty and random.random() < faults.error:
            raise ERRORS[port](f"{port}: an error {'after' if after else 'before'} its effect")

    def is_deadly(self, product: Product) -> bool:
        """Say whether a call for this product crashes its worker."""
        return self.plan.deadly and product.fields.price == 1

    def lag(self) -> float:
        """How long the next write takes to reach the majority."""
        lags = self.plan.faults.lags if self._faulty else Faults().lags
        return self.random.choice(lags)

    def wrote(self, method: str, before: dict[str, Product]) -> None:
        """Note and check a write of the store."""
        for product_id, product in self.store.products.items():
            if before.get(product_id) is not product:
                self.say(self.scheduler.process.name, f"{method}: {_describe(product)}")
        self._note_control()
        self.promises.wrote(method, before, self.store.products)

    def _crowded(self, full_for: float) -> None:
        if self.plan.parks_in_time and full_for > FULL_FOR:
            raise BrokenPromiseError(
                f"a long wait is not parked, {full_for:.0f} s after the queue was full"
            )

    def _note_control(self) -> None:
        control = self.store.stored_control
        if control is not self.watch.control:
            self.watch.changed(control)
            self.say("control", _describe_control(control))

    def repaired(self, process: Process, done: Reconciled) -> None:
        """Note the counts of a run of reconcile."""
        self._repairs.append(done)
        if done != Reconciled():
            self.say(process.name, f"{done}")
        self.scheduler.notify("stream")

    # ---- events that no process causes ----

    @property
    def _faulty(self) -> bool:
        return self.scheduler.now < self.plan.faults.until

    def _now(self) -> datetime:
        return moment(self.scheduler.now)

    def _reconcile_every_period(self) -> None:
        plan, timer = self.plan, Process("timer")

        def tick(number: int) -> None:
            process = self.process(f"reconcile {number}")
            self.scheduler.spawn(process, lambda: run_reconcile(self, process))
            self.scheduler.spawn(timer, lambda: tick(number + 1), plan.period)

        self.scheduler.spawn(timer, lambda: tick(0), self.random.uniform(0, plan.period))

    def _plan_accidents(self) -> None:
        faults, fate = self.plan.faults, Process("fate")
        accidents = {
            "the store fails over": (faults.failovers, self.store.fail_over),
            "the consumer is made anew": (faults.consumer_lost, self.stream.lose_consumer),
            "the queue is purged": (faults.purges, self.queue.purge),
            "the stream is lost": (faults.streams_lost, self.stream.lose),
        }
        for what, (times, happen) in accidents.items():
            for time in times:

                def strike(what: str = what, happen: object = happen) -> None:
                    if self._faulty and callable(happen):
                        self.say("fate", what)
                        happen()
                        self._note_control()

                self.scheduler.spawn(fate, strike, time)

    def _call_begins(self, call: Call) -> None:
        product = call.product
        self.say(call.caller.name, f"calls for {product.idempotency_key}: {call.answer}")
        self.promises.begun(call, self.supply_chain)


def _describe(product: Product) -> str:
    sync = product.sync
    gone = " deleted" if product.deleted_at else ""
    return (
        f"{product.id} v{product.version}{gone} r{product.revision} {sync.status} "
        f"budget {sync.budget} attempts {sync.attempts} by {sync.message_id}"
    )


def _describe_control(control: Control) -> str:
    breaker = control.breaker
    return (
        f"{breaker.state} successes {breaker.successes} probe {_clock(breaker.probe_at)} "
        f"cooldown {_clock(breaker.cooldown_until)} pause {control.pause is not None} "
        f"catch-up {control.catch_up} redrive {control.redrive}"
    )


def _clock(time: datetime | None) -> str:
    return f"{seconds(time):.2f}" if time else "-"


def judged(plan: Plan) -> World:
    """Run a plan to its end, or to the promise that it breaks: `broken` of the world."""
    world = World(plan)
    try:
        world.run()
    except BrokenPromiseError as error:
        world.broken = error
    return world


def shortest(plan: Plan) -> World:
    """Find the run with the earliest calm that breaks a promise: the shortest prefix that does."""
    cuts = (plan.cut(plan.busy * part / CUTS) for part in range(1, CUTS))
    return next((world for world in map(judged, cuts) if world.broken), judged(plan))
