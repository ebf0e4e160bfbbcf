"""The republish: the whole catalog as events again, for listeners that lack it. Pure.

Why its events have a type of their own: docs/adr/0031-a-republish-is-no-change.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from chalicelib.domain import exact_json
from chalicelib.domain.events import Event, EventType
from chalicelib.domain.exact_json import Json
from chalicelib.domain.product import Product
from chalicelib.domain.times import rfc3339, rfc3339_or_none

TRIES = 3
"""How often events are published that the stream refuses while it takes others."""
FEW = 5
"""Of so many events, one that is taken is enough to give up the others; of fewer, all may be such
that the stream never takes, for example since they are too large for it."""


def republished(product: Product, began: datetime, now: datetime) -> Event:
    """Say again what a product is; as bulk, since it is one of many.

    `began`: the run. It belongs to the message id, so that the stream does not take the events of
    two runs for duplicates, but drops those of a page that comes twice.
    """
    data = exact_json.dumps(product.to_json())
    return Event(
        EventType.REPUBLISHED, product.id, product.version, now, data, bulk=True, run=began
    )


@dataclass(frozen=True, slots=True)
class Page:
    """What was done about the next `checked` products, up to `after`; `is_last`: there are no more.

    `missing`: events that the stream did not take. `held`: why nothing was tried.
    """

    after: str | None = None
    is_last: bool = False
    checked: int = 0
    published: int = 0
    missing: int = 0
    unreadable: int = 0
    held: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One walk through all products, in the order of their ids.

    `checked`: products looked at, deletions among them, which have no event; `refused`: events that
    the stream did not take; `unreadable`: documents. `rate`: events per second. `position`: the
    last id. `tries`: of the next page. `held`: why it makes no progress. `stopped_by`: who has
    stopped it before its end.
    """

    started_at: datetime
    started_by: str
    rate: float
    total: int
    checked: int = 0
    published: int = 0
    refused: int = 0
    unreadable: int = 0
    position: str | None = None
    tries: int = 0
    held: str | None = None
    finished_at: datetime | None = None
    stopped_by: str | None = None

    def with_page(self, page: Page, now: datetime) -> Run:
        """Add a page, or say why it comes again."""
        if page.held is not None:
            return replace(self, held=page.held)
        if page.missing and self.tries + 1 < TRIES:
            return replace(self, tries=self.tries + 1, held=_refusal(page.missing))
        if page.missing >= FEW and not page.published:
            # The stream takes nothing at all: to go on would leave out the rest of the catalog.
            return replace(self, held=_refusal(page.missing))
        return replace(
            self,
            checked=self.checked + page.checked,
            published=self.published + page.published,
            refused=self.refused + page.missing,
            unreadable=self.unreadable + page.unreadable,
            position=page.after or self.position,
            tries=0,
            held=None,
            finished_at=now if page.is_last else None,
        )

    @property
    def is_whole(self) -> bool:
        """Say whether the stream has an event of every product."""
        ended = self.finished_at is not None and self.stopped_by is None
        return ended and not self.refused and not self.unreadable

    def to_json(self) -> Json:
        """Give it as operators see it."""
        return {
            "state": "running" if self.finished_at is None else "done",
            "checked": self.checked,
            "total": max(self.total, self.checked),
            "published": self.published,
            "refused": self.refused,
            "unreadable": self.unreadable,
            "maxRate": self.rate,
            "startedAt": rfc3339(self.started_at),
            "finishedAt": rfc3339_or_none(self.finished_at),
            "startedBy": self.started_by,
            "stoppedBy": self.stopped_by,
            "held": self.held,
        }


def _refusal(missing: int) -> str:
    return f"the stream does not take {missing:,} event{'' if missing == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class RepublishState:
    """What all processes share about it. `revision` grows by one with every change.

    `run`: the one that is under way; `last`: the one that has ended last.
    """

    run: Run | None = None
    last: Run | None = None
    revision: int = 0

    @property
    def shown(self) -> Run | None:
        """The one that is under way, else the last one."""
        return self.run or self.last

    def with_stop(self, seen: Run, who: str, now: datetime) -> RepublishState:
        """End a run, unless it has ended by itself."""
        if self.run is None or self.run.started_at != seen.started_at:
            return self
        ended = replace(self.run, stopped_by=who, finished_at=now, held=None)
        return replace(self, run=None, last=ended)

    def with_page(self, seen: Run, page: Page, now: datetime) -> RepublishState:
        """Add a page to the run that it was made for, as that was then.

        If another copy has made the same page meanwhile, nothing: the stream has dropped the second
        of each event.
        """
        stored = self.run
        if stored is None or stored.started_at != seen.started_at:
            return self
        if (stored.position, stored.tries) != (seen.position, seen.tries):
            return self
        run = stored.with_page(page, now)
        if run.finished_at is None:
            return replace(self, run=run)
        return replace(self, run=None, last=run)
