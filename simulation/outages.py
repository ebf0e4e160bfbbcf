"""The promises about outages, pauses and limits: who may call when, how fast, and what is counted.

The truth is the control document as it is stored at each moment, and what operators were answered.
A worker may know it a little late: see `Watch.staleness`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from chalicelib.domain.breaker import LONGEST_COOLDOWN, RAMP_STEPS, SAVED, BreakerPolicy
from chalicelib.domain.control import Control
from simulation.scheduler import moment
from simulation.supply_chain import Call

REPORTED = 3.0
"""Seconds in which everybody knows of a Retry-After, if nothing is lost on the way."""


class BrokenPromiseError(BaseException):
    """A promise is broken; the message says what was promised and what happened.

    Not an Exception, so that the code under test cannot handle it.
    """


@dataclass
class Watch:
    """Watches the calls of one run. `now` is the true time in seconds.

    `staleness`: how long a call may begin after the state that allows it has ended: a worker reads
    the state once a second, claims, and begins at most five seconds after that. `skew`: the largest
    difference of two clocks. `pauses`: what operators were promised, from when to when.
    `lossless`: every report reaches the store.
    """

    policy: BreakerPolicy
    now: Callable[[], float]
    staleness: float
    skew: float = 0.0
    lossless: bool = False
    pauses: list[tuple[float, float]] = field(default_factory=list)
    probes: list[Call] = field(default_factory=list)
    _states: list[tuple[float, Control]] = field(default_factory=lambda: [(0.0, Control())])
    _wish: tuple[float, float] = (0.0, 0.0)
    _reopened: float | None = None
    _level: float = 0.0
    _level_at: float = 0.0

    @property
    def control(self) -> Control:
        """The stored state."""
        return self._states[-1][1]

    def changed(self, control: Control) -> None:
        """Note that the stored state has changed."""
        before, now = self.control, self.now()
        closed = control.breaker.is_closed and not control.pause
        if closed and not (before.breaker.is_closed and not before.pause):
            self._reopened = now
        self._states.append((now, control))

    def was_held(self, since: float = 0.0) -> bool:
        """Say whether calls were refused, or brought forward, at any time since then."""
        states = self._in_force(since)
        return any(it.catch_up or not _allows(it, start) for start, _, it in states)

    def is_probe(self, call: Call) -> bool:
        """Say whether a call was a probe."""
        return any(probe is call for probe in self.probes)

    # ---- calls ----

    def begun(self, call: Call) -> None:
        """Judge a call as it begins."""
        now = call.start
        for begin, end in self.pauses:
            if begin + self.staleness < now < end - self.skew:
                raise BrokenPromiseError(f"{call.key} is called, paused since {begin:.1f}")
        self._judge_wish(call)
        known = [
            (it, end + self.skew, begin) for begin, end, it in self._in_force(now - self.staleness)
        ]
        if any(_allows(it, end) for it, end, _ in known):
            self._judge_rate(call)
        elif all(it.breaker.is_closed or it.is_paused(moment(end)) for it, end, _ in known):
            raise BrokenPromiseError(f"{call.key} is called while nobody may call: {known[-1][0]}")
        else:
            self._judge_probe(call)

    def asked(self, who: str) -> None:
        """Judge a question of an audit: it is no probe, and keeps to a pause."""
        now = self.now()
        known = [(it, end) for _, end, it in self._in_force(now - self.staleness)]
        if not any(_allows(it, end + self.skew) for it, end in known):
            raise BrokenPromiseError(f"{who} asks while nobody may call: {known[-1][0]}")

    def _judge_probe(self, call: Call) -> None:
        """While the breaker is open there is one probe at a time, and some time between them."""
        if self.probes:
            last = self.probes[-1]
            if last.holds_at(call.start):
                raise BrokenPromiseError(f"two probes at once: {last.key}, {call.key}")
            wait = self.policy.probe_every - self.skew - 0.1
            if last.failed and not last.caller.dead and call.start < last.ended + wait:
                raise BrokenPromiseError(
                    f"{call.key} is a probe {call.start - last.ended:.1f} s after one that failed"
                )
        self.probes.append(call)

    def _judge_rate(self, call: Call) -> None:
        """No more calls than the limit allows, but for what was saved and what began late.

        The limit is that of the plan, and that of the ramp after an outage or a pause.
        """
        limit = self._limit(call.start)
        if limit is None:
            self._level, self._level_at = 0.0, call.start
            return
        passed = call.start - self._level_at
        self._level, self._level_at = max(0.0, self._level - passed * limit) + 1, call.start
        allowed = limit * (max(SAVED.total_seconds(), 1 / limit) + self.staleness + self.skew) + 1
        if self._level > allowed:
            raise BrokenPromiseError(
                f"{self._level:.0f} calls at once, {allowed:.0f} at a limit of {limit:g} a second"
            )

    def _limit(self, now: float) -> float | None:
        limits = [self.policy.max_rate] if self.policy.max_rate else []
        if self._reopened is not None and now > self._reopened + self.staleness:
            steps = int((now + self.skew - self._reopened) / self.policy.ramp_step)
            limits += [self.policy.ramp_rate * 2**steps] if steps < RAMP_STEPS else []
        return min(limits, default=None)

    def wish(self, until: float) -> None:
        """Note a Retry-After, which holds for all products."""
        latest = self.now() + LONGEST_COOLDOWN.total_seconds()
        if min(until, latest) > self._wish[1]:
            self._wish = (self.now(), min(until, latest))

    def _judge_wish(self, call: Call) -> None:
        told, until = self._wish
        if self.lossless and told + REPORTED < call.start < until - self.skew - 0.1:
            raise BrokenPromiseError(
                f"{call.key} is called {until - call.start:.1f} s before a Retry-After for all"
            )

    def _in_force(self, since: float) -> Iterator[tuple[float, float, Control]]:
        """The states since then, as (begin, end, state), newest first."""
        end = self.now()
        for begin, control in reversed(self._states):
            yield begin, end, control
            if begin <= since:
                return
            end = begin


def _allows(control: Control, time: float) -> bool:
    """Say whether a state allows calls other than probes."""
    now, cooldown = moment(time), control.breaker.cooldown_until
    return control.held_by(now) is None and (cooldown is None or cooldown <= now)
