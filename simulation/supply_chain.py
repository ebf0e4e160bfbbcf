"""The supply chain of the simulation: outages, slow and lost answers, answers by idempotency key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from chalicelib.domain.delivery import Outcome, Verdict, judge
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import Attempt
from simulation.scheduler import Crashed, Process, Scheduler, moment

TIMEOUT = 2.0
"""Seconds of a call as a whole, as the catalog limits it."""
ANSWERS = ("ok", "fail", "reject", "lost", "slow")
STATUS = {"ok": 200, "fail": 503, "reject": 422}


@dataclass
class Call:
    """One call: `end` is when its answer comes, which may be after the catalog has hung up."""

    product: Product
    budget: object
    key: str
    start: float
    end: float
    answer: str
    caller: Process
    applied: bool = False


@dataclass
class Mood:
    """How it answers: weights of ANSWERS, an outage from when to when, and its Retry-After."""

    weights: tuple[float, ...] = (1, 0, 0, 0, 0)
    away: tuple[tuple[float, float], ...] = ()
    retry_after: float | None = None


@dataclass
class SupplyChain:
    """What it holds, and every call that it saw.

    `budget_of` says which budget a product as it is delivered belongs to, `key_of` gives the
    idempotency key of its call. `begun` is told of each call, `wished` of each
    that was answered with a Retry-After.
    """

    scheduler: Scheduler
    random: Random
    budget_of: Callable[[Product], object]
    key_of: Callable[[Product], str]
    begun: Callable[[Call], None]
    wished: Callable[[Call], None]
    mood: Mood = field(default_factory=Mood)
    calls: list[Call] = field(default_factory=list)
    accepted: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    remembered: dict[str, tuple[str, object]] = field(default_factory=dict)
    own: Process = field(default_factory=lambda: Process("supply chain"))
    wrong_memory: list[str] = field(default_factory=list)

    def deliver(self, product: Product, trace: str | None, process: Process) -> Outcome:
        """Answer one call, as `ports.SupplyChain` for this process."""
        del trace
        if process.dead:
            raise Crashed
        call = self._call(product, process)
        self.begun(call)
        self.calls.append(call)
        self.scheduler.spawn(self.own, lambda: self._apply(call), (call.end - call.start) / 2)
        self.scheduler.sleep(min(call.end - call.start, TIMEOUT))
        return self._outcome(call)

    def _call(self, product: Product, process: Process) -> Call:
        answer, now = self._answer(), self.scheduler.now
        seconds = self.random.choice((0.05, 0.3, 1.0))
        if answer == "slow":
            seconds = self.random.choice((2 * TIMEOUT, 4 * TIMEOUT, 30 * TIMEOUT))
        key = self.key_of(product)
        return Call(product, self.budget_of(product), key, now, now + seconds, answer, process)

    def _answer(self) -> str:
        now = self.scheduler.now
        if any(begin <= now < end for begin, end in self.mood.away):
            return "fail"
        return self.random.choices(ANSWERS, self.mood.weights)[0]

    def _apply(self, call: Call) -> None:
        """Do what the call asks; a failure does nothing, and is not remembered."""
        if call.answer == "fail":
            return
        if call.key in self.remembered:
            call.answer, budget = self.remembered[call.key]
            if budget != call.budget:
                self.wrong_memory.append(call.key)
            return
        if call.answer != "reject":
            self.accepted[call.product.id].append(call.product.version)
        call.applied = True
        self.remembered[call.key] = ("reject" if call.answer == "reject" else "ok", call.budget)

    def _outcome(self, call: Call) -> Outcome:
        heard = self.scheduler.now >= call.end and call.answer != "lost"
        status = STATUS[call.answer] if heard else None
        verdict = Verdict.FAILED
        if status is not None:
            deleting = call.product.deleted_at is not None
            verdict = judge(status, deleting=deleting, reject_statuses={413, 422})
        error = (
            None if verdict is Verdict.DELIVERED else f"HTTP {status}" if status else "no answer"
        )
        duration = self.scheduler.now - call.start
        attempt = Attempt(moment(call.start), call.product.version, status, duration, error)
        wish = self.mood.retry_after
        after = moment(self.scheduler.now + wish) if wish and status == 503 else None
        if after:
            self.wished(call)
        return Outcome(attempt, verdict, after)
