"""The use cases of operators: the state of the sync, replay, redrive, pause and resume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool

from chalicelib import telemetry
from chalicelib.domain.acts import ActKind
from chalicelib.domain.breaker import BreakerPolicy
from chalicelib.domain.control import Control, Pause, Redrive
from chalicelib.domain.errors import (
    ConcurrentChangeError,
    FieldError,
    InvalidRequestError,
    ProductNotFoundError,
    QueueUnavailableError,
)
from chalicelib.domain.exact_json import Json
from chalicelib.domain.messages import message_to
from chalicelib.domain.product import Product
from chalicelib.domain.selection import Portion, Selection
from chalicelib.domain.sync_state import FAILED_STATUSES, WAITING_STATUSES, SyncStatus
from chalicelib.domain.throughput import Throughput, seconds_to_converge, shown_minutes
from chalicelib.domain.timeline import Situation, timeline
from chalicelib.domain.times import rfc3339, rfc3339_or_none
from chalicelib.usecases.acts import NOBODY, REASON_LIMIT, Acts
from chalicelib.usecases.catalog import Origin
from chalicelib.usecases.collisions import TRIES, sleep_a_little
from chalicelib.usecases.controls import Controls
from chalicelib.usecases.convergence import Convergence
from chalicelib.usecases.enqueuing import Enqueuer
from chalicelib.usecases.ports import Store
from chalicelib.usecases.validation import (
    ErrorKind,
    OptionalTime,
    text_of_time,
    true_or_false,
    validated,
)

REDRIVEN_AT_ONCE = 100
"""Products of the pages that a request to redrive restarts itself, one page for each status that
it asks for; reconcile does the rest."""
ACTS_TOLD = 20
"""The newest acts about a product that its time line tells."""
LONGEST_PAUSE = timedelta(days=31)
"""The latest end that a pause may have. One without an end lasts until an operator resumes."""


class ReplayRequest(BaseModel):
    """Why a product is delivered again."""

    model_config = ConfigDict(extra="forbid")

    reason: str | None = Field(
        default=None, max_length=REASON_LIMIT, description="Kept with the act: GET /sync/acts."
    )


class RedriveRequest(BaseModel):
    """Which products to replay; without a status those that have failed: exhausted and rejected."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{}, {"status": "retrying"}]}
    )

    status: Literal["exhausted", "rejected", "retrying", "pending"] | None = Field(
        default=None,
        description="`retrying`: what is tried again later is tried now, each with a fresh budget, "
        "even before a Retry-After of its own: after a long outage. `pending`: what waits for its "
        "first attempt gets another message: after a queue was purged.",
    )
    since: OptionalTime = Field(
        default=None,
        description="Only what failed at this time or later, RFC 3339; of `retrying` and `pending` "
        "products, what was changed then or later. A failure whose time is not known is not left "
        "out.",
    )
    until: OptionalTime = Field(
        default=None, description="Only what failed, or was changed, at this time or earlier."
    )
    error_kind: ErrorKind = Field(
        default=None, alias="errorKind", description="Only what failed with an error of this kind."
    )
    dry_run: Annotated[StrictBool, BeforeValidator(true_or_false)] = Field(
        default=False, alias="dryRun", description="Only count them: nothing is replayed."
    )
    reason: str | None = Field(
        default=None, max_length=REASON_LIMIT, description="Kept with the act: GET /sync/acts."
    )

    def filters(self) -> Json:
        """Give which products it is about, as it was asked."""
        mode, left_out = "json", {"reason", "dry_run"}
        return self.model_dump(mode=mode, by_alias=True, exclude_none=True, exclude=left_out)

    def portions(self) -> list[Portion]:
        """Give what is asked for, of each status."""
        statuses = FAILED_STATUSES if self.status is None else {SyncStatus(self.status)}
        selection = Selection(since=self.since, until=self.until, error_kind=self.error_kind)
        return [Portion(status, selection) for status in sorted(statuses)]


class ControlRequest(BaseModel):
    """Pause the sync, or resume it."""

    model_config = ConfigDict(extra="forbid")

    paused: StrictBool
    reason: str | None = Field(
        default=None,
        max_length=REASON_LIMIT,
        description="Shown wherever the pause is shown, and kept with the act: GET /sync/acts.",
    )
    until: Annotated[AwareDatetime | None, BeforeValidator(text_of_time)] = Field(
        default=None,
        description="When the sync resumes by itself, with a time zone, 31 days ahead at most; "
        "without it the pause lasts until somebody resumes. Only for a pause.",
    )


class Operations:
    """What operators can do. Every method raises StoreUnavailableError."""

    redriven_at_once = REDRIVEN_AT_ONCE

    def __init__(
        self,
        store: Store,
        controls: Controls,
        enqueuer: Enqueuer,
        convergence: Convergence,
        policy: BreakerPolicy,
        acts: Acts,
        *,
        clock: Callable[[], datetime],
        grace: timedelta,
        pause: Callable[[int], None] = sleep_a_little,
    ) -> None:
        self._store = store
        self._controls = controls
        self._enqueuer = enqueuer
        self._convergence = convergence
        self._policy = policy
        self._acts = acts
        self._clock = clock
        self._grace = grace
        self._pause = pause

    def summary(self) -> Json:
        """Give counts per status, the ages of what waits and what is stuck, rates, what is held.

        `unreadable`: documents that this version of the code cannot read.
        """
        now = self._clock()
        summary, control = self._store.summary(now - self._grace), self._controls.read()
        lately = Throughput.of(self._store.activity(shown_minutes(now)), now)
        waiting = summary.count(WAITING_STATUSES)
        return {
            "products": {status.value: summary.products.get(status, 0) for status in SyncStatus},
            "oldestUndeliveredSeconds": summary.age(WAITING_STATUSES, now),
            "stuck": {
                "count": summary.count(FAILED_STATUSES),
                "oldestSeconds": summary.age(FAILED_STATUSES, now),
            },
            "outboxBacklog": summary.outbox_backlog,
            "unreadable": summary.unreadable,
            **control_to_json(control, now, self._policy),
            "throughput": lately.to_json(),
            "estimatedSecondsToConverge": seconds_to_converge(
                waiting, lately, control, self._policy
            ),
        }

    def sync_state(self, product_id: str) -> Json:
        """Give the state of a product's sync, also of a deleted one that is not yet confirmed.

        `held` says why no calls are made at all; None if they are, or if this product needs none.
        Raises ProductNotFoundError, UnreadableDocumentError.
        """
        product = self._product(product_id)
        held = self._controls.read().held_by(self._clock()) if product.sync.waits else None
        return {**product.sync_to_json(), "held": held}

    def timeline(self, product_id: str) -> Json:
        """Say why a product is where it is: what has happened to it, and what comes next.

        Raises as `sync_state`.
        """
        product = self._product(product_id, outbox=True)
        control, now = self._controls.read(), self._clock()
        acts = self._store.acts(ACTS_TOLD, product_id=product_id)
        return timeline(Situation(product, control, now, self._grace), acts)

    def replay(self, product_id: str, body: object = {}, origin: Origin = NOBODY) -> Json:
        """Have the newest version delivered (again) now, with a fresh budget.

        The trace of this request is that of its calls from now on. Raises as `sync_state`, and
        InvalidRequestError, ConcurrentChangeError.
        """
        why = validated(ReplayRequest, body).reason
        product = self._product(product_id)
        self._acts.record(
            ActKind.REPLAY, origin, why=why, product_id=product_id, version=product.version
        )
        for attempt in range(TRIES):
            now, budget = self._clock(), product.sync.budget + 1
            sync = product.sync.restarted(now, now + self._grace, budget=budget, trace=origin.trace)
            replayed = replace(product, sync=sync, sync_completed_at=None)
            if self._store.save_sync(replayed, expected_revision=product.revision):
                telemetry.log.info("replayed", budget=budget, **message_to(replayed).log_fields)
                self._enqueue(replayed)
                return self.sync_state(product_id)
            self._pause(attempt)
            product = self._product(product_id)
        raise ConcurrentChangeError("other writers changed the product each time")

    def redrive(self, body: object, origin: Origin = NOBODY) -> Json:
        """Replay what is selected, of all that has failed or is retried: `{count, dryRun}`.

        The first pages are restarted now, the rest by reconcile. What is left of another redrive
        follows. Raises InvalidRequestError, ConcurrentChangeError, RedriveUnderWayError.
        """
        request = validated(RedriveRequest, body)
        if request.since and request.until and request.until < request.since:
            raise InvalidRequestError([FieldError("until", "must not be before since")])
        # Each portion is counted once, however often the state of the sync is read again.
        number = cache(self._store.count)
        count = sum(number(portion) for portion in request.portions())
        if not request.dry_run:
            filters, why = request.filters(), request.reason
            self._acts.record(ActKind.REDRIVE, origin, why=why, **filters, count=count)
        if count and not request.dry_run:
            self._begin_redrive(request.portions(), number)
        return {"count": count, "dryRun": request.dry_run}

    def _begin_redrive(self, wanted: list[Portion], number: Callable[[Portion], int]) -> None:
        now = self._clock()

        def begin(stored: Control) -> tuple[None, Control]:
            job = Redrive.begun(wanted, now, number, stored.redrive)
            return None, replace(stored, redrive=job)

        _, control = self._controls.change(begin)
        for _ in wanted:
            if control.redrive is not None:
                held = control.is_held(self._clock())
                self._convergence.redrive(control.redrive, self.redriven_at_once, held=held)
                control = self._controls.read()

    def control(self, body: object, origin: Origin = NOBODY) -> Json:
        """Pause or resume the sync; give the new state.

        Raises InvalidRequestError, ConcurrentChangeError.
        """
        request = validated(ControlRequest, body)
        now = self._clock()
        if problem := _problem_of_end(request, now):
            raise InvalidRequestError([FieldError("until", problem)])
        self._record_control(request, origin)
        pause = Pause(now, request.reason, request.until)
        _, stored = self._controls.change(
            lambda it: (None, it.paused(pause) if request.paused else it.resumed(now))
        )
        return pause_to_json(stored, now)

    def _record_control(self, request: ControlRequest, origin: Origin) -> None:
        details = {"until": rfc3339(request.until)} if request.until else {}
        what = ActKind.PAUSE if request.paused else ActKind.RESUME
        self._acts.record(what, origin, why=request.reason, **details)

    def _enqueue(self, product: Product) -> None:
        try:
            self._enqueuer.enqueue([product])
        except QueueUnavailableError as error:
            telemetry.log.warning("reconcile will enqueue instead", reason=str(error))

    def _product(self, product_id: str, *, outbox: bool = False) -> Product:
        product = self._store.get(product_id, outbox=outbox)
        if product is None:
            raise ProductNotFoundError(f"no product has the id {product_id}")
        return product


def _problem_of_end(request: ControlRequest, now: datetime) -> str | None:
    if request.until is None:
        return None
    if not request.paused:
        return "is only for a pause"
    if request.until <= now:
        return "must be in the future"
    if request.until - now > LONGEST_PAUSE:
        return f"must be within {LONGEST_PAUSE.days} days"
    return None


def pause_to_json(control: Control, now: datetime) -> Json:
    """Give the pause of an operator: `{paused, reason, until, since}`."""
    pause = control.pause if control.is_paused(now) else None
    return {
        "paused": pause is not None,
        "reason": pause.reason if pause else None,
        "until": rfc3339_or_none(pause.until) if pause else None,
        "since": rfc3339(pause.since) if pause else None,
    }


def control_to_json(control: Control, now: datetime, policy: BreakerPolicy) -> Json:
    """Give the state of the sync as a whole, as `GET /sync` shows it."""
    breaker = control.breaker
    return {
        "breaker": {
            "state": breaker.state.value,
            "since": rfc3339_or_none(breaker.since),
            "reason": breaker.reason,
            "callsPerSecond": breaker.limit(now, policy) if breaker.is_closed else None,
        },
        "control": pause_to_json(control, now),
        "catchingUp": control.catch_up is not None,
        "redrive": control.redrive.to_json() if control.redrive else None,
    }
