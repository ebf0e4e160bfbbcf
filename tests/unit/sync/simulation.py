"""Writers, bridges, workers and reconciles, interleaved, with failures at random."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from chalicelib.domain.delivery import Claim, Outcome, SyncResult, Verdict
from chalicelib.domain.errors import CatalogError, StoreUnavailableError
from chalicelib.domain.product import Product
from chalicelib.domain.retry import Schedule
from chalicelib.usecases.catalog import Origin, Precondition
from tests.fakes import FakeStore, FakeSupplyChain, Pipeline
from tests.unit.sync.steps import WorkerDiedError, die

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Actor:
    """One run of one part of the system, in a thread that goes on only when it is its turn."""

    def __init__(self, deed: Callable[[], object], over: threading.Semaphore) -> None:
        self._deed = deed
        self._turn = threading.Semaphore(0)
        self._over = over
        self.busy_until: datetime | None = None
        self.done = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self._turn.acquire()
        # Whatever goes wrong is this part's problem.
        with contextlib.suppress(CatalogError, WorkerDiedError):
            self._deed()
        self.done = True
        self._over.release()

    def take_turn(self) -> None:
        """Let it go on until it pauses or is done."""
        self._turn.release()
        self._over.acquire()
        if self.done:
            self._thread.join()

    def pause(self) -> None:
        """Let others go on; called in whatever thread works for this actor."""
        self._over.release()
        self._turn.acquire()


class ShakyStore(FakeStore):
    """Pauses, and fails, before and after its work; lets workers die there."""

    def __init__(self, world: Simulation) -> None:
        super().__init__()
        self._world = world

    def _reach(self, method: str) -> None:
        super()._reach(method)
        self._world.pause()
        if self._world.chance(0.02):
            raise StoreUnavailableError(f"{method}: before")

    def _shake(self) -> None:
        self._world.pause()
        if self._world.chance(0.02):
            raise StoreUnavailableError("after")
        if self._world.chance(0.02):
            die()

    def claim(self, claims: Sequence[Claim]) -> set[str]:
        won = super().claim(claims)
        if won:
            self._world.busy_until(claims[0].until)
        self._shake()
        return won

    def record(self, results: Sequence[SyncResult]) -> None:
        super().record(results)
        self._shake()

    def save_change(self, product: Product, *, expected_version: int) -> bool:
        saved = super().save_change(product, expected_version=expected_version)
        self._shake()
        return saved


class ShakySupplyChain(FakeSupplyChain):
    """Fails at random, takes its time, and watches the promises."""

    def __init__(self, clock: Callable[[], datetime], world: Simulation) -> None:
        super().__init__(clock)
        self._world = world
        self._called: set[str] = set()
        self.broken_promises: list[str] = []

    def deliver(self, product: Product, trace: str | None) -> Outcome:
        chance = self._world.chance
        if product.id in self._called:
            self.broken_promises.append(f"two calls at once for {product.id}")
        self._called.add(product.id)
        try:
            self._world.pause()
            if chance(0.03):
                die()
            held = self.held.get(product.id)
            if held is not None and held.version > product.version:
                self.broken_promises.append(f"{product.version} after {held.version}")
            answer = chance.dice.choices([200, 500, 422, None], [9, 5, 1, 3])[0]
            self.answers[product.id] = [200 if chance.calm else answer]
            outcome = super().deliver(product, trace)
            self._world.pause()
            if chance(0.03):
                die()
            if chance(0.05):
                # It has taken place, but nobody hears of it.
                lost = replace(outcome.attempt, status=None, error="no answer")
                return Outcome(lost, Verdict.FAILED)
            return outcome
        finally:
            self._called.discard(product.id)
            self._world.busy_until(None)


class Chance:
    """Dice, and whether anything may go wrong at all."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.calm = False

    def __call__(self, probability: float) -> bool:
        return not self.calm and self.dice.random() < probability


class Simulation(Pipeline):
    """Writers, bridges, workers and reconciles, interleaved in an order that a seed decides."""

    def __init__(self, seed: int) -> None:
        super().__init__(schedule=Schedule(6, 3_000, 1_500), concurrency=1)
        self.chance = Chance(seed)
        self.store = ShakyStore(self)
        self.watched = ShakySupplyChain(self.clock, self)
        self.supply_chain = self.watched
        self.connect()
        self.names = itertools.count()
        self._over = threading.Semaphore(0)
        self._actors: list[Actor] = []
        self._current: Actor | None = None

    # ---- turns ----

    def pause(self) -> None:
        """Let others go on for a while."""
        if self._current is not None and self.chance(0.6):
            self._current.pause()

    def busy_until(self, moment: datetime | None) -> None:
        """Say until when the worker that is on has a lease for the call that it makes."""
        if self._current is not None:
            self._current.busy_until = moment

    def step(self) -> None:
        """Let somebody begin or go on, or time pass."""
        dice = self.chance.dice
        if dice.random() < 0.15:
            self._pass_time()
        if len(self._actors) < 5 and dice.random() < 0.5:
            self._actors.append(Actor(dice.choice(self._deeds()), self._over))
        if self._actors:
            self._go_on(dice.choice(self._actors))

    def finish(self) -> None:
        """Let everybody who has begun come to an end."""
        while self._actors:
            self._go_on(self._actors[0])

    def _go_on(self, actor: Actor) -> None:
        self._current = actor
        actor.take_turn()
        self._current = None
        if actor.done:
            self._actors.remove(actor)

    def _pass_time(self) -> None:
        seconds = self.chance.dice.choice([0.1, 1, 10, 60, 100, 1000])
        for actor in self._actors:
            # A lease is longer than the longest call: it does not end during one.
            if actor.busy_until is not None:
                left = (actor.busy_until - self.clock()).total_seconds()
                seconds = min(seconds, max(0.0, left - 1))
        self.clock.advance(seconds)

    # ---- what they do ----

    def _deeds(self) -> list[Callable[[], object]]:
        return [
            *(self._write, self._write, self.bridge_once, self.bridge_once, self._repeat),
            *(self._sync, self._sync, self._sync, self._sync, self._sync, self._sync),
            *(self.reconcile_once, self._operate, self._disturb),
        ]

    def _any_product(self) -> str:
        return self.chance.dice.choice(sorted(self.store.products) or ["no product"])

    def _write(self) -> None:
        if len(self.store.products) < 2:
            self.create()
        product_id = self._any_product()
        if self.chance(0.1):
            self.catalog.delete(product_id, Precondition(), Origin())
        else:
            self.update(product_id, name=f"name {next(self.names)}")

    def _sync(self) -> None:
        worker, messages = self.a_worker(), self.queue.receive(self.chance.dice.randint(1, 4))
        kept = worker.handle(messages)
        if self.chance(0.05):
            die()
        self.queue.delete([message.receipt for message in messages if message.id not in kept])

    def _operate(self) -> None:
        if self.chance.dice.random() < 0.5:
            self.catalog.redrive({})
        else:
            self.catalog.replay(self._any_product())

    def _repeat(self) -> None:
        """SQS delivers at least once, not exactly once."""
        if self.queue.messages:
            self.queue.send(self.chance.dice.choice(self.queue.messages).body)

    def _disturb(self) -> None:
        self.stream.away = self.chance(0.2)
        self.queue.broken = {
            m
            for m in ("enqueue", "change_visibility", "dead_letter", "receive")
            if self.chance(0.15)
        }
        if self.chance(0.2) and self.queue.messages:
            # An operator may purge the queue, or its disk be lost.
            self.queue.messages.remove(self.chance.dice.choice(self.queue.messages))

    def heal(self) -> None:
        """Nothing goes wrong any more: let all that is left arrive, with an operator's help."""
        self.chance.calm = True
        self.finish()
        self.stream.away, self.queue.broken = False, set()
        for _ in range(40):
            self.catalog.redrive({})
            self.bridge_once()
            while self.sync_once():
                pass
            self.reconcile_once()
            self.clock.advance(400)
