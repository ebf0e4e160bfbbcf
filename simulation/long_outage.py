"""`make simulate SCENARIO=long-outage`: 12 hours without the supply chain, a million changes.

A reduced model, not the simulation of the other scenarios: no process, no store, no queue and no
fault of our own. The decisions are the real ones (breaker, schedule, results, parking, bringing
forward), taken once a second, and once for all products that changed within the same second.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random

from chalicelib.domain.breaker import BreakerPolicy, Report
from chalicelib.domain.control import Control
from chalicelib.domain.delivery import (
    PARK_LONGER,
    Claim,
    Outcome,
    Verdict,
    bring_forward,
    conclude,
    next_enqueue,
)
from chalicelib.domain.product import Product
from chalicelib.domain.retry import SQS_MAX_IN_FLIGHT, Schedule
from chalicelib.domain.sync_state import Attempt, SyncState
from simulation.scheduler import moment, seconds
from tests.fakes import a_product

GRACE = timedelta(minutes=5)
CALLS_PER_SECOND = 1000
"""What all workers together can call, and what reconcile enqueues: see docs/performance.md."""
MAX_IN_FLIGHT = 60_000
"""The default of SYNC_MAX_IN_FLIGHT."""
NEVER = BreakerPolicy(failures=10**9)


@dataclass
class Cohort:
    """Products that changed within the same second, and are in the same state: `one` of them."""

    count: int
    one: Product

    def take(self, count: int) -> Cohort:
        """Split so many off."""
        self.count -= count
        return Cohort(count, self.one)


@dataclass
class Figures:
    """What a run has cost. `attempts`: the most that were counted in one budget.

    `converged`: seconds from the end of the outage to the last delivery. `writes`: documents of
    products that were written, also several by one command; `controls`: of the shared document.
    """

    calls: int = 0
    probes: int = 0
    in_flight: int = 0
    parked: int = 0
    postponed: int = 0
    writes: int = 0
    controls: int = 0
    attempts: int = 0
    counted: int = 0
    delivered: int = 0
    exhausted: int = 0
    converged: float = 0.0

    def __str__(self) -> str:
        """Give a line for each figure."""
        lines = {
            "calls during the outage": f"{self.calls:,} ({self.probes:,} of them probes)",
            "attempts counted": f"{self.counted:,}, at most {self.attempts} of a product",
            "largest number in flight": f"{self.in_flight:,} (SQS: {SQS_MAX_IN_FLIGHT:,})",
            "parkings": f"{self.parked:,}, looked at again while parked: {self.postponed:,}",
            "writes": f"{self.writes:,} of products, {self.controls:,} of the shared state",
            "time to converge after it": f"{self.converged / 60:.1f} min",
            "delivered": f"{self.delivered:,}, exhausted: {self.exhausted:,}",
        }
        return "\n".join(f"  {name:26} {value}" for name, value in lines.items())


class LongOutage:
    """Runs the model second by second. `seconds`: how long the outage is."""

    def __init__(self, products: int, seconds: int, policy: BreakerPolicy, seed: int = 0) -> None:
        self._products = products
        self._seconds = seconds
        self._policy = policy
        self._random = Random(seed)
        self._schedule = Schedule()
        self._control = Control()
        self._ready: deque[Cohort] = deque()
        self._numbers = itertools.count()
        self._deferred: list[tuple[float, int, Cohort]] = []
        self._parked: list[tuple[float, int, Cohort]] = []
        self._in_flight = 0
        self.figures = Figures()

    def run(self) -> Figures:
        """Run until everything is delivered, or has failed."""
        figures, time = self.figures, 0
        while figures.delivered + figures.exhausted < self._products:
            before = self._control
            self._change(time)
            self._look_at_parked(time)
            while self._deferred and self._deferred[0][0] <= time:
                cohort = heapq.heappop(self._deferred)[2]
                self._in_flight -= cohort.count
                self._ready.append(cohort)
            self._work(time)
            figures.controls += self._control != before
            time += 1
        figures.converged = float(time - self._seconds)
        return figures

    # ---- the second that begins at `time` ----

    def _change(self, time: int) -> None:
        """Products change evenly during the outage."""
        if time >= self._seconds:
            return
        share = self._products / self._seconds
        count = int((time + 1) * share) - int(time * share)
        if count:
            now = moment(time)
            product = a_product(
                id=f"{time}", created_at=now, updated_at=now, sync=SyncState(behind_since=now)
            )
            self._ready.append(Cohort(count, replace(product, outbox=())))

    def _look_at_parked(self, time: int) -> None:
        """Reconcile: bring forward after the outage, enqueue what is due, look again if held."""
        now, room = moment(time), CALLS_PER_SECOND
        control = self._control
        if control.held_by(now) is None and control.catch_up is not None:
            limit = control.breaker.limit(now, self._policy)
            self._bring_forward(time, min(room, int(limit) if limit else room))
            return
        while self._parked and self._parked[0][0] <= time:
            cohort = heapq.heappop(self._parked)[2]
            self.figures.writes += cohort.count
            if control.held_by(now) is None:
                self._ready.append(cohort)
                continue
            self.figures.postponed += cohort.count
            self._push(self._parked, seconds(next_enqueue(cohort.one, now, GRACE)), cohort)

    def _bring_forward(self, time: int, limit: int) -> None:
        if not limit:
            return
        # Once per outage; afterwards it is sorted already.
        self._parked.sort(key=lambda item: (item[2].one.sync.behind_since, item[1]))
        left = limit
        while self._parked and left:
            cohort = self._parked[0][2]
            part = cohort.take(min(left, cohort.count))
            left -= part.count
            if not cohort.count:
                self._parked.pop(0)
            forward = bring_forward(part.one, moment(time), moment(time))
            self._ready.append(Cohort(part.count, forward.after if forward else part.one))
            self.figures.writes += 2 * part.count
        if not self._parked:
            self._control = replace(self._control, catch_up=None)

    def _work(self, time: int) -> None:
        """The workers: make the calls that are allowed, defer or park the others."""
        now, taken = moment(time), self._take(CALLS_PER_SECOND)
        wanted = sum(cohort.count for cohort in taken)
        control = self._control
        if not control.breaker.is_closed and not wanted:
            taken, wanted = self._feed_probe(time), 1
        if not wanted:
            return
        admission, self._control = control.admit(wanted, now, self._policy)
        called, refused = _split(taken, admission.granted)
        in_hand = self._in_flight + wanted
        self.figures.in_flight = max(self.figures.in_flight, in_hand)
        for cohort in refused:
            if admission.again is None:
                self._park(cohort, seconds(next_enqueue(cohort.one, now, GRACE)))
            else:
                self._defer(cohort, seconds(max(admission.again)), now_in=time)
        if called:
            self._call(called, time, probe=admission.probe)

    def _feed_probe(self, time: int) -> list[Cohort]:
        if not self._control.breaker.is_due(moment(time)) or not self._parked:
            return []
        due, number, cohort = heapq.heappop(self._parked)
        self.figures.writes += 2
        if cohort.count > 1:
            heapq.heappush(self._parked, (due, number, cohort))
            return [cohort.take(1)]
        return [cohort]

    def _call(self, called: Sequence[Cohort], time: int, *, probe: bool) -> None:
        down, figures = time < self._seconds, self.figures
        calls = sum(cohort.count for cohort in called)
        figures.writes += 2 * calls
        if down:
            figures.calls += calls
            figures.probes += calls if probe else 0
        now, status = moment(time), 503 if down else 200
        verdict = Verdict.FAILED if down else Verdict.DELIVERED
        attempt = Attempt(now, 0, status, 0.3, f"HTTP {status}" if down else None)
        outcome = Outcome(attempt, verdict)
        # More ids than decide are not needed.
        ids = (f"{cohort.one.id}-{n}" for cohort in called for n in range(cohort.count))
        failed = frozenset(itertools.islice(ids, self._policy.products)) if down else frozenset()
        report = Report(calls, calls if down else 0, failed, attempt.error)
        if probe:
            self._control = self._control.probed(report, now, self._policy)
        else:
            self._control = self._control.reported(report, now, self._policy)
        for cohort in called:
            self._conclude(cohort, outcome, time, probe=probe)

    def _conclude(self, cohort: Cohort, outcome: Outcome, time: int, *, probe: bool) -> None:
        claim = Claim(cohort.one, cohort.one, "", None)
        result = conclude(
            claim,
            outcome,
            self._schedule,
            now=moment(time),
            jitter=self._random.random(),
            grace=GRACE,
            probe=probe,
        )
        figures, sync = self.figures, result.product.sync
        cohort.one, figures.attempts = result.product, max(figures.attempts, sync.attempts)
        figures.counted += cohort.count * (sync.attempts - claim.product.sync.attempts)
        if result.delivered:
            figures.delivered += cohort.count
        elif result.failed:
            figures.exhausted += cohort.count
        elif sync.parked and sync.overdue_at is not None:
            self._park(cohort, seconds(sync.overdue_at))
        elif sync.next_attempt_at is not None:
            self._defer(cohort, seconds(sync.next_attempt_at), now_in=time)

    # ---- what waits ----

    def _defer(self, cohort: Cohort, until: float, *, now_in: int) -> None:
        """Defer the message; or park the product, if the wait is long and the queue is full."""
        long = until - now_in > PARK_LONGER.total_seconds()
        if long and self._in_flight >= MAX_IN_FLIGHT:
            self._park(cohort, until)
            return
        self._in_flight += cohort.count
        self.figures.in_flight = max(self.figures.in_flight, self._in_flight)
        self._push(self._deferred, until, cohort)

    def _park(self, cohort: Cohort, until: float) -> None:
        sync = replace(cohort.one.sync, parked=True, message_id=None)
        cohort.one = replace(cohort.one, sync=sync)
        self.figures.parked += cohort.count
        self.figures.writes += cohort.count
        self._push(self._parked, until, cohort)

    def _push(self, heap: list[tuple[float, int, Cohort]], time: float, cohort: Cohort) -> None:
        heapq.heappush(heap, (time, next(self._numbers), cohort))

    def _take(self, limit: int) -> list[Cohort]:
        """Receive so many messages."""
        taken: list[Cohort] = []
        while self._ready and limit:
            cohort = self._ready[0]
            part = cohort.take(min(limit, cohort.count))
            limit -= part.count
            taken.append(part)
            if not cohort.count:
                self._ready.popleft()
        return taken


def _split(cohorts: Sequence[Cohort], granted: int) -> tuple[list[Cohort], list[Cohort]]:
    first: list[Cohort] = []
    rest = list(cohorts)
    while rest and granted:
        part = rest[0].take(min(granted, rest[0].count))
        granted -= part.count
        first.append(part)
        if not rest[0].count:
            rest.pop(0)
    return first, rest


def main(products: int = 1_000_000, hours: int = 12) -> None:
    """Print the figures with the breaker, and without it."""
    print(f"{hours} h outage, {products:,} products change during it (a model: see its docstring)")
    for name, policy in (("with the breaker", BreakerPolicy()), ("without it", NEVER)):
        print(f"{name}:\n{LongOutage(products, hours * 3600, policy).run()}")
