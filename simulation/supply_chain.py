"""The simulated supply chain: outages, slow, lost and wrong answers, answers stored by key."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

from chalicelib.domain import exact_json
from chalicelib.domain.answers import Answer, Judgement, judge
from chalicelib.domain.delivery import Outcome, Verdict
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import Attempt
from simulation.scheduler import Crashed, Process, Scheduler, moment

TIMEOUT = 2.0
"""Seconds of a call as a whole, as the catalog limits it."""
ANSWERS = ("ok", "fail", "reject", "lost", "slow", "deny")
DOWN = ("fail", "down")
"""Answers of an outage; "down" is none at all."""
STATUS = {"ok": 200, "fail": 503, "reject": 422, "deny": 404, "absent": 404, "stale": 409}
"""`deny`: it says that there is no such product, whatever it holds. `stale`: it holds a newer one,
which it was never sent."""
DENIALS = 2
"""How often in a row it denies one product: the call, and one question after it."""


@dataclass
class Call:
    """One call. It ends at `end`, which may be after the catalog's timeout."""

    product: Product
    start: float
    end: float
    answer: str
    caller: Process

    @property
    def key(self) -> str:
        """Its idempotency key."""
        return self.product.idempotency_key

    def holds_at(self, now: float) -> bool:
        """Say whether the catalog still waits for it."""
        return now < self.ended and not self.caller.dead

    @property
    def ended(self) -> float:
        """When the catalog has its answer, or waits no longer."""
        return min(self.end, self.start + TIMEOUT)

    @property
    def failed(self) -> bool:
        """Say whether the catalog does not learn that the supply chain works."""
        return self.answer in {*DOWN, "lost"} or self.end > self.start + TIMEOUT


@dataclass(frozen=True)
class Held:
    """What it holds of a product: its version, and its price for all of its data."""

    version: int
    price: Decimal


@dataclass(frozen=True)
class Mood:
    """How it answers: weights of ANSWERS, outages from when to when, and its Retry-After.

    `poison`: it fails for the product with this price, always.
    """

    weights: tuple[float, ...] = (1, 0, 0, 0, 0, 0)
    away: tuple[tuple[float, float], ...] = ()
    retry_after: float | None = None
    poison: int | None = None


@dataclass
class SupplyChain:
    """What it has accepted, and every call that it saw.

    It remembers each answer by its key, and which budget it was given to: `wrong_memory` holds the
    keys under which another budget asked. `deleted` holds the version of each tombstone that it
    has accepted. `begun` is told of each call, `wished` of each that was answered with a
    Retry-After. `contents`: what it holds, which somebody may change behind our back (`tamper`).
    """

    scheduler: Scheduler
    random: Random
    begun: Callable[[Call], None]
    wished: Callable[[Call, float], None]
    asked: Callable[[Process], None]
    mood: Mood = field(default_factory=Mood)
    calls: list[Call] = field(default_factory=list)
    accepted: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    deleted: dict[str, int] = field(default_factory=dict)
    wrong_memory: list[str] = field(default_factory=list)
    contents: dict[str, Held] = field(default_factory=dict)
    _denied: Counter[str] = field(default_factory=Counter)
    _remembered: dict[str, tuple[str, int]] = field(default_factory=dict)
    _own: Process = field(default_factory=lambda: Process("supply chain"))

    def deliver(self, product: Product, process: Process) -> Outcome:
        """Answer one call of a process."""
        if process.dead:
            raise Crashed
        call = self._call(product, process)
        self.begun(call)
        self.calls.append(call)
        # The effect does not depend on the caller, which may time out or crash.
        self.scheduler.spawn(self._own, lambda: self._apply(call), (call.end - call.start) / 2)
        self.scheduler.sleep(min(call.end - call.start, TIMEOUT))
        return self._outcome(call)

    def held(self, product_id: str) -> int | None:
        """Give the version that it holds, None if it holds none: it compares versions."""
        held = self.contents.get(product_id)
        return None if held is None else held.version

    def ask(self, product: Product, process: Process) -> Answer | None:
        """Answer a question that follows no call."""
        if process.dead:
            raise Crashed
        self.asked(process)
        self.scheduler.sleep(self.random.choice((0.05, 0.3)))
        answer = self._answer(product)
        if answer in {"down", "lost", "slow"}:
            return None
        if answer == "fail":
            return Answer(STATUS["fail"])
        if answer == "deny" and self._denied[product.id] < DENIALS:
            self._denied[product.id] += 1
            return Answer(STATUS["deny"])
        self._denied[product.id] = 0
        return self._told(product.id)

    def _told(self, product_id: str) -> Answer:
        held = self.contents.get(product_id)
        if held is None:
            return Answer(STATUS["absent"])
        body = {"id": product_id, "version": held.version, "price": held.price}
        return Answer(STATUS["ok"], exact_json.dumps(body).encode())

    def tamper(self, product: Product, how: str) -> None:
        """Change what it holds of a product, behind our back."""
        price = product.fields.price
        changed = {
            "older": Held(product.version - 1, price),
            "newer": Held(product.version + self.random.choice((1, 5)), price + 100),
            "different": Held(product.version, price + 100),
            "undeleted": Held(product.version, price),
        }
        self.contents.pop(product.id, None)
        if how in changed:
            self.contents[product.id] = changed[how]

    def _call(self, product: Product, process: Process) -> Call:
        answer, now = self._answer(product), self.scheduler.now
        seconds = self.random.choice((0.05, 0.3, 1.0))
        if answer == "slow":
            seconds = self.random.choice((2 * TIMEOUT, 4 * TIMEOUT, 30 * TIMEOUT))
        return Call(product, now, now + seconds, answer, process)

    def _answer(self, product: Product) -> str:
        now = self.scheduler.now
        if any(begin <= now < end for begin, end in self.mood.away):
            return self.random.choice(DOWN)
        if product.fields.price == self.mood.poison:
            return "fail"
        return self.random.choices(ANSWERS, self.mood.weights)[0]

    def _apply(self, call: Call) -> None:
        """Do what the call asks; a failure does nothing, and is not remembered."""
        if call.answer in {*DOWN, "deny"}:
            return
        budget = call.product.sync.budget
        if call.key in self._remembered:
            call.answer, asked_by = self._remembered[call.key]
            if asked_by != budget:
                self.wrong_memory.append(call.key)
            return
        if call.answer != "reject":
            self._accept(call)
        remembered = call.answer if call.answer in {"reject", "absent", "stale"} else "ok"
        self._remembered[call.key] = (remembered, budget)

    def _accept(self, call: Call) -> None:
        product = call.product
        if product.deleted_at is not None:
            if self.held(product.id) is None and call.answer == "ok":
                call.answer = "absent"
            self.deleted[product.id] = product.version
            self.contents.pop(product.id, None)
        elif self._is_stale(product):
            call.answer = "stale" if call.answer == "ok" else call.answer
            return
        self.accepted[product.id].append(product.version)
        newest = product.version == max(self.accepted[product.id])
        if newest and product.deleted_at is None:
            self.contents[product.id] = Held(product.version, product.fields.price)

    def _is_stale(self, product: Product) -> bool:
        """Say whether it holds a newer version than it was ever sent."""
        held, sent = self.held(product.id), self.accepted[product.id]
        return held is not None and held > max([product.version, *sent])

    def _outcome(self, call: Call) -> Outcome:
        heard = self.scheduler.now >= call.end and call.answer != "lost"
        status = STATUS.get(call.answer) if heard else None
        judgement = Judgement(Verdict.FAILED, "silent")
        if status is not None:
            judgement = judge(call.product, Answer(status), self._questions(call), {413, 422})
        duration = self.scheduler.now - call.start
        error, version = judgement.error, call.product.version
        attempt = Attempt(moment(call.start), version, status, duration, error)
        if self.mood.retry_after is None or status != STATUS["fail"]:
            return Outcome(attempt, judgement.verdict)
        until = self.scheduler.now + self.mood.retry_after
        self.wished(call, until)
        return Outcome(attempt, judgement.verdict, moment(until))

    def _questions(self, call: Call) -> Callable[[], Answer]:
        """Make what answers the questions after a call."""
        denials = DENIALS - 1 if call.answer == "deny" else 0

        def ask() -> Answer:
            nonlocal denials
            self.scheduler.sleep(self.random.choice((0.05, 0.3)))
            if self._answer(call.product) in DOWN:
                return Answer(STATUS["fail"])
            if denials and self.random.random() < 1 / 2:
                denials -= 1
                return Answer(STATUS["deny"])
            return self._told(call.product.id)

        return ask
