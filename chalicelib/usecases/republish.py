"""Publishes the whole catalog again: what operators start and see, and the steps of reconcile.

Each page ends with a write of where it ended, so that a run goes on after a crash, and two copies
do no harm: the stream drops the second of each event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from chalicelib import telemetry
from chalicelib.domain.acts import ActKind
from chalicelib.domain.errors import ConcurrentChangeError
from chalicelib.domain.exact_json import Json
from chalicelib.domain.republish import Page, RepublishState, Run, republished
from chalicelib.domain.times import LONG_AGO, PRECISION
from chalicelib.usecases.acts import NOBODY, REASON_LIMIT, UNKNOWN, Acts
from chalicelib.usecases.catalog import Origin
from chalicelib.usecases.collisions import compare_and_set
from chalicelib.usecases.controls import TRIES, sleep_shortly
from chalicelib.usecases.outbox import Outbox
from chalicelib.usecases.pace import Cooldown, Pace
from chalicelib.usecases.ports import Store, StreamUsage
from chalicelib.usecases.validation import validated

PAGE = 100
"""Products of a page: 20 MB if each is as large as it may be."""
PUT_OFF = timedelta(seconds=10)
"""Until the next page, after one that the stream did not take, or took slowly."""
SLOW = timedelta(seconds=1)
"""A page that took longer delays the queue, which comes first."""
READ_ONLY = (
    "the catalog is read-only: it goes on with CATALOG_MODE=normal, unless a restore is started, "
    "which ends it"
)
ROOM = 0.75
"""The share of the stream's limit up to which events are republished: a full stream refuses those
of changes. Below the share at which an alarm is raised."""
NEVER: Json = {
    **Run(LONG_AGO, "", rate=0, total=0).to_json(),
    "state": "none",
    "maxRate": None,
    "startedAt": None,
    "startedBy": None,
}


class RepublishRequest(BaseModel):
    """Publish every product that is not deleted, as it is now."""

    model_config = ConfigDict(extra="forbid")

    reason: str | None = Field(
        default=None, max_length=REASON_LIMIT, description="Kept with the act: GET /sync/acts."
    )
    max_rate: Annotated[float, Field(ge=0.01, le=100_000)] | None = Field(
        default=None,
        alias="maxRate",
        description="Events per second, at most. Without it the setting `REPUBLISH_MAX_RATE` "
        "decides.",
    )


class Republishes:
    """Reads and changes the one document about it. Every method raises StoreUnavailableError.

    `rate`: events per second, unless a request says otherwise. `restoring`: the catalog is
    read-only, and reconcile makes restores only.
    """

    def __init__(
        self,
        store: Store,
        acts: Acts,
        *,
        rate: float,
        restoring: bool,
        clock: Callable[[], datetime],
        pause: Callable[[int], None] = sleep_shortly,
    ) -> None:
        self._store = store
        self._acts = acts
        self._rate = rate
        self._restoring = restoring
        self._clock = clock
        self._pause = pause

    # ---- for operators ----

    def start(self, body: object, origin: Origin = NOBODY) -> Json:
        """Start one; give its state, or that of the one that runs already.

        Raises InvalidRequestError, ConcurrentChangeError.
        """
        request = validated(RepublishRequest, body)
        now = self._clock()
        total = self._store.summary(now).total
        rate, who = request.max_rate or self._rate, origin.principal or UNKNOWN

        def begin(stored: RepublishState) -> RepublishState:
            if stored.run is not None:
                return stored
            # No two begin at the same time: the stream would drop the events of the second.
            earliest = stored.last.started_at + PRECISION if stored.last else now
            return replace(stored, run=Run(max(now, earliest), who, rate, total))

        if self.read().run is None:
            self._acts.record(ActKind.REPUBLISH, origin, why=request.reason, maxRate=rate)
        return self._to_json(self._change(begin))

    def stop(self, origin: Origin = NOBODY) -> Json:
        """Stop the one that runs, if one does; give the state then.

        Raises ConcurrentChangeError.
        """
        seen, who = self.read().run, origin.principal or UNKNOWN
        if seen is None:
            return self.show()
        self._acts.record(ActKind.REPUBLISH, origin, stopped=True)
        stopped = self._change(lambda stored: stored.with_stop(seen, who, self._clock()))
        return self._to_json(stopped)

    def show(self) -> Json:
        """Give the one that runs, or the last one."""
        return self._to_json(self.read())

    def _to_json(self, state: RepublishState) -> Json:
        if state.shown is None:
            return NEVER
        waits = self._restoring and state.run is not None
        return {**state.shown.to_json(), **({"held": READ_ONLY} if waits else {})}

    # ---- for reconcile ----

    def read(self) -> RepublishState:
        """Give the stored state."""
        return self._store.republish()

    def add(self, seen: Run, page: Page) -> RepublishState:
        """Add a page to its run. Raises ConcurrentChangeError."""
        return self._change(lambda stored: stored.with_page(seen, page, self._clock()))

    def _change(self, change: Callable[[RepublishState], RepublishState]) -> RepublishState:
        store = self._store
        _, _, after = compare_and_set(
            store.republish,
            store.save_republish,
            lambda stored: (None, change(stored)),
            self._pause,
            TRIES,
            "the state of the republish",
        )
        return after


class Republisher:
    """Does it, a page at a time. Its methods raise StoreUnavailableError.

    It asks neither the breaker nor a pause: it makes no calls of the supply chain, and the bridge
    does not take its events.
    """

    def __init__(
        self,
        store: Store,
        republishes: Republishes,
        outbox: Outbox,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._republishes = republishes
        self._outbox = outbox
        self._clock = clock
        self._pace = Pace(clock)
        self._cooldown = Cooldown(clock, PUT_OFF)

    def step(self) -> int | None:
        """Do a page of the one that runs; give the number of its events that were published.

        0 if it must wait for its rate; None if there is nothing to do for now.
        """
        run = None if self._cooldown.is_on else self._republishes.read().run
        if run is None:
            return None
        allowed = self._pace.allowed(run.rate, PAGE)
        if allowed == 0:
            return 0
        begun = self._clock()
        page = self._page(run, allowed)
        self._pace.owe(page.checked)
        if page.held or page.missing or self._clock() - begun > SLOW:
            self._cooldown.begin()
        self._note(run, page)
        # A page without an event, of deletions only, is a step too.
        return None if page.held else max(page.published, 1)

    def is_needed(self) -> bool:
        """Say whether the next step must follow soon."""
        return not self._cooldown.is_on and self._republishes.read().run is not None

    def _page(self, run: Run, limit: int) -> Page:
        if held := held_by(self._outbox.stream_usage()):
            return Page(held=held)
        # From the majority: a version that a failover takes back must not be published.
        found = self._store.walk(run.position, limit, majority=True)
        names = found.ids
        present = [item for item in found.products.values() if item.deleted_at is None]
        events = [republished(item, run.started_at, self._clock()) for item in present]
        published = len(self._outbox.publish(events))
        return Page(
            after=names[-1] if names else None,
            is_last=len(names) < limit,
            checked=len(names),
            published=published,
            missing=len(events) - published,
            unreadable=len(found.unreadable),
        )

    def _note(self, run: Run, page: Page) -> None:
        """Add a page to its run; otherwise it comes again."""
        telemetry.count(republished=page.published)
        try:
            state = self._republishes.add(run, page)
        except ConcurrentChangeError as error:
            telemetry.log.warning("the republish could not be noted", reason=str(error))
            return
        if state.last is not None and state.last.started_at == run.started_at:
            telemetry.log.info(
                "a republish is done",
                published=state.last.published,
                refused=state.last.refused,
                unreadable=state.last.unreadable,
            )


def held_by(usage: StreamUsage | None) -> str | None:
    """Say why nothing can be republished now; None if it can."""
    if usage is None:
        return "the stream does not answer"
    if usage.limit is not None and usage.bytes >= ROOM * usage.limit:
        share = f"{100 * usage.bytes / usage.limit:.0f} % of {usage.limit:,} bytes"
        return f"the stream is too full, at {share}: raise its limit"
    return None
