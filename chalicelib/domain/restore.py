"""What a store that was restored to an earlier time needs: the decisions, and how far it is. Pure.

The stream has what was written since, and every version is lifted above those that were given out
once: docs/disaster.md, docs/adr/0030-a-restored-store-is-lifted.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from chalicelib.domain import exact_json
from chalicelib.domain.errors import PoisonMessageError
from chalicelib.domain.events import EventType
from chalicelib.domain.exact_json import Json
from chalicelib.domain.looked_after import LookedAfter
from chalicelib.domain.messages import SyncMessage, is_version_of
from chalicelib.domain.product import FIELD_TYPES, OPTIONAL_FIELDS, Product, ProductFields
from chalicelib.domain.sync_state import SyncState
from chalicelib.domain.times import in_milliseconds, rfc3339, rfc3339_or_none

MARGIN = 1_000_000
"""Added to the highest version that is known: a write whose event never reached the stream, and
that was not delivered either, may have given out a higher one. With one change a second that is
eleven days without NATS. It costs nothing: versions go to 2^53, and 2,000 restores fit into the 32
bits that a supply chain may have for them."""
HIGHEST = 2**52
"""A version above this one can only be a mistake: neither replay nor lift goes by it."""
LISTED = 1_000
"""How many of each kind are listed; the others are counted, and logged one by one."""
KEPT_SKUS = 10_000
"""Replayed skus that wait for one another; beyond that, products stay without theirs, and are
listed."""
TYPES = frozenset(event_type.value for event_type in EventType)
AUDITS = 3
"""Audits at the end, until one has nothing to except: writes go on meanwhile."""


class Phase(StrEnum):
    """What a restore does."""

    REPLAYING = "replaying"
    LIFTING = "lifting"
    LIFTED = "lifted"
    AUDITING = "auditing"
    DONE = "done"


# ---- one product ----


def product_of(data: bytes) -> Product | None:
    """Give the product of an event as it was at that version; None of a type that is not known.

    Each event has the whole product, also one of a delivery or of a republish: it may be the only
    one, since that of the change was never published, or a stream before this one had it. Raises
    PoisonMessageError if it cannot be read.
    """
    try:
        event = exact_json.loads(data)
    except ValueError as error:
        raise PoisonMessageError(f"the event is not JSON: {error}") from error
    match event:
        case {"type": kind, "data": {"id": product_id, "version": version, **rest}} if (
            kind in TYPES and is_version_of(product_id, version) and version <= HIGHEST
        ):
            return _product(product_id, version, rest)
        case {"type": kind} if kind not in TYPES:
            return None
    raise PoisonMessageError("the event names no product and version")


def told_at(data: bytes) -> datetime | None:
    """Say when an event was; None if it does not say so."""
    try:
        return datetime.fromisoformat(exact_json.loads(data)["time"])
    except (LookupError, TypeError, ValueError):
        return None


def _product(product_id: str, version: int, said: Mapping[Any, Any]) -> Product:
    try:
        return Product(
            product_id,
            # Only the types are checked, as of a document: a rule may be stricter than it was.
            ProductFields.model_construct(
                **{name: _field(name, kind, said) for name, kind in FIELD_TYPES.items()}
            ),
            version,
            datetime.fromisoformat(said["createdAt"]),
            datetime.fromisoformat(said["updatedAt"]),
            SyncState(),
            deleted_at=datetime.fromisoformat(at) if (at := said.get("deletedAt")) else None,
        )
    except (LookupError, TypeError, ValueError) as error:
        raise PoisonMessageError(f"the event of {product_id} has no product: {error!r}") from error


def _field(name: str, kind: type, said: Mapping[Any, Any]) -> Any:  # noqa: ANN401 - each its own
    if name in OPTIONAL_FIELDS and said.get(name) is None:
        return None
    value = said[name]
    if kind is Decimal and type(value) is int:
        return Decimal(value)
    if not isinstance(value, kind):
        raise TypeError(f"{name} is no {kind.__name__}")
    return value


def newest(products: Iterable[Product]) -> dict[str, Product]:
    """Give the highest version of each product, by id. Events may come in another order."""
    found: dict[str, Product] = {}
    for product in products:
        if product.id not in found or product.version > found[product.id].version:
            found[product.id] = product
    return found


def replayed(found: Product, stored: Product | None, now: datetime, mark: datetime) -> Product:
    """Give what to store in place of an older document, or of none.

    `mark`: the beginning of this restore. Nothing of the older state of the sync stays: leases,
    messages and attempts are of another time. But whether the supply chain once had the product:
    if it has not any more, a deletion is lost.
    """
    delivered = None if stored is None else stored.sync.delivered_version
    sync = SyncState(
        delivered_version=delivered, behind_since=now, overdue_at=now, repair_started_at=mark
    )
    revision = 0 if stored is None else stored.revision + 1
    return replace(found, sync=sync, revision=revision)


def is_newer(found: Product, stored: Product | None) -> bool:
    """Say whether the stream knows a later version than the store."""
    return stored is None or found.version > stored.version


def given_out_twice(told: Iterable[Product], stored: Mapping[str, Product]) -> list[Loss]:
    """Name the products of which two changes have one version, since somebody wrote in between.

    Only one of them can stay.
    """
    times = {(it.id, it.version): it.updated_at for it in stored.values()}
    found: dict[str, Loss] = {}
    for it in told:
        first = times.setdefault((it.id, it.version), it.updated_at)
        if in_milliseconds(first) != in_milliseconds(it.updated_at):
            found[it.id] = Loss(it.id, it.version, it.version)
    return list(found.values())


def lacked_sku(found: Product, stored: Product) -> str | None:
    """Give the sku that a document of this version should have and has not."""
    is_same = found.version == stored.version and stored.deleted_at is None
    return found.fields.sku if is_same and stored.fields.sku is None else None


def without_sku(product: Product) -> Product:
    """Give it without its sku, which another product has."""
    return replace(product, fields=product.fields.model_copy(update={"sku": None}))


def with_sku(product: Product, sku: str | None) -> Product:
    """Give it with the sku that it had to do without; not a tombstone, which has none."""
    if sku is None or product.deleted_at is not None or product.fields.sku is not None:
        return product
    return replace(product, fields=product.fields.model_copy(update={"sku": sku}))


def lifted(product: Product, held: int | None, now: datetime, grace: timedelta) -> Product:
    """Make a version above all that may have been given out, which must be delivered.

    `held`: the version of the supply chain, if it is known and not lower.
    """
    known = max(product.version, held if held is not None and held <= HIGHEST else -1)
    # As a new product: a lease or a budget of before the restore says nothing.
    sync = SyncState().restarted(now, now + grace, bulk=True)
    changed = EventType.UPDATED if product.deleted_at is None else EventType.DELETED
    later = replace(product, revision=product.revision + 1)
    return later.with_version(known + MARGIN, sync, changed, now, None)


# ---- what is listed ----


@dataclass(frozen=True, slots=True)
class Loss:
    """A product of which only the supply chain knows the newest version.

    `restored`: the version that store and stream have; `held`: the supply chain's, None if it does
    not have the product any more: the deletion is lost. Both are the same if that version was given
    out twice: the supply chain, or the stream, has another change of that number.
    """

    id: str
    restored: int
    held: int | None

    def to_json(self) -> Json:
        """Give it as operators see it."""
        return {"id": self.id, "restored": self.restored, "held": self.held}


@dataclass(frozen=True, slots=True)
class Clash:
    """A product that had to do without its sku, since `holder` has it."""

    id: str
    sku: str
    holder: str | None

    def to_json(self) -> Json:
        """Give it as operators see it."""
        return {"id": self.id, "sku": self.sku, "holder": self.holder}


@dataclass(frozen=True, slots=True)
class Stray:
    """A product that only a dead letter names: neither store nor stream has it."""

    id: str
    version: int

    def to_json(self) -> Json:
        """Give it as operators see it."""
        return {"id": self.id, "version": self.version}


@dataclass(frozen=True, slots=True)
class Replay:
    """What a page of the stream has led to; `last`: its last message, `left`: how many follow.

    `first_at`: when its first event was. `skus`: what products wait for, None for no longer.
    """

    last: int
    left: int
    events: int = 0
    unreadable: int = 0
    products: int = 0
    first_at: datetime | None = None
    skus: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lift:
    """What a page of products has led to; `after`: the last id."""

    after: str | None
    lifted: int = 0
    unreadable: tuple[str, ...] = ()
    clashes: tuple[Clash, ...] = ()


# ---- the whole ----


@dataclass(frozen=True, slots=True)
class Restore(LookedAfter):
    """How far a restore is, and what it has found.

    `ask`: the supply chain is asked for each product before it is lifted. `position`: the last
    message of the stream that was replayed; `left`: how many follow, None before the first page.
    `events` and `unreadable_events` of the stream; `replayed`: products of which it was newer.
    `skus`: of products that had to do without, since another one had it then.
    `after`: the last id that was lifted. `lost`, `unreadable_count`, `clash_count`, `stray_count`:
    how many `losses`, `unreadable`, `clashes`, `strays` there are, also beyond those listed.
    `audits`: how many have ended; `audit_at`: the beginning of the one that runs. `proved`: the
    last one found every product right. `seen_at`: when it was looked after last.
    """

    started_at: datetime
    started_by: str
    ask: bool
    total: int
    phase: Phase = Phase.REPLAYING
    position: int = 0
    left: int | None = None
    first_event_at: datetime | None = None
    events: int = 0
    unreadable_events: int = 0
    replayed: int = 0
    skus: Mapping[str, str] = field(default_factory=dict)
    after: str | None = None
    lifted: int = 0
    unanswered: int = 0
    unreadable: tuple[str, ...] = ()
    unreadable_count: int = 0
    losses: tuple[Loss, ...] = ()
    lost: int = 0
    clashes: tuple[Clash, ...] = ()
    clash_count: int = 0
    strays: tuple[Stray, ...] = ()
    stray_count: int = 0
    lifted_at: datetime | None = None
    audit_at: datetime | None = None
    audits: int = 0
    finished_at: datetime | None = None
    statement: str | None = None
    proved: bool = False
    seen_at: datetime | None = None

    @property
    def needs_the_mode(self) -> bool:
        """Say whether it goes on only while the catalog is read-only."""
        return self.phase in {Phase.REPLAYING, Phase.LIFTING}

    def _unseen_for(self, now: datetime) -> timedelta:
        done = self.phase is Phase.DONE
        return timedelta(0) if done else now - (self.seen_at or self.started_at)

    def instead_of(self, other: Restore | None) -> Restore:
        """Keep what one that is not at its end has found: after its lift nobody can tell again."""
        if other is None or other.phase is Phase.DONE:
            return self
        return replace(
            self,
            unanswered=other.unanswered,
            losses=other.losses,
            lost=other.lost,
            clashes=other.clashes,
            clash_count=other.clash_count,
            # Their letters are deleted once writes are accepted.
            strays=other.strays,
            stray_count=other.stray_count,
        )

    def with_replay(self, seen: Restore, page: Replay) -> Restore:
        """Add a page of the stream, unless another copy was faster."""
        if not self.is_at(seen):
            return self
        waiting = {**self.skus, **page.skus}
        skus = [(name, sku) for name, sku in waiting.items() if sku is not None]
        return replace(
            self,
            phase=Phase.REPLAYING if page.left else Phase.LIFTING,
            position=max(self.position, page.last),
            left=page.left,
            first_event_at=self.first_event_at or page.first_at,
            events=self.events + page.events,
            unreadable_events=self.unreadable_events + page.unreadable,
            replayed=self.replayed + page.products,
            skus=dict(skus[:KEPT_SKUS]),
        ).with_clashes([Clash(name, sku, None) for name, sku in skus[KEPT_SKUS:]])

    def with_losses(self, seen: Restore, losses: Sequence[Loss], unanswered: int = 0) -> Restore:
        """List these, before they are lifted; once, though a page may come twice.

        `unanswered`: how many of the page may be lost, since nobody knows. After a crash they are
        counted twice: when the page comes again, there is an answer, to the lifted version.
        """
        known = {loss.id for loss in self.losses}
        new = [loss for loss in losses if loss.id not in known]
        if not self.is_at(seen):
            return self
        return replace(
            self,
            losses=(*self.losses, *new)[:LISTED],
            lost=self.lost + len(new),
            unanswered=self.unanswered + unanswered,
        )

    def with_lift(self, seen: Restore, page: Lift) -> Restore:
        """Add a page of products, unless another copy was faster."""
        if not self.is_at(seen):
            return self
        return replace(
            self,
            after=page.after or self.after,
            lifted=self.lifted + page.lifted,
            unreadable=(*self.unreadable, *page.unreadable)[:LISTED],
            unreadable_count=self.unreadable_count + len(page.unreadable),
        ).with_clashes(page.clashes)

    def with_clashes(self, found: Sequence[Clash]) -> Restore:
        """List these too; one that had to do without its sku before may have to again."""
        clashes = {it.id: it for it in (*self.clashes, *found)}
        return replace(
            self,
            clashes=tuple(clashes.values())[:LISTED],
            clash_count=self.clash_count + len(clashes) - len(self.clashes),
        )

    def is_at(self, seen: Restore) -> bool:
        """Say whether it still is where a step has seen it."""
        there = (self.started_at, self.phase, self.position, self.after)
        return there == (seen.started_at, seen.phase, seen.position, seen.after)

    def with_end_of_lift(self, seen: Restore, strays: Sequence[Stray], now: datetime) -> Restore:
        """All products are lifted: from now on writes may be accepted."""
        if not self.is_at(seen):
            return self
        return replace(
            self,
            phase=Phase.LIFTED,
            strays=tuple(strays[:LISTED]),
            stray_count=len(strays),
            lifted_at=now,
            skus={},
        )

    def with_audit(self, seen: Restore, begun: datetime) -> Restore:
        """The audit that began then is the last phase."""
        return replace(self, phase=Phase.AUDITING, audit_at=begun) if self.is_at(seen) else self

    def with_end(
        self, seen: Restore, statement: str | None, now: datetime, *, proved: bool
    ) -> Restore:
        """The audit has ended; what it has repaired is delivered, and another one follows."""
        if not self.is_at(seen):
            return self
        told = replace(self, statement=statement, proved=proved, audits=self.audits + 1)
        if proved or told.audits >= AUDITS:
            return replace(told, phase=Phase.DONE, finished_at=now)
        return replace(told, phase=Phase.LIFTED, lifted_at=now, audit_at=None)

    def to_json(self) -> Json:
        """Give it as operators see it."""
        return {
            "state": self.phase.value,
            "startedAt": rfc3339(self.started_at),
            "startedBy": self.started_by,
            "asks": self.ask,
            "firstEventAt": rfc3339_or_none(self.first_event_at),
            "events": self.events,
            "eventsLeft": self.left,
            "unreadableEvents": self.unreadable_events,
            "replayed": self.replayed,
            "lifted": self.lifted,
            "total": max(self.total, self.lifted),
            "unanswered": self.unanswered,
            "lost": self.lost,
            "losses": [each.to_json() for each in self.losses],
            "skuCount": self.clash_count,
            "skus": [each.to_json() for each in self.clashes],
            "strayCount": self.stray_count,
            "strays": [each.to_json() for each in self.strays],
            "unreadableCount": self.unreadable_count,
            "unreadable": list(self.unreadable),
            "liftedAt": rfc3339_or_none(self.lifted_at),
            "finishedAt": rfc3339_or_none(self.finished_at),
            "statement": self.statement,
            "proved": self.proved,
        }


@dataclass(frozen=True, slots=True)
class RestoreState:
    """What all processes share about restores. `revision` grows by one with every change."""

    run: Restore | None = None
    revision: int = 0


def strays_of(
    letters: Iterable[SyncMessage], before: Iterable[Stray], known: Iterable[str]
) -> list[Stray]:
    """Give the products that letters name and the store does not have, by their highest version.

    `before`: what was listed before this restore was started again.
    """
    there = set(known)
    named = [(letter.product_id, letter.version) for letter in letters]
    highest: dict[str, int] = {}
    for name, version in [*named, *((stray.id, stray.version) for stray in before)]:
        if name not in there:
            highest[name] = max(version, highest.get(name, -1))
    return [Stray(name, version) for name, version in sorted(highest.items())]
