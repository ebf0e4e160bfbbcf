"""The plan of one run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

from chalicelib.domain.breaker import BreakerPolicy
from chalicelib.domain.exact_json import Json
from chalicelib.domain.retry import Schedule
from simulation.faults import Faults
from simulation.supply_chain import TIMEOUT, Mood

LEASE = timedelta(seconds=2 * TIMEOUT + 15)
PERIOD = 60.0
"""Seconds from one run of reconcile to the next, as deployed."""


@dataclass(frozen=True)
class Pause:
    """An operator pauses at `begin`, until `end`; `resumed`: by a second request."""

    begin: float
    end: float
    resumed: bool


@dataclass(frozen=True)
class Plan:
    """One run; times in seconds. Requests and faults happen for `busy` seconds, then all is calm.

    `mood` and `calm`: how the supply chain answers in these two times. `changes`: writes of
    consumers, of which the share `deletions` deletes; `operations`: replays, redrives and moved
    dead letters of operators.
    `pauses`: of operators, from when to when; `max_in_flight`: with more messages in flight, long
    waits are parked; `page`: products of a step of reconcile and of a redrive.
    `redrives`: when operators redrive, and what. `reconcilers`: copies of reconcile, each of which
    begins a run every `period`.
    `receives`: of the queue's redrive policy, None for the usual one. `deadly`: each call for the
    first product crashes its worker.
    `audits`: when operators start one; `tampering`: when somebody changes what the supply chain
    holds; `sample`: products that reconcile compares in each run.
    `restored`: when the store is backed up, and when it is restored to that. `started_again`:
    how often that restore is started once more, in its lift or after it.
    `republishes`: when operators have the catalog published again.
    """

    seed: int
    faults: Faults = field(default_factory=Faults)
    mood: Mood = field(default_factory=Mood)
    calm: Mood = field(default_factory=Mood)
    products: int = 2
    changes: int = 6
    deletions: float = 0.25
    operations: int = 0
    workers: int = 3
    busy: float = 1800.0
    schedule: Schedule = field(default_factory=lambda: Schedule(5, 900, 400))
    grace: float = 120.0
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    pauses: tuple[Pause, ...] = ()
    redrives: tuple[tuple[float, Json], ...] = ()
    reconcilers: int = 1
    max_in_flight: int = 60_000
    page: int = 400
    period: float = PERIOD
    receives: int | None = None
    deadly: bool = False
    audits: tuple[float, ...] = ()
    tampering: tuple[float, ...] = ()
    sample: int = 0
    restored: tuple[float, float] | None = None
    started_again: int = 0
    republishes: tuple[float, ...] = ()

    @property
    def bound(self) -> float:
        """Seconds after the last fault within which everything is delivered, or has failed.

        The rest of the longest wait, one whole new budget, and twice the time in which reconcile
        finds a lost message.
        """
        longest = max(self.schedule.waits)
        return self.schedule.horizon + 2 * longest + 6 * self.grace + 10 * self.period

    @property
    def converges(self) -> float:
        """Seconds after an outage or a pause within which everything is delivered.

        Reconcile runs, a probe or a message is lost, and everything is called at the ramp's rate.
        """
        rate = min(self.breaker.ramp_rate, self.breaker.max_rate or self.breaker.ramp_rate)
        return 6 * self.period + self.grace + 2 * self.products / rate

    @property
    def parks_in_time(self) -> bool:
        """Say whether no fault delays the parking of long waits."""
        faults = self.faults
        usual = Faults(
            faults.until, faults.crash, duplicate=faults.duplicate, in_flight=faults.in_flight
        )
        return faults == usual and not self.pauses

    @property
    def staleness(self) -> float:
        """Seconds after which each worker knows that calls are not allowed, its last call begun."""
        return 2.5 if self.faults.lossless else 7.0

    def cut(self, busy: float) -> Plan:
        """Give the same run with an earlier beginning of the calm."""
        faults = replace(self.faults, until=min(self.faults.until, busy))
        # A pause ends at the latest when all is calm.
        pauses = tuple(
            replace(pause, end=min(pause.end, busy)) for pause in self.pauses if pause.begin < busy
        )
        return replace(self, faults=faults, busy=busy, pauses=pauses)
