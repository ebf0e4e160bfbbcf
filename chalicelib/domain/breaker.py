"""The circuit breaker and the rate limit that all workers share. Pure; durations in seconds.

Closed, every call is allowed. The breaker opens when most calls for many products fail in a way
that no product causes: the supply chain is down. While it is open one probe at a time is allowed.
After several probes that were answered it closes; then calls per second are limited at first, and
the limit doubles with every step of the ramp.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from chalicelib.domain.times import LONG_AGO

RAMP_STEPS = 10
"""Steps of the ramp: after so many doublings there is no limit."""
LONGEST_COOLDOWN = timedelta(hours=1)
"""The longest Retry-After that stops the calls for all products. A product waits for its own."""
SAVED = timedelta(seconds=1)
"""How long unused permits are kept; longer than the difference of two workers' clocks."""
LONGEST_QUEUE = timedelta(minutes=10)
"""The longest wait of a refused call before it asks again. A limit that is raised meanwhile has no
effect on it."""


class BreakerState(StrEnum):
    """The state of the circuit breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When the breaker opens and closes, and how many calls per second are allowed.

    It opens when in the last `window` seconds at least `failures` calls for at least `products`
    products have failed, and these are at least the share `share` of all calls. Calls for products
    that fail again count only if no call is answered. A probe comes
    `probe_every` seconds after one that failed; one that says nothing for `probe_within` seconds is
    lost. After `successes` probes it closes, and the limit is `ramp_rate` calls per second, doubled
    every `ramp_step` seconds. `max_rate`: calls per second at any time, None for no limit.
    """

    failures: int = 10
    products: int = 5
    share: float = 0.8
    window: float = 30.0
    probe_every: float = 2.0
    probe_within: float = 40.0
    successes: int = 3
    ramp_rate: float = 20.0
    ramp_step: float = 5.0
    max_rate: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker has seen: calls, and the products whose calls failed systemically.

    `cooldown_until`: the latest Retry-After of the answers 429 and 503. `reason`: one error.
    `repeated`: how many of the failures are of products whose call before has failed as well.
    """

    calls: int
    failures: int = 0
    products: frozenset[str] = frozenset()
    reason: str | None = None
    cooldown_until: datetime | None = None
    repeated: int = 0

    def plus(self, other: Report) -> Report:
        """Add another report."""
        until = max(filter(None, (self.cooldown_until, other.cooldown_until)), default=None)
        return Report(
            self.calls + other.calls,
            self.failures + other.failures,
            self.products | other.products,
            other.reason or self.reason,
            until,
            self.repeated + other.repeated,
        )


@dataclass(frozen=True, slots=True)
class Tally:
    """The calls that were reported within the second after `at`."""

    at: datetime
    calls: int = 0
    failures: int = 0
    products: frozenset[str] = frozenset()
    repeated: int = 0

    def plus(self, report: Report) -> Tally:
        """Add a report."""
        return Tally(
            self.at,
            self.calls + report.calls,
            self.failures + report.failures,
            self.products | report.products,
            self.repeated + report.repeated,
        )


@dataclass(frozen=True, slots=True)
class Admission:
    """How many calls a worker may make now, of those that it wants to make.

    `probe`: the one that is allowed is a probe. `again`: when to ask again for each of the others;
    None if that is unknown, since the breaker is open or an operator has paused.
    """

    granted: int
    probe: bool = False
    again: tuple[datetime, ...] | None = ()


@dataclass(frozen=True, slots=True)
class Breaker:
    """The state that all workers share.

    `since`: when it opened, or closed again. `reason`: why it is open. `probe_at`: when the next
    probe may begin. `successes`: probes that were answered since the failures of two products.
    `suspect`: the product of the last probe that failed. `ramp_since`: when the ramp began.
    `cooldown_until`: no call before, in any state. `spent_until`: the permits up to this time are
    used up. `queued_until`: the latest time at which a refused call asks again.
    """

    state: BreakerState = BreakerState.CLOSED
    since: datetime | None = None
    reason: str | None = None
    probe_at: datetime | None = None
    successes: int = 0
    suspect: str | None = None
    ramp_since: datetime | None = None
    cooldown_until: datetime | None = None
    spent_until: datetime | None = None
    queued_until: datetime | None = None
    tallies: tuple[Tally, ...] = ()

    @property
    def is_closed(self) -> bool:
        """Say whether calls are allowed."""
        return self.state is BreakerState.CLOSED

    def ramp_end(self, policy: BreakerPolicy) -> datetime:
        """Say when the last ramp ends, or has ended; long ago if there was none."""
        if self.ramp_since is None:
            return LONG_AGO
        return self.ramp_since + timedelta(seconds=RAMP_STEPS * policy.ramp_step)

    # ---- before calls ----

    def is_due(self, now: datetime) -> bool:
        """Say whether the next probe may begin."""
        waits = (self.probe_at, self.cooldown_until)
        return not self.is_closed and all(until is None or now >= until for until in waits)

    def limit(self, now: datetime, policy: BreakerPolicy) -> float | None:
        """Give the calls per second that are allowed now while it is closed; None for no limit."""
        limits = [] if policy.max_rate is None else [policy.max_rate]
        steps = self._steps(now, policy)
        limits += [policy.ramp_rate * 2**steps] if steps < RAMP_STEPS else []
        return min(limits, default=None)

    def doubles_at(self, now: datetime, policy: BreakerPolicy) -> datetime | None:
        """Give when the limit of the ramp is doubled next, or ends; None if there is no ramp."""
        steps = self._steps(now, policy)
        if self.ramp_since is None or steps >= RAMP_STEPS:
            return None
        return self.ramp_since + (steps + 1) * timedelta(seconds=policy.ramp_step)

    def is_ramping(self, now: datetime, policy: BreakerPolicy) -> bool:
        """Say whether the limit still rises after an outage or a pause."""
        return self._steps(now, policy) < RAMP_STEPS

    def _steps(self, now: datetime, policy: BreakerPolicy) -> int:
        """Count the steps of the ramp that are done; RAMP_STEPS if there is none."""
        if self.ramp_since is None:
            return RAMP_STEPS
        return max(0, (now - self.ramp_since) // timedelta(seconds=policy.ramp_step))

    def admit(self, wanted: int, now: datetime, policy: BreakerPolicy) -> tuple[Admission, Breaker]:
        """Decide about `wanted` calls; the breaker is the same object if nothing has changed."""
        if not self.is_closed:
            return self._admit_probe(now, policy)
        soon = timedelta(seconds=2 * policy.ramp_step)
        if self.cooldown_until is not None and now < self.cooldown_until:
            return _queue(self, 0, wanted, self.cooldown_until, policy.ramp_rate, soon)
        limit = self.limit(now, policy)
        if limit is None:
            return Admission(wanted), self
        saved = max(SAVED, timedelta(seconds=1 / limit))
        start = max(self.spent_until or now - saved, now - saved)
        if start > now + SAVED:
            # The clock of another worker was wrong.
            start = now - saved
        # A little more, since a permit's time is rounded to microseconds.
        permits = math.floor((now - start).total_seconds() * limit + 0.001)
        # Negative if a worker whose clock is ahead has used them up.
        granted = max(0, min(wanted, permits))
        spent_until = start + timedelta(seconds=granted / limit)
        spent = replace(self, spent_until=spent_until) if granted else self
        if self.ramp_since is None or policy.max_rate == limit:
            return _queue(spent, granted, wanted - granted, now, limit, LONGEST_QUEUE)
        # The ramp goes on meanwhile, so the waits are shorter than the current rate says.
        fresh = replace(spent, queued_until=None)
        admission, _ = _queue(fresh, granted, wanted - granted, now, limit, soon)
        return admission, spent

    def _admit_probe(self, now: datetime, policy: BreakerPolicy) -> tuple[Admission, Breaker]:
        if not self.is_due(now):
            return Admission(0, again=None), self
        lost_at = now + timedelta(seconds=policy.probe_within)
        probing = replace(self, state=BreakerState.HALF_OPEN, probe_at=lost_at)
        return Admission(1, probe=True, again=None), probing

    # ---- after calls ----

    def reported(self, report: Report, now: datetime, policy: BreakerPolicy) -> Breaker:
        """Add what a worker has seen. Only the answer of a probe closes the breaker."""
        told = _not_before(self, report.cooldown_until, now)
        if not self.is_closed:
            return told
        counted = replace(told, tallies=self._tallied(report, now, policy))
        long = now + timedelta(seconds=policy.ramp_step)
        waits = counted.cooldown_until is not None and counted.cooldown_until >= long
        if waits or _is_down(counted.tallies, policy):
            return _opened(counted, now, report.reason, policy)
        return counted

    def probed(self, report: Report | None, now: datetime, policy: BreakerPolicy) -> Breaker:
        """Note what a probe has seen; None: it was not made, so another one may be."""
        if self.is_closed:
            return self
        if report is None:
            # If it comes late, another probe has found the supply chain down meanwhile.
            under_way = self.state is BreakerState.HALF_OPEN
            return replace(self, probe_at=now) if under_way else self
        if report.failures:
            return _not_before(self._failed(report, now, policy), report.cooldown_until, now)
        if self.successes + 1 < policy.successes:
            return replace(self, successes=self.successes + 1, probe_at=now)
        return _closed(self, now)

    def starved(self, now: datetime) -> Breaker:
        """Close it if a probe was answered and no product but the suspect is left to ask with.

        If the supply chain is down after all, the next failures open it again.
        """
        if self.is_closed or not self.successes:
            return self
        return _closed(self, now)

    def _failed(self, report: Report, now: datetime, policy: BreakerPolicy) -> Breaker:
        """Note a probe that failed. One product that always fails does not keep it open."""
        product = min(report.products)
        alone = self.suspect in {None, product}
        return replace(
            self,
            state=BreakerState.OPEN,
            reason=report.reason,
            probe_at=now + timedelta(seconds=policy.probe_every),
            successes=self.successes if alone else 0,
            suspect=product,
        )

    def _tallied(self, report: Report, now: datetime, policy: BreakerPolicy) -> tuple[Tally, ...]:
        begin = now - timedelta(seconds=policy.window)
        kept = [tally for tally in self.tallies if tally.at > begin]
        recent = bool(kept) and now - kept[-1].at < timedelta(seconds=1)
        new = (kept.pop() if recent else Tally(now)).plus(report)
        # More ids than decide are not stored.
        few = frozenset(sorted(new.products)[: policy.products])
        tallies = (*kept, replace(new, products=few))
        return tallies if any(tally.failures for tally in tallies) else ()


def _queue(
    breaker: Breaker,
    granted: int,
    refused: int,
    start: datetime,
    rate: float,
    longest: timedelta,
) -> tuple[Admission, Breaker]:
    """Spread the refused calls over the time in which there will be permits.

    `longest`: the longest wait after `start`. When the places up to then are taken, they are given
    out from `start` again: a call that is refused several times has taken several of them, so there
    are fewer calls than places.
    """
    latest = start + longest
    begin = max(breaker.queued_until or start, start)
    begin = start if begin >= latest else begin
    again = tuple(min(begin + timedelta(seconds=(n + 1) / rate), latest) for n in range(refused))
    queued = replace(breaker, queued_until=again[-1]) if again else breaker
    return Admission(granted, again=again), queued


def _is_down(tallies: Sequence[Tally], policy: BreakerPolicy) -> bool:
    calls = sum(tally.calls for tally in tallies)
    failures = sum(tally.failures for tally in tallies)
    if failures < calls:
        # Some calls are answered, so products that fail again and again fail for their own reasons.
        repeated = sum(tally.repeated for tally in tallies)
        calls, failures = calls - repeated, failures - repeated
    products = {product for tally in tallies for product in tally.products}
    many = failures >= policy.failures and len(products) >= policy.products
    return many and failures >= policy.share * calls


def _opened(breaker: Breaker, now: datetime, reason: str | None, policy: BreakerPolicy) -> Breaker:
    probe_at = now + timedelta(seconds=policy.probe_every)
    return Breaker(BreakerState.OPEN, now, reason, probe_at, cooldown_until=breaker.cooldown_until)


def _closed(breaker: Breaker, now: datetime) -> Breaker:
    return Breaker(since=now, ramp_since=now, cooldown_until=breaker.cooldown_until)


def _not_before(breaker: Breaker, cooldown_until: datetime | None, now: datetime) -> Breaker:
    """Let no call begin before the end of a Retry-After, in any state."""
    if cooldown_until is None or cooldown_until <= now:
        return breaker
    until = min(cooldown_until, now + LONGEST_COOLDOWN)
    return replace(breaker, cooldown_until=max(until, breaker.cooldown_until or until))
