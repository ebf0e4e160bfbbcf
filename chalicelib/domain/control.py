"""What all workers share about the sync as a whole: one small document. Pure.

The breaker, the pause of an operator, and work that reconcile does step by step: bringing forward
what an outage has delayed, and a redrive of many products.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime

from chalicelib.domain.breaker import Admission, Breaker, BreakerPolicy, Report
from chalicelib.domain.errors import RedriveUnderWayError
from chalicelib.domain.exact_json import Json
from chalicelib.domain.selection import ALL, Portion, Selection
from chalicelib.domain.sync_state import Position, SyncStatus
from chalicelib.domain.times import PRECISION, rfc3339

MOST_PORTIONS = 20
"""Of a redrive: the document that says so is read and written often."""


@dataclass(frozen=True, slots=True)
class Pause:
    """No calls are made. `until`: it ends by itself; None: not before an operator resumes."""

    since: datetime
    reason: str | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class CatchUp:
    """What changed before `since` is brought forward; up to `after` that is done."""

    since: datetime
    after: Position | None = None


@dataclass(frozen=True, slots=True)
class Redrive:
    """Portions of the products are redriven; `done` of `count`, up to `after` of the first portion.

    A portion is a status with its selection, and `asked_at` says when it was asked for, where that
    was before `started_at`: a later request begins again with the portions of both. Those that are
    done are taken out. `selections` is empty if nothing is left out. `count` is the number at the
    beginning.
    """

    statuses: tuple[SyncStatus, ...]
    started_at: datetime
    count: int
    done: int = 0
    after: Position | None = None
    asked_at: tuple[datetime, ...] = ()
    selections: tuple[Selection, ...] = ()

    @property
    def since(self) -> datetime:
        """When the portion that is in hand was asked for."""
        return self.asked_at[0] if self.asked_at else self.started_at

    @property
    def in_hand(self) -> Portion:
        """The portion that is redriven now."""
        return Portion(self.statuses[0], self.selections[0] if self.selections else ALL)

    @classmethod
    def begun(
        cls,
        wanted: Collection[Portion],
        now: datetime,
        count: Callable[[Portion], int],
        other: Redrive | None,
    ) -> Redrive:
        """Begin a redrive of what is wanted, then of what is left of another one.

        `count` gives the products of a portion. What only the other one was asked for is not asked
        for anew, so what it has restarted is not restarted again. No two begin at the same time:
        products remember it.
        """
        started_at = max(now, other.started_at + PRECISION) if other else now
        left = other.asked() if other else {}
        # The newest request comes first: it may be about a few, and the other about a million.
        asked = dict.fromkeys(wanted, started_at) | {
            portion: at for portion, at in left.items() if portion not in wanted
        }
        if len(asked) > MOST_PORTIONS:
            raise RedriveUnderWayError(
                f"{len(left)} redrives with different filters are under way: wait until GET /sync "
                "shows none, or redrive without filters"
            )
        selections = tuple(portion.selection for portion in asked)
        return cls(
            tuple(portion.status for portion in asked),
            started_at,
            sum(count(portion) for portion in asked),
            asked_at=tuple(asked.values()),
            selections=selections if any(each != ALL for each in selections) else (),
        )

    def asked(self) -> dict[Portion, datetime]:
        """Give the portions that are left, and when each was asked for."""
        times = self.asked_at or (self.started_at,) * len(self.statuses)
        selections = self.selections or (ALL,) * len(self.statuses)
        portions = map(Portion, self.statuses, selections)
        return dict(zip(portions, times, strict=True))

    def advanced(self, seen: Redrive, done: int, after: Position | None) -> Redrive | None:
        """Count `done` more, and go on after `after`, None for the next portion.

        None if all is done. Another copy may have gone on from `seen`: then only the number counts.
        """
        counted = replace(self, done=self.done + done)
        if (self.asked(), self.after) != (seen.asked(), seen.after):
            return counted
        if after is not None:
            return replace(counted, after=after)
        rest = self.statuses[1:]
        left = replace(
            counted,
            statuses=rest,
            asked_at=self.asked_at[1:],
            selections=self.selections[1:],
            after=None,
        )
        return left if rest else None

    def to_json(self) -> Json:
        """Give the progress as operators see it."""
        return {"startedAt": rfc3339(self.started_at), "count": self.count, "done": self.done}


@dataclass(frozen=True, slots=True)
class Control:
    """The state of the sync as a whole. `revision` grows by one with every change."""

    breaker: Breaker = field(default_factory=Breaker)
    pause: Pause | None = None
    catch_up: CatchUp | None = None
    redrive: Redrive | None = None
    revision: int = 0

    def is_paused(self, now: datetime) -> bool:
        """Say whether an operator's pause holds."""
        return self.pause is not None and (self.pause.until is None or now < self.pause.until)

    def is_held(self, now: datetime) -> bool:
        """Say whether no calls are made, but probes."""
        return self.is_paused(now) or not self.breaker.is_closed

    def accepting_since(self, now: datetime, policy: BreakerPolicy) -> datetime | None:
        """Say since when calls are neither held nor on the ramp after it; None if they are."""
        if self.is_held(now):
            return None
        since = self.breaker.ramp_end(policy)
        return since if since <= now else None

    def held_by(self, now: datetime) -> str | None:
        """Say why no calls are made, to operators too; None if they are."""
        if self.pause is not None and self.is_paused(now):
            return _with_reason("paused", self.pause.reason)
        if self.breaker.is_closed:
            return None
        since = f" since {rfc3339(self.breaker.since)}" if self.breaker.since else ""
        return _with_reason(f"the breaker is open{since}", self.breaker.reason)

    def admit(self, wanted: int, now: datetime, policy: BreakerPolicy) -> tuple[Admission, Control]:
        """Decide about `wanted` calls; the control is the same object if nothing has changed."""
        if self.is_paused(now):
            return Admission(0, again=None), self
        current = self.settled(now)
        admission, breaker = current.breaker.admit(wanted, now, policy)
        if breaker is current.breaker:
            return admission, current
        return admission, replace(current, breaker=breaker)

    def put_off_by(self, now: datetime, policy: BreakerPolicy) -> str | None:
        """Say why calls that are not urgent must wait, to operators too; None if they need not."""
        cooldown = self.breaker.cooldown_until
        if held := self.held_by(now):
            return held
        if self.catch_up is not None or self.breaker.is_ramping(now, policy):
            return "what an outage or a pause has delayed comes first"
        if self.redrive is not None:
            return "a redrive comes first"
        if cooldown is not None and now < cooldown:
            return f"the supply chain asked for no calls until {rfc3339(cooldown)}"
        return None

    def spare(self, wanted: int, now: datetime, policy: BreakerPolicy) -> tuple[int, Control]:
        """Say how many of `wanted` calls that are not urgent may be made.

        What is refused takes no place in the queue of the others.
        """
        if self.put_off_by(now, policy):
            return 0, self
        admission, after = self.admit(wanted, now, policy)
        kept = replace(after.breaker, queued_until=self.breaker.queued_until)
        return admission.granted, replace(after, breaker=kept) if admission.granted else self

    def reported(self, report: Report, now: datetime, policy: BreakerPolicy) -> Control:
        """Add what a worker has seen."""
        return replace(self, breaker=self.breaker.reported(report, now, policy))

    def probed(self, report: Report | None, now: datetime, policy: BreakerPolicy) -> Control:
        """Note what a probe has seen; if that closes the breaker, what waits is brought forward."""
        return self._with(self.breaker.probed(report, now, policy), now)

    def starved(self, now: datetime) -> Control:
        """Close the breaker if a probe was answered and no product is left for the next."""
        return self._with(self.breaker.starved(now), now)

    def _with(self, breaker: Breaker, now: datetime) -> Control:
        closed = breaker.is_closed and not self.breaker.is_closed
        return replace(self, breaker=breaker, catch_up=CatchUp(now) if closed else self.catch_up)

    # ---- the pause ----

    def paused(self, pause: Pause) -> Control:
        """Stop all calls; a pause that holds already keeps its beginning."""
        since = self.pause.since if self.is_paused(pause.since) and self.pause else pause.since
        return replace(self, pause=replace(pause, since=since))

    def resumed(self, now: datetime) -> Control:
        """Allow calls again, at the ramp's rate, and bring forward what waits."""
        if self.pause is None:
            return self
        breaker = self.breaker
        if breaker.is_closed:
            breaker = replace(breaker, ramp_since=now)
        return replace(self, pause=None, breaker=breaker, catch_up=CatchUp(now))

    def settled(self, now: datetime) -> Control:
        """End a pause whose time is over; the same object otherwise."""
        return self if self.pause is None or self.is_paused(now) else self.resumed(now)


def _with_reason(text: str, reason: str | None) -> str:
    return f"{text}: {reason}" if reason else text
