"""How far a restore is: what operators start and see, and what all copies of reconcile change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from chalicelib.domain.acts import ActKind
from chalicelib.domain.audit import AuditState
from chalicelib.domain.breaker import Breaker, BreakerPolicy
from chalicelib.domain.control import Control
from chalicelib.domain.errors import NotRestoringError
from chalicelib.domain.exact_json import Json
from chalicelib.domain.restore import Phase, Restore, RestoreState
from chalicelib.domain.times import LONG_AGO, PRECISION
from chalicelib.usecases.acts import NOBODY, REASON_LIMIT, UNKNOWN, Acts
from chalicelib.usecases.catalog import Origin
from chalicelib.usecases.collisions import compare_and_set
from chalicelib.usecases.controls import TRIES, Controls, sleep_shortly
from chalicelib.usecases.ports import Store
from chalicelib.usecases.validation import validated

NEVER: Json = {
    **Restore(LONG_AGO, "", ask=True, total=0).to_json(),
    "state": "none",
    "startedAt": None,
    "startedBy": None,
}
OVER = "this restore is an earlier one, and the one that CATALOG_MODE=restore is set for"
LEFT = (
    "nobody has looked after this restore for an hour, and MongoDB may have been restored since: "
    "catalogctl restore --start"
)
NOT_RESTORING = "first set CATALOG_MODE=restore for all functions: writes must not go on meanwhile"


class RestoreRequest(BaseModel):
    """Make a store that was restored to an earlier time whole again."""

    model_config = ConfigDict(extra="forbid")

    reason: str | None = Field(
        default=None, max_length=REASON_LIMIT, description="Kept with the act: GET /sync/acts."
    )
    ask: StrictBool = Field(
        default=True,
        description="false: do not ask the supply chain for each product before its version is "
        "lifted. It is faster, and possible while the supply chain is down, but a product of which "
        "only the supply chain has the newest version is overwritten without being listed.",
    )


class Restores:
    """Reads and changes the one document about restores. Every method raises StoreUnavailableError.

    `restoring`: the catalog is read-only, and so a restore can be made.
    """

    def __init__(
        self,
        store: Store,
        controls: Controls,
        acts: Acts,
        breaker: BreakerPolicy,
        *,
        restoring: bool,
        clock: Callable[[], datetime],
        pause: Callable[[int], None] = sleep_shortly,
    ) -> None:
        self._store = store
        self._controls = controls
        self._acts = acts
        self._breaker = breaker
        self._restoring = restoring
        self._clock = clock
        self._pause = pause

    # ---- for operators ----

    def start(self, body: object, origin: Origin = NOBODY) -> Json:
        """Start a restore, from the beginning; give its state.

        Also while one seems to run: it may be one that the restored store remembers, and versions
        were given out since. What is replayed or lifted a second time takes no harm. Raises
        InvalidRequestError, NotRestoringError, ConcurrentChangeError.
        """
        request = validated(RestoreRequest, body)
        if not self._restoring:
            raise NotRestoringError(NOT_RESTORING)
        who, now = origin.principal or UNKNOWN, self._clock()
        total = self._store.summary(now).total
        self._acts.record(ActKind.RESTORE, origin, why=request.reason, ask=request.ask)
        self._forget_the_past()

        def begin(stored: RestoreState) -> RestoreState:
            # No two begin at the same time: products remember by which they were replayed.
            earliest = stored.run.started_at + PRECISION if stored.run else now
            run = Restore(max(now, earliest), who, request.ask, total)
            return replace(stored, run=run.instead_of(stored.run))

        return self._to_json(self.change(begin))

    def _forget_the_past(self) -> None:
        """Forget breaker, pause, redrive, audits and republish of the time of the backup.

        A pause that was ended since would hold everything; an audit that goes on would prove
        something about products that are not these. A republish would go on in its middle, in
        place of the one that an operator starts after the restore.
        """
        self._controls.change(lambda stored: (None, Control(revision=stored.revision)))
        compare_and_set(
            self._store.audit,
            self._store.save_audit,
            lambda stored: (None, AuditState(revision=stored.revision)),
            self._pause,
            TRIES,
            "the state of the audit",
        )
        compare_and_set(
            self._store.republish,
            self._store.save_republish,
            lambda stored: (None, replace(stored, run=None)),
            self._pause,
            TRIES,
            "the state of the republish",
        )

    def show(self) -> Json:
        """Give the last restore: how far it is, and what it has found."""
        return self._to_json(self.read())

    def _to_json(self, state: RestoreState) -> Json:
        run = state.run
        mode = "restore" if self._restoring else "normal"
        held = self._held(run) if run else None
        return {**(run.to_json() if run else NEVER), "mode": mode, "held": held}

    def _held(self, run: Restore) -> str | None:
        """Say what it waits for, if it needs somebody or something."""
        if self._restoring:
            return self._held_read_only(run)
        if run.needs_the_mode:
            return f"this restore is not at its end, and writes go on: {NOT_RESTORING}"
        if run.is_left(self._clock()):
            return LEFT
        if run.phase is Phase.LIFTED:
            return "what was lifted is delivered first; then an audit begins"
        return None

    def _held_read_only(self, run: Restore) -> str | None:
        if run.phase in {Phase.AUDITING, Phase.DONE}:
            return f"{OVER} has not begun: catalogctl restore --start"
        if run.phase is Phase.LIFTED:
            return "every product is ready to be delivered: set CATALOG_MODE=normal"
        if run.is_left(self._clock()):
            return LEFT
        if run.phase is Phase.LIFTING and run.ask:
            return self._controls.read().put_off_by(self._clock(), self._breaker)
        return None

    # ---- for reconcile ----

    def read(self) -> RestoreState:
        """Give the stored state."""
        return self._store.restore()

    def change(self, change: Callable[[RestoreState], RestoreState]) -> RestoreState:
        """Change it. Raises ConcurrentChangeError."""
        store = self._store
        _, _, after = compare_and_set(
            store.restore,
            store.save_restore,
            lambda stored: (None, change(stored)),
            self._pause,
            TRIES,
            "the state of the restore",
        )
        return after

    def make_way(self) -> None:
        """Forget what puts questions off, and what nothing ends in this mode.

        A resume or a redrive brings forward what is delivered anew anyway; the last calls of before
        the mode may have opened the breaker.
        """

        def free(stored: Control) -> tuple[None, Control]:
            breaker = stored.breaker if stored.breaker.is_closed else Breaker()
            return None, replace(stored, breaker=breaker, catch_up=None, redrive=None)

        self._controls.change(free)

    def note(self, change: Callable[[Restore], Restore]) -> Restore | None:
        """Change the restore that there is; give it afterwards."""
        now = self._clock()

        def seen(run: Restore) -> Restore:
            changed = change(run)
            return run if changed is run else replace(changed, seen_at=now)

        return self.change(
            lambda stored: replace(stored, run=seen(stored.run)) if stored.run else stored
        ).run

    def look_after(self, run: Restore) -> None:
        """Note now and then that somebody does, though it may have to wait."""
        now = self._clock()
        if run.is_unseen(now):
            self.note(lambda stored: replace(stored, seen_at=now) if stored.is_at(run) else stored)
