"""How far audits are: what operators start and see, and what all copies of reconcile change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from chalicelib.domain.acts import ActKind
from chalicelib.domain.audit import AuditState, Example, Page, Run
from chalicelib.domain.breaker import BreakerPolicy
from chalicelib.domain.control import Control
from chalicelib.domain.exact_json import Json
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.domain.times import LONG_AGO, PRECISION
from chalicelib.usecases.acts import NOBODY, REASON_LIMIT, UNKNOWN, Acts
from chalicelib.usecases.catalog import Origin
from chalicelib.usecases.collisions import compare_and_set
from chalicelib.usecases.controls import TRIES, Controls, sleep_shortly
from chalicelib.usecases.ports import Store
from chalicelib.usecases.validation import validated

BY_RECONCILE = "reconcile"
"""Who has started the rolling audit."""
LEFT = (
    "nobody has looked after this audit for an hour, and MongoDB may have been restored since: "
    "catalogctl audit --stop, and start another"
)
NEVER: Json = {
    **Run(LONG_AGO, "", repair=False, total=0).to_json(),
    "state": "none",
    "startedAt": None,
    "startedBy": None,
}


class AuditRequest(BaseModel):
    """Compare all products with what the supply chain holds."""

    model_config = ConfigDict(extra="forbid")

    reason: str | None = Field(
        default=None, max_length=REASON_LIMIT, description="Kept with the act: GET /sync/acts."
    )
    repair: StrictBool | None = Field(
        default=None,
        description="false: differences are only counted and listed; true: they are also repaired. "
        "Without it the setting `AUDIT_REPAIR` decides.",
    )


class Audits:
    """Reads and changes the one document about audits. Every method raises StoreUnavailableError.

    `repair`: whether differences are repaired, unless a request says otherwise.
    """

    def __init__(
        self,
        store: Store,
        controls: Controls,
        acts: Acts,
        breaker: BreakerPolicy,
        *,
        repair: bool,
        clock: Callable[[], datetime],
        pause: Callable[[int], None] = sleep_shortly,
    ) -> None:
        self._store = store
        self._controls = controls
        self._acts = acts
        self._breaker = breaker
        self._repair = repair
        self._clock = clock
        self._pause = pause

    # ---- for operators ----

    def start(self, body: object, origin: Origin = NOBODY) -> Json:
        """Start a full audit; give its state, or that of the one that runs already.

        Raises InvalidRequestError, ConcurrentChangeError.
        """
        request = validated(AuditRequest, body)
        repair = self._repair if request.repair is None else request.repair
        who = origin.principal or UNKNOWN
        if self.read().run is None:
            self._acts.record(ActKind.AUDIT, origin, why=request.reason, repair=repair)
        return self._to_json(self._begun(who, repair=repair), self._controls.read())

    def begin(self, who: str) -> datetime | None:
        """Begin a full audit that repairs, and give its beginning; None if another one runs.

        Raises ConcurrentChangeError.
        """
        if self.read().run is not None:
            return None
        run = self._begun(who, repair=True).run
        return run.started_at if run is not None and run.started_by == who else None

    def _begun(self, who: str, *, repair: bool) -> AuditState:
        """Give the state with a full audit that runs: this one, unless there was another."""
        now = self._clock()
        total = self._store.summary(now).total

        def begin(stored: AuditState) -> AuditState:
            if stored.run is not None:
                return stored
            # No two begin at the same time: products remember by which they were repaired.
            earliest = stored.shown.started_at + PRECISION if stored.shown else now
            return replace(stored, run=Run(max(now, earliest), who, repair, total, seen_at=now))

        return self._change(begin)

    def stop(self, origin: Origin = NOBODY) -> Json:
        """Stop the full audit that runs, if one does; give the state then.

        Raises ConcurrentChangeError.
        """
        seen, who = self.read().run, origin.principal or UNKNOWN
        if seen is None:
            return self.show()
        self._acts.record(ActKind.AUDIT, origin, stopped=True)
        state = self._change(lambda stored: stored.with_stop(seen, who, self._clock()))
        return self._to_json(state, self._controls.read())

    def show(self) -> Json:
        """Give the full audit that runs, or the last one, and the rolling one."""
        return self._to_json(self.read(), self._controls.read())

    def last(self) -> Json | None:
        """Give the same, None if there never was a full audit."""
        shown = self.show()
        return None if shown["state"] == "none" else shown

    def _to_json(self, state: AuditState, control: Control) -> Json:
        run, rolling = state.shown, state.rolling or state.rolled
        held = self._held(state.run, control) if state.run else None
        return {
            **(run.to_json() if run else NEVER),
            "held": held,
            "lastStatement": state.last.to_json()["statement"] if state.last else None,
            "rolling": rolling.to_json() if rolling else None,
        }

    def _held(self, run: Run, control: Control) -> str | None:
        """Say why nothing is asked now; None if questions are asked."""
        now = self._clock()
        if run.is_left(now):
            return LEFT
        if held := control.put_off_by(now, self._breaker):
            return held
        if run.silent:
            return "the supply chain answers no questions"
        permits, _ = control.spare(1, now, self._breaker)
        return None if permits else "deliveries use up the rate limit of calls"

    # ---- for reconcile ----

    def read(self) -> AuditState:
        """Give the stored state."""
        return self._store.audit()

    def rolling(self) -> Run:
        """Begin the next walk of the rolling audit."""
        now = self._clock()
        return Run(now, BY_RECONCILE, self._repair, self._store.summary(now).total)

    def look_after(self) -> None:
        """Note now and then that somebody does, though it may have to wait."""
        now, seen = self._clock(), self.read().run
        if seen is None or not seen.is_unseen(now):
            return
        self._change(
            lambda stored: (
                replace(stored, run=replace(stored.run, seen_at=now))
                if stored.run and stored.run.started_at == seen.started_at
                else stored
            )
        )

    def add(self, seen: Run, page: Page, *, rolling: bool) -> AuditState:
        """Add what a page has found to its run. Raises ConcurrentChangeError."""
        return self._change(
            lambda stored: stored.with_page(seen, page, self._clock(), rolling=rolling)
        )

    def _change(self, change: Callable[[AuditState], AuditState]) -> AuditState:
        store = self._store
        _, _, after = compare_and_set(
            store.audit,
            store.save_audit,
            lambda stored: (None, change(stored)),
            self._pause,
            TRIES,
            "the state of the audit",
        )
        return after

    # ---- what operators watch ----

    def open_differences(self) -> int:
        """Count what the last audits have found, and what is not right or delivered since.

        What is not kept one by one is counted where most of it is: two audits may have found the
        same.
        """
        state = self._store.audit()
        found = sorted((it for run in state.runs for it in run.examples), key=lambda it: it.at)
        newest = {example.id: example for example in found if not example.ended}
        now = self._store.get_many(newest, details=False).products if newest else {}
        listed = sum(_is_open(example, now.get(example.id)) for example in newest.values())
        return listed + max((run.unlisted for run in state.runs), default=0)


def _is_open(example: Example, product: Product | None) -> bool:
    """Say whether the product has not been delivered since it was found to differ."""
    if product is None:
        # Its deletion was confirmed since.
        return False
    completed = product.sync_completed_at
    delivered = product.sync.status is SyncStatus.DELIVERED and completed is not None
    return not (delivered and completed is not None and completed > example.at)
