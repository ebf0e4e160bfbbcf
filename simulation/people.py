"""What consumers and operators do: writes, replays, redrives, dead letters moved back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from math import inf
from typing import TYPE_CHECKING

from chalicelib.domain.errors import (
    CatalogError,
    DuplicateIdempotencyKeyError,
    ProductNotFoundError,
    StoreUnavailableError,
)
from chalicelib.domain.exact_json import Json
from chalicelib.domain.messages import parse_sync_message
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.usecases.catalog import Origin, Precondition
from simulation.plan import Pause
from simulation.promises import Answer
from simulation.roles import Parts
from simulation.scheduler import Process, moment

if TYPE_CHECKING:
    from simulation.world import World

TAMPERED = 2
"""How often a product is tampered with: after as many repairs, and no audit between that finds it
right, it is left to a person."""


class People:
    """Consumers and operators of one run. A consumer repeats a request that was not answered."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ids: list[str] = []
        self._tampered: Counter[str] = Counter()

    def plan(self) -> None:
        """Spread their requests over the busy time."""
        plan, random = self._world.plan, self._world.random
        for number in range(plan.products):
            self._at(number, lambda price=Decimal(number + 1): self._create(price))  # type: ignore[misc]  # bound per turn
        for _ in range(plan.changes):
            self._at(random.uniform(5, plan.busy), self._change)
        for pause in plan.pauses:
            self._at(pause.begin, lambda pause=pause: self._pause(pause))  # type: ignore[misc]  # bound per turn
        for time, body in plan.redrives:
            self._at(time, lambda body=body: self._redrive(body))  # type: ignore[misc]  # bound per turn
        for time in plan.audits:
            self._at(time, self.audit)
        for time in plan.republishes:
            self._at(time, self.republish)
        for time in plan.tampering:
            self._at(time, self._tamper)
        for _ in range(plan.operations):
            self._at(random.uniform(60, plan.busy), self._operate)

    def _at(self, after: float, act: Callable[[], None]) -> None:
        self._world.scheduler.spawn(Process("somebody"), act, after)

    def request(self, what: str, work: Callable[[Parts], object], after: float = 0.0) -> None:
        """Answer a request in a separate API process, which may crash without an answer."""
        world, process = self._world, self._world.process(f"api {what}")

        def answer() -> None:
            try:
                work(Parts(world, process))
            except CatalogError as error:
                world.say(process.name, type(error).__name__)
            world.scheduler.notify("stream")

        world.scheduler.spawn(process, answer, after)

    # ---- consumers ----

    def _create(self, price: Decimal, after: float = 0.0) -> None:
        # The deletion of what has no key is dropped at once, and of what has one a day later.
        key = f"key {price}" if price % 2 else None

        def create(parts: Parts) -> None:
            try:
                made = parts.catalog().create(_body(price), Origin("consumer", key))
            except (StoreUnavailableError, DuplicateIdempotencyKeyError):
                if key is not None:
                    self._create(price, _patience(after))
                raise
            self._ids.append(made["id"])
            self._answered(made)

        self.request("create", create, after)

    def _change(self) -> None:
        random = self._world.random
        if not self._ids:
            return
        product_id, price = random.choice(self._ids), Decimal(random.randint(1, 5))
        if random.random() < self._world.plan.deletions:
            self._delete(product_id)
        else:
            self._replace(product_id, price)

    def _replace(self, product_id: str, price: Decimal, after: float = 0.0) -> None:
        def change(parts: Parts) -> None:
            try:
                done = parts.catalog().replace(product_id, _body(price), Precondition(), Origin())
            except StoreUnavailableError:
                self._replace(product_id, price, _patience(after))
                raise
            self._answered(done)

        self.request("replace", change, after)

    def _delete(self, product_id: str, after: float = 0.0) -> None:
        def delete(parts: Parts) -> None:
            try:
                parts.catalog().delete(product_id, Precondition(), Origin())
            except StoreUnavailableError:
                self._delete(product_id, _patience(after))
                raise
            except ProductNotFoundError:
                # Gone before, or by this consumer's own request, which was not answered.
                self._world.say("api delete", f"404 {product_id}")
            self._world.promises.gone.append(product_id)

        self.request("delete", delete, after)

    def _answered(self, product: Json) -> None:
        answer = Answer(product["id"], product["version"], product["price"])
        self._world.say("api", f"2xx {answer.product_id} v{answer.version} {answer.price}")
        self._world.promises.answers.append(answer)

    # ---- operators ----

    def _operate(self) -> None:
        random = self._world.random
        kind = random.choice(("replay", "redrive", "move", "move"))
        if kind == "move":
            self._move()
        elif kind == "redrive":
            wanted: tuple[Json, ...] = ({}, {"status": "retrying"}, {"errorKind": "http-500"})
            self._redrive(random.choice(wanted))
        elif self._ids:
            product_id = random.choice(self._ids)
            self.request("replay", lambda parts: parts.operations().replay(product_id))

    def _redrive(self, body: Json) -> None:
        self._world.promises.redrives += 1
        self.request("redrive", lambda parts: parts.operations().redrive(body))

    def audit(self) -> None:
        """Start a full audit; ask again if that is not answered."""
        self._insist("audit", lambda parts: parts.audits().start({}, Origin("operator")))

    def republish(self) -> None:
        """Have the catalog published again; ask again if that is not answered."""
        self._insist("republish", lambda parts: parts.republishes().start({}, Origin("operator")))

    def _insist(self, what: str, start: Callable[[Parts], object]) -> None:
        answered: list[bool] = []

        def ask(parts: Parts) -> None:
            start(parts)
            answered.append(True)

        def again() -> None:
            if not answered:
                self.request(what, ask)
                self._world.scheduler.spawn(Process("somebody"), again, 5.0)

        again()

    def _tamper(self) -> None:
        """Change what the supply chain holds of a product that is delivered."""
        world = self._world
        delivered = [
            product
            for product in world.store.products.values()
            if product.sync.status is SyncStatus.DELIVERED and self._tampered[product.id] < TAMPERED
        ]
        if not delivered:
            return
        product = world.random.choice(delivered)
        live = ("lost", "older", "newer", "different")
        how = world.random.choice(live) if product.deleted_at is None else "undeleted"
        # A tombstone that has no key is dropped within a minute, and nobody finds it afterwards.
        if product.deleted_at is None or product.keyed:
            self._tampered[product.id] += 1
            world.say("somebody", f"tampers with {product.id}: {how}")
            world.supply_chain.tamper(product, how)

    def _pause(self, pause: Pause) -> None:
        until = None if pause.resumed else moment(pause.end).isoformat()
        world = self._world

        def paused() -> None:
            world.watch.pauses.append((world.scheduler.now, pause.end))

        self._control({"paused": True, "until": until}, paused, pause.end)
        if pause.resumed:
            left = pause.end - world.scheduler.now
            self._at(left, lambda: self._control({"paused": False}))

    def _control(
        self, body: Json, then: Callable[[], None] = lambda: None, latest: float = inf
    ) -> None:
        """Ask until it is answered, until `latest`: nobody may stay paused by a lost request."""
        scheduler = self._world.scheduler
        answered: list[bool] = []

        def control(parts: Parts) -> None:
            parts.operations().control(body)
            if not answered:
                then()
            answered.append(True)

        def again() -> None:
            if not answered and scheduler.now < latest:
                self.request("control", control)
                scheduler.spawn(Process("somebody"), again, 5.0)

        again()

    def _move(self) -> None:
        """Move a dead letter back, as the console of SQS does: a new message, the same body."""
        world = self._world
        if not world.queue.dead:
            return
        letter = world.random.choice(world.queue.dead)
        world.queue.dead.remove(letter)
        world.promises.moves[parse_sync_message(letter.body).product_id] += 1
        world.say("operator", f"moves {letter.id} {letter.body}")
        world.queue.send(letter.body)


def _body(price: Decimal) -> Json:
    return {"name": "Anvil", "price": price, "quantity": 1}


def _patience(before: float) -> float:
    """Seconds until a consumer repeats a request: at once, then with growing waits."""
    return 3.0 if before else 0.1
