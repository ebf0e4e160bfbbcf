"""The audit: whether the supply chain holds what the catalog says. Pure.

What an answer says about one product, when that counts, and how far an audit is. What an audit
proves, and what not: docs/audit.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from chalicelib.domain.answers import ABSENT, QUESTIONS, Answer
from chalicelib.domain.exact_json import Json
from chalicelib.domain.looked_after import LookedAfter
from chalicelib.domain.messages import MAX_COUNT
from chalicelib.domain.product import FIELD_TYPES, MAX_INT64, OPTIONAL_FIELDS, Product
from chalicelib.domain.times import rfc3339, rfc3339_or_none

TRIES = 9
"""How often the supply chain is asked for one product, with answers that say nothing counted."""
EXAMPLES = 100
"""Differences that are kept one by one; the others are only counted."""
SILENT_PAGES = 3
"""So often a page of which no question is answered is tried, before its products count as
unanswered and the audit goes on."""
REQUIRED_FIELDS = FIELD_TYPES.keys() - OPTIONAL_FIELDS
"""An answer that names no version must have these: else nothing would be compared."""
_DIGITS = re.compile(r"[0-9]{1,18}")
HIGHEST_LIFT = MAX_COUNT // 2
"""The highest version that an audit makes: messages must be able to carry the changes that follow.
One above it, which only a mistake can have made, is left to a person."""
REPAIRS = 2
"""Repairs of a product in a row that may be in vain; then it is left to a person. A supply chain
that stores a value in another form would get it again and again."""


class Difference(StrEnum):
    """How what the supply chain holds differs from the newest version of a product."""

    MISSING = "missing"
    OLDER = "older"
    NEWER = "newer"
    DIFFERENT = "different"
    UNDELETED = "undeleted"


# ---- one product ----


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference; `held`: the version that the supply chain has, None if it names none.

    `fields`: those that differ, of a product with the same version.
    """

    difference: Difference
    held: int | None = None
    fields: tuple[str, ...] = ()


def is_usable(product: Product, answer: Answer | None) -> bool:
    """Say whether an answer to the question says anything about this product."""
    if answer is None:
        return False
    if answer.status != 200:
        return answer.status in ABSENT
    said = answer.json()
    named = _version(said) is not None or (
        said.get("version") is None and said.keys() >= REQUIRED_FIELDS
    )
    return named and said.get("id", product.id) == product.id


def compare(product: Product, answer: Answer) -> Finding | None:
    """Say how the product of a usable answer differs from this one; None if it does not."""
    absent = answer.status in ABSENT
    held = _version(answer.json())
    newer = Finding(Difference.NEWER, held) if held is not None and held > product.version else None
    if product.deleted_at is not None:
        return None if absent else newer or Finding(Difference.UNDELETED, held)
    if absent:
        return Finding(Difference.MISSING)
    if held is not None and held < product.version:
        return Finding(Difference.OLDER, held)
    differing = _differing(product, answer.json())
    different = Finding(Difference.DIFFERENT, held, differing) if differing else None
    return newer or different


def _version(said: Json) -> int | None:
    """Give the version, also from `3.0` and `"3"`; None if it is none that can be stored."""
    version = said.get("version")
    if isinstance(version, str) and _DIGITS.fullmatch(version):
        return int(version)
    # `true` is an int in Python.
    if not isinstance(version, int | Decimal) or isinstance(version, bool):
        return None
    if not -MAX_INT64 <= version <= MAX_INT64 or version != int(version):
        return None
    return int(version)


def _differing(product: Product, said: Json) -> tuple[str, ...]:
    """Name the fields with another value, of those that the answer has."""
    ours = product.fields.to_json()
    there = [name for name in FIELD_TYPES if name in said]
    return tuple(name for name in there if not _is_same(ours.get(name), said[name]))


def _is_same(ours: object, theirs: object) -> bool:
    """Compare numbers by value; empty is as good as absent."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(_is_same(ours[k], theirs[k]) for k in ours)
    if _is_number(ours) and _is_number(theirs):
        return ours == theirs
    if _is_empty(ours) or _is_empty(theirs):
        return _is_empty(ours) and _is_empty(theirs)
    # `true` equals 1 in Python.
    return type(ours) is type(theirs) and ours == theirs


def _is_number(value: object) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _is_empty(value: object) -> bool:
    return value is None or value in ("", {}, [])


@dataclass(frozen=True, slots=True)
class Inquiry:
    """The questions about one product, until their answers can be believed.

    The very data that the product has is believed at once: no wrong answer has it. Anything else
    must be said again, absence twice more in a row, since answers may be wrong at random. An answer
    that says nothing counts only as a try.
    """

    product: Product
    tries: int = 0
    said: Finding | None = None
    row: int = 0

    def heard(self, answer: Answer | None) -> Inquiry:
        """Count one more answer; None if there was none."""
        asked = replace(self, tries=self.tries + 1)
        if answer is None or not is_usable(self.product, answer):
            return asked
        said = compare(self.product, answer)
        again = self.row > 0 and said == self.said
        return replace(asked, said=said, row=self.row + 1 if again else 1)

    @property
    def is_believed(self) -> bool:
        """Say whether what was said last counts."""
        absent = self.said is not None and self.said.difference is Difference.MISSING
        gone = self.said is None and self.product.deleted_at is not None
        return self.row >= (1 + QUESTIONS if absent or gone else 1 if self.said is None else 2)

    @property
    def is_over(self) -> bool:
        """Say whether no more questions are asked."""
        return self.is_believed or self.tries >= TRIES


class Repair(StrEnum):
    """What ends a difference."""

    DELIVER = "deliver the version again"
    LIFT = "make a version above that of the supply chain"


def repair_of(product: Product, finding: Finding, run: Run) -> tuple[Repair, int] | None:
    """Say how to repair it, and the version it has then; None: a person must look at it.

    A product is repaired once in a run, and not again and again in vain. Data that differs at the
    same version is delivered again; a supply chain that ignores a version it has gets a new one.
    """
    sync = product.sync
    repaired = sync.repair_started_at == run.started_at
    if not run.repair or repaired or sync.repairs >= REPAIRS:
        return None
    in_vain = finding.difference is Difference.DIFFERENT and sync.repairs > 0
    if finding.difference is not Difference.NEWER and not in_vain:
        return Repair.DELIVER, product.version
    version = max(product.version, -1 if finding.held is None else finding.held) + 1
    return (Repair.LIFT, version) if version <= HIGHEST_LIFT else None


# ---- many products ----


@dataclass(frozen=True, slots=True)
class Example:
    """One difference that was found; `ended`: a later comparison has found the product right."""

    id: str
    difference: Difference
    version: int
    held: int | None
    fields: tuple[str, ...]
    repaired: bool
    at: datetime
    ended: bool = False

    def to_json(self) -> Json:
        """Give it as operators see it."""
        return {
            "id": self.id,
            "difference": self.difference.value,
            "version": self.version,
            "held": self.held,
            "fields": list(self.fields),
            "repaired": self.repaired,
            "at": rfc3339(self.at),
        }


@dataclass(frozen=True, slots=True)
class Page:
    """What was found about the products up to `after`; `is_last`: there are no more.

    `silent`: none of the questions was answered. `right`: the products that do not differ.
    """

    after: str | None
    is_last: bool
    checked: int = 0
    behind: int = 0
    unanswered: int = 0
    found: tuple[Example, ...] = ()
    right: frozenset[str] = frozenset()
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Run(LookedAfter):
    """One walk through all products, in the order of their ids.

    `checked`: products looked at, confirmed deletions among them; of these `behind` were not
    compared, since the supply chain lacks their newest version anyway, and `unanswered` could not
    be. `position`: the last id. `silent`: pages in a row of which no question was answered.
    `ended`: differences beyond the examples that a full audit has looked at since. `stopped_by`:
    who has stopped it before its end. `seen_at`: when a full one was looked after last.
    """

    started_at: datetime
    started_by: str
    repair: bool
    total: int
    checked: int = 0
    behind: int = 0
    unanswered: int = 0
    differences: Mapping[Difference, int] = field(default_factory=dict)
    repaired: int = 0
    position: str | None = None
    silent: int = 0
    finished_at: datetime | None = None
    examples: tuple[Example, ...] = ()
    ended: int = 0
    stopped_by: str | None = None
    seen_at: datetime | None = None

    def _unseen_for(self, now: datetime) -> timedelta:
        # An audit of the release before does not say.
        return now - self.seen_at if self.seen_at else timedelta(0)

    @property
    def found(self) -> int:
        """How many products differ."""
        return sum(self.differences.values())

    @property
    def gives_up(self) -> bool:
        """Say whether a page without any answer counts as unanswered now."""
        return self.silent + 1 >= SILENT_PAGES

    def with_page(self, page: Page, now: datetime) -> Run:
        """Add what a page has found."""
        if page.silent and not self.gives_up:
            return replace(self, silent=self.silent + 1)
        counted = self.with_found(page.found)
        return replace(
            counted,
            checked=self.checked + page.checked,
            behind=self.behind + page.behind,
            unanswered=self.unanswered + page.unanswered,
            position=page.after or self.position,
            silent=0,
            finished_at=now if page.is_last else None,
        )

    def with_found(self, found: Sequence[Example]) -> Run:
        """Add differences, and what was repaired of them."""
        counts = dict(self.differences)
        for example in found:
            counts[example.difference] = counts.get(example.difference, 0) + 1
        return replace(
            self,
            differences=counts,
            repaired=self.repaired + sum(example.repaired for example in found),
            examples=(*self.examples, *found)[:EXAMPLES],
        )

    @property
    def unlisted(self) -> int:
        """How many differences beyond the examples were not repaired, nor looked at since."""
        more = self.found - len(self.examples)
        repaired = self.repaired - sum(example.repaired for example in self.examples)
        return max(0, more - repaired - self.ended)

    def with_right(self, right: frozenset[str]) -> Run:
        """End the examples of products that do not differ any more."""
        if right.isdisjoint(example.id for example in self.examples):
            return self
        examples = (replace(it, ended=it.ended or it.id in right) for it in self.examples)
        return replace(self, examples=tuple(examples))

    def followed_by(self, full: Run) -> Run:
        """End what was found before a full audit began that has ended now: it has it, if still so.

        The others make no page while it runs, so all that is not an example was found before.
        """
        examples = (replace(it, ended=it.ended or it.at <= full.started_at) for it in self.examples)
        return replace(self, examples=tuple(examples), ended=self.ended + self.unlisted)

    @property
    def is_proof(self) -> bool:
        """Say whether it has ended, and found every product right."""
        whole = self.finished_at is not None and self.stopped_by is None
        return whole and not (self.found or self.behind or self.unanswered)

    @property
    def statement(self) -> str | None:
        """Say what a finished audit has proved; None before."""
        if self.finished_at is None:
            return None
        if self.stopped_by is not None:
            after = f"{self.checked:,} of {max(self.total, self.checked):,} products"
            return f"stopped by {self.stopped_by} at {rfc3339(self.finished_at)} after {after}"
        held = "the supply chain held the newest version of"
        begin, number = f"at {rfc3339(self.finished_at)} {held}", f"{self.checked:,}"
        but = {
            f"differed ({self.repaired:,} repaired since)": self.found,
            "not delivered yet": self.behind,
            "without an answer": self.unanswered,
        }
        if exceptions := sum(but.values()):
            told = ", ".join(f"{count:,} {what}" for what, count in but.items() if count)
            return f"{begin} all {number} products, but for {exceptions:,}: {told}"
        return f"{begin} all {number} products"

    def to_json(self) -> Json:
        """Give it as operators see it."""
        return {
            "state": "running" if self.finished_at is None else "done",
            "checked": self.checked,
            "total": max(self.total, self.checked),
            "behind": self.behind,
            "unanswered": self.unanswered,
            "repair": self.repair,
            "differences": {kind.value: self.differences.get(kind, 0) for kind in Difference},
            "repaired": self.repaired,
            "startedAt": rfc3339(self.started_at),
            "finishedAt": rfc3339_or_none(self.finished_at),
            "startedBy": self.started_by,
            "stoppedBy": self.stopped_by,
            "statement": self.statement,
            "examples": [example.to_json() for example in self.examples],
        }


@dataclass(frozen=True, slots=True)
class AuditState:
    """What all processes share about audits. `revision` grows by one with every change.

    `run`: the full audit that runs, `last`: the one that has ended last. `rolling`: the audit that
    reconcile makes of a few products at a time, `rolled`: its walk before. `stopped`: the full
    audit that was stopped last; it says nothing about what `last` has found behind its position.
    """

    run: Run | None = None
    last: Run | None = None
    rolling: Run | None = None
    rolled: Run | None = None
    stopped: Run | None = None
    revision: int = 0

    @property
    def shown(self) -> Run | None:
        """The full audit that runs, else the newest of the others."""
        others = [run for run in (self.last, self.stopped) if run is not None]
        return self.run or max(others, key=lambda run: run.started_at, default=None)

    @property
    def runs(self) -> list[Run]:
        """All that is known."""
        runs = (self.rolled, self.rolling, self.stopped, self.last, self.run)
        return [run for run in runs if run is not None]

    def with_stop(self, seen: Run, who: str, now: datetime) -> AuditState:
        """End a full audit, unless it has ended by itself."""
        if self.run is None or self.run.started_at != seen.started_at:
            return self
        return replace(self, run=None, stopped=replace(self.run, stopped_by=who, finished_at=now))

    def with_page(
        self, seen: Run, page: Page, now: datetime, *, rolling: bool = False
    ) -> AuditState:
        """Add a page to the run that it was made for, as that was then.

        If another copy has made the same page meanwhile, only what was repaired here is added: the
        other one has found these products changed.
        """
        stored, before = (self.rolling, self.rolled) if rolling else (self.run, self.last)
        if stored is None and rolling and (before is None or before.started_at < seen.started_at):
            stored = seen
        if stored is None or stored.started_at != seen.started_at:
            return self
        if (stored.position, stored.silent) != (seen.position, seen.silent):
            run = stored.with_found([item for item in page.found if item.repaired])
        else:
            run = stored.with_page(page, now)
        ended, under_way = (run, None) if run.finished_at is not None else (before, run)
        if rolling:
            return _with_right(replace(self, rolling=under_way, rolled=ended), page.right)
        state = _with_right(replace(self, run=under_way, last=ended), page.right)
        return state if ended is None or ended is before else _followed_by(state, ended)


def _with_right(state: AuditState, right: frozenset[str]) -> AuditState:
    names = ("run", "last", "rolling", "rolled", "stopped")
    return _with_runs(state, names, lambda run: run.with_right(right))


def _followed_by(state: AuditState, full: Run) -> AuditState:
    return _with_runs(state, ("rolling", "rolled", "stopped"), lambda run: run.followed_by(full))


def _with_runs(state: AuditState, names: Sequence[str], change: Callable[[Run], Run]) -> AuditState:
    """Change the runs with these names, of those that there are."""
    there = {name: run for name in names if (run := getattr(state, name)) is not None}
    changed: dict[str, Any] = {name: change(run) for name, run in there.items()}
    return replace(state, **changed)
