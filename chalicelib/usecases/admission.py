"""Admission of calls: what one process knows of the breaker, the pause and the rate limit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from chalicelib import telemetry
from chalicelib.domain.breaker import Admission, BreakerPolicy, Report
from chalicelib.domain.control import Control
from chalicelib.domain.delivery import Outcome, report_of
from chalicelib.domain.errors import ConcurrentChangeError, StoreUnavailableError
from chalicelib.domain.product import Product
from chalicelib.domain.times import LONG_AGO
from chalicelib.usecases.controls import FEW_TRIES, Controls

FRESH = timedelta(seconds=1)
"""How long the state is used before it is read again, and so how fast a pause reaches everybody."""
REPORT_EVERY = timedelta(seconds=1)
REPORT_SOON = timedelta(seconds=0.25)
"""The shortest time between two reports of a process; the second, if half of its calls failed."""


class Admissions:
    """Asks for permission to call, and reports what came of it. Threads may share it.

    While all is well it reads one small document a second, and writes nothing.
    """

    def __init__(
        self, controls: Controls, policy: BreakerPolicy, *, clock: Callable[[], datetime]
    ) -> None:
        self._controls = controls
        self._policy = policy
        self._clock = clock
        self._lock = threading.Lock()
        self._control = Control()
        self._read_at = LONG_AGO
        self._seen = Report(0)
        self._reported_at = self._answered_at = self._told_at = LONG_AGO

    def admit(self, wanted: int) -> Admission:
        """Say how many of `wanted` calls may be made now. Raises StoreUnavailableError."""
        now = self._clock()
        known = self._known(now)
        admission, after = known.admit(wanted, now, self._policy)
        if after is known and admission.granted == wanted:
            return admission
        # Calls are refused, or permits are used up: only the stored state decides about that.
        try:
            admission, stored = self._controls.change(
                lambda control: control.admit(wanted, self._clock(), self._policy), FEW_TRIES
            )
        except ConcurrentChangeError:
            return Admission(0, again=(now + FRESH,) * wanted)
        self._keep(stored, now)
        return admission

    def are_held(self) -> bool:
        """Say whether the stored state allows no calls now. Raises StoreUnavailableError."""
        return self._read(self._clock()).is_held(self._clock())

    def accepting_since(self) -> datetime | None:
        """Say since when calls are neither held nor on the ramp after it, as far as is known here.

        None if they are. The state is that of the last permission, a second old at most.
        """
        with self._lock:
            control = self._control
        return control.accepting_since(self._clock(), self._policy)

    def report(self, outcomes: Sequence[tuple[Product, Outcome]]) -> None:
        """Note outcomes, with their products; write them to the store while calls fail."""
        new = report_of(outcomes)
        with self._lock:
            if new.failures < new.calls:
                self._answered_at = self._clock()
            self._seen = self._seen.plus(new)
        self.write_if_due()

    def write_if_due(self) -> None:
        """Write what was noted while calls fail, unless something was written a moment ago.

        For the host too, when no batch follows soon: what has failed in a burst must open the
        breaker then, and not with the next call.
        """
        now = self._clock()
        with self._lock:
            if not self._seen.calls:
                return
            wrong = bool(self._seen.failures or self._control.breaker.tallies)
            bad = 2 * self._seen.failures >= self._seen.calls
            every = REPORT_SOON if bad else REPORT_EVERY
            if not wrong or _within(every, self._reported_at, now):
                # Successes from before a failure would hide it in the share of failed calls.
                self._seen = self._seen if wrong else Report(0)
                return
            seen, self._seen, self._reported_at = self._seen, Report(0), now
            seen = self._with_unreported_answer(seen, now)
        self._tell(lambda control: control.reported(seen, self._clock(), self._policy))

    def _with_unreported_answer(self, seen: Report, now: datetime) -> Report:
        """Add a success if calls were answered in the breaker's window and none was reported.

        Successes while no call fails are not reported, and the breaker has to know that not all
        calls of its window have failed. One in each report would hide an outage in which each
        report has few failures.
        """
        window = timedelta(seconds=self._policy.window)
        unreported = self._answered_at > self._told_at and _within(window, self._answered_at, now)
        if not unreported:
            return seen
        self._told_at = now
        return seen.plus(Report(int(seen.failures == seen.calls)))

    def probed(self, outcome: tuple[Product, Outcome] | None) -> None:
        """Note the outcome of a probe; None if it was not made."""
        report = report_of([outcome]) if outcome else None
        self._tell(lambda control: control.probed(report, self._clock(), self._policy))

    def _known(self, now: datetime) -> Control:
        with self._lock:
            if _within(FRESH, self._read_at, now):
                return self._control
        return self._read(now)

    def _read(self, now: datetime) -> Control:
        control = self._controls.read()
        self._keep(control, now)
        return control

    def _keep(self, control: Control, asked_at: datetime) -> None:
        """Keep a state; its age counts from the request, since the host may freeze the process."""
        with self._lock:
            self._control, self._read_at = control, asked_at

    def _tell(self, change: Callable[[Control], Control]) -> None:
        """Change the state. If that fails, only this report is lost."""
        now = self._clock()
        try:
            _, stored = self._controls.change(lambda control: (None, change(control)), FEW_TRIES)
        except (ConcurrentChangeError, StoreUnavailableError) as error:
            telemetry.log.warning("the breaker could not be told", reason=str(error))
        else:
            self._keep(stored, now)


def _within(span: timedelta, since: datetime, now: datetime) -> bool:
    """Say whether less than `span` has passed; not after a clock was set back."""
    return timedelta() <= now - since < span
