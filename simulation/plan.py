"""What one run is made of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

from chalicelib.domain.retry import Schedule
from simulation.faults import Faults
from simulation.supply_chain import TIMEOUT, Mood

LEASE = timedelta(seconds=2 * TIMEOUT + 15)
PERIOD = 60.0
"""Seconds from one run of reconcile to the next."""


@dataclass(frozen=True)
class Plan:
    """One run; times in seconds. For `busy` seconds things happen and go wrong, then all is calm.

    `mood` and `calm`: how the supply chain answers in these two times. `changes`: writes of
    consumers; `operations`: replays, redrives and moved dead letters of operators.
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

    @property
    def bound(self) -> float:
        """Seconds after the last fault within which everything is delivered, or has failed.

        A budget that begins only now, after the longest wait that may be left of the one before;
        and what reconcile needs to find a message that was lost, twice.
        """
        longest = max(self.schedule.waits)
        return self.schedule.horizon + 2 * longest + 6 * self.grace + 10 * PERIOD

    def cut(self, busy: float) -> Plan:
        """Give the same run, whose calm begins earlier."""
        faults = replace(self.faults, until=min(self.faults.until, busy))
        return replace(self, faults=faults, busy=busy)
