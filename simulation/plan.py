"""The plan of one run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

from chalicelib.domain.breaker import BreakerPolicy
from chalicelib.domain.retry import Schedule
from simulation.faults import Faults
from simulation.supply_chain import TIMEOUT, Mood

LEASE = timedelta(seconds=2 * TIMEOUT + 15)
PERIOD = 60.0
"""Seconds from one run of reconcile to the next."""


@dataclass(frozen=True)
class Plan:
    """One run; times in seconds. Requests and faults happen for `busy` seconds, then all is calm.

    `mood` and `calm`: how the supply chain answers in these two times. `changes`: writes of
    consumers; `operations`: replays, redrives and moved dead letters of operators.
    `receives`: of the queue's redrive policy, None for the usual one. `deadly`: each call for the
    first product crashes its worker.
    """

    seed: int
    faults: Faults = field(default_factory=Faults)
    mood: Mood = field(default_factory=Mood)
    calm: Mood = field(default_factory=Mood)
    products: int = 2
    changes: int = 6
    operations: int = 0
    workers: int = 3
    busy: float = 1800.0
    schedule: Schedule = field(default_factory=lambda: Schedule(5, 900, 400))
    grace: float = 120.0
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    receives: int | None = None
    deadly: bool = False

    @property
    def bound(self) -> float:
        """Seconds after the last fault within which everything is delivered, or has failed.

        The rest of the longest wait, one whole new budget, and twice the time in which reconcile
        finds a lost message.
        """
        longest = max(self.schedule.waits)
        return self.schedule.horizon + 2 * longest + 6 * self.grace + 10 * PERIOD

    def cut(self, busy: float) -> Plan:
        """Give the same run with an earlier beginning of the calm."""
        faults = replace(self.faults, until=min(self.faults.until, busy))
        return replace(self, faults=faults, busy=busy)
