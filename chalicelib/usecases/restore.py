"""Makes a restored store whole, step by step: replays the stream, lifts every version.

Reconcile makes the steps, while the catalog is read-only. Each ends with a write of where it ended,
so a restore goes on after a crash; a page that comes twice, or is done by two copies, does no harm.
When writes are accepted again, reconcile follows the deliveries, and has an audit prove them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile

from chalicelib import telemetry
from chalicelib.domain.audit import Difference, Inquiry
from chalicelib.domain.errors import (
    CatalogError,
    ConcurrentChangeError,
    DuplicateSkuError,
    PoisonMessageError,
    QueueUnavailableError,
    StreamUnavailableError,
)
from chalicelib.domain.product import Product
from chalicelib.domain.restore import (
    Clash,
    Lift,
    Loss,
    Phase,
    Replay,
    Restore,
    given_out_twice,
    is_newer,
    lacked_sku,
    lifted,
    newest,
    product_of,
    replayed,
    strays_of,
    told_at,
    with_sku,
    without_sku,
)
from chalicelib.domain.sync_state import WAITING_STATUSES
from chalicelib.usecases.audit import FEW, SILENT_FOR, Questions
from chalicelib.usecases.audit import PAGE as ASKED_AT_ONCE
from chalicelib.usecases.audits import Audits
from chalicelib.usecases.dead_letters import DeadLetters
from chalicelib.usecases.pace import Cooldown
from chalicelib.usecases.ports import Found, PutBack, Store, StreamReader
from chalicelib.usecases.restores import Restores

PAGE = 500
"""Events, or products, of a step."""
BY_RESTORE = "restore"
"""Who has started the audit at the end."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the supply chain has said about a page of products.

    `open`: must be asked again. `held`: its versions, where they are above the catalog's, or are
    other changes of the same number. `gone`: what it had once and does not have any more.
    `unanswered`: no answer can be believed.
    """

    open: frozenset[str] = frozenset()
    held: Mapping[str, int] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    unanswered: frozenset[str] = frozenset()


class Restorer:
    """Does the steps of a restore. Its methods raise StoreUnavailableError."""

    def __init__(
        self,
        store: Store,
        stream: StreamReader,
        dead_letters: DeadLetters,
        restores: Restores,
        questions: Questions,
        audits: Audits,
        *,
        clock: Callable[[], datetime],
        grace: timedelta,
    ) -> None:
        self._store = store
        self._stream = stream
        self._dead_letters = dead_letters
        self._restores = restores
        self._questions = questions
        self._audits = audits
        self._clock = clock
        self._grace = grace
        self._silence = Cooldown(clock, SILENT_FOR)

    # ---- while the catalog is read-only ----

    def is_needed(self) -> bool:
        """Say whether there is a step to do."""
        run = self._restores.read().run
        return run is not None and self._goes_on(run) and not self._silence.is_on

    def _goes_on(self, run: Restore) -> bool:
        return run.needs_the_mode and not run.is_left(self._clock())

    def step(self) -> bool:
        """Do a page; say whether there is another one to do now."""
        run = self._restores.read().run
        if run is None or self._silence.is_on:
            return False
        try:
            self._restores.look_after(run)
            if not self._goes_on(run):
                return False
            return self._replay(run) if run.phase is Phase.REPLAYING else self._lift(run)
        except (StreamUnavailableError, QueueUnavailableError, ConcurrentChangeError) as error:
            telemetry.log.warning("the restore waits", reason=str(error))
            return False

    # ---- the stream ----

    def _replay(self, run: Restore) -> bool:
        """Write what the stream knows better than the store."""
        page = self._stream.read(run.position, PAGE)
        products: list[Product] = []
        times: list[datetime] = []
        unreadable = 0
        for message in page.messages:
            try:
                found = product_of(message.data)
            except PoisonMessageError as error:
                telemetry.log.error("poison event", sequence=message.sequence, reason=str(error))
                unreadable += 1
                continue
            if found is None:
                continue
            products.append(found)
            if run.first_event_at is None and (time := told_at(message.data)):
                times.append(time)
        written, skus = self._put_newer(run, products)
        done = Replay(
            page.messages[-1].sequence if page.messages else run.position,
            page.left,
            len(products),
            unreadable,
            written,
            min(times, default=None),
            skus,
        )
        return self._restores.note(lambda stored: stored.with_replay(run, done)) is not None

    def _put_newer(
        self, run: Restore, told: Sequence[Product]
    ) -> tuple[int, dict[str, str | None]]:
        """Write what is newer; give how many products this restore has not written before.

        And the skus: of those who must wait for theirs, None for those who need not any more.
        """
        wanted = newest(told)
        stored, now, mark = self._store.get_many(wanted), self._clock(), run.started_at
        there = stored.products
        if twice := given_out_twice(told, there):
            # Before it is written: afterwards nobody could tell.
            self._note_losses(run, twice)
        readable = {name: it for name, it in wanted.items() if name not in stored.unreadable}
        newer = {name: it for name, it in readable.items() if is_newer(it, there.get(name))}

        def put_back(found: Product) -> PutBack:
            before = there.get(found.id)
            product = replayed(found, before, now, mark)
            return PutBack(product, before.revision if before else None)

        clashes = self._write(newer, put_back)
        skus = {name: it.fields.sku if name in clashes else None for name, it in newer.items()}
        # Written by this very page before a crash, which may have lost that it waits for its sku.
        lacked = {name: lacked_sku(wanted[name], there[name]) for name in there.keys() - newer}
        skus |= {name: sku for name, sku in lacked.items() if sku is not None}
        first = [it is None or it.sync.repair_started_at != mark for it in map(there.get, newer)]
        return sum(first), skus

    def _write(
        self, wanted: Mapping[str, Product], put_back: Callable[[Product], PutBack]
    ) -> dict[str, DuplicateSkuError]:
        """Write; products whose sku is taken without it. Gives the errors of these.

        Raises ConcurrentChangeError if a document has changed: the page comes again.
        """
        clashes = _clashes(self._store.put_back([put_back(item) for item in wanted.values()]))
        bare = [put_back(without_sku(wanted[name])) for name in clashes]
        if _clashes(self._store.put_back(bare)):
            raise ConcurrentChangeError("a product without a sku has a sku that is taken")
        return clashes

    # ---- the versions ----

    def _lift(self, run: Restore) -> bool:
        """Lift a page of products above all versions that may have been given out."""
        found = self._store.walk(run.after, ASKED_AT_ONCE if run.ask else PAGE)
        if not found.ids:
            return self._end_lift(run)
        asked = self._asked(run, found) if run.ask else Asked()
        names = list(takewhile(lambda name: name not in asked.open, found.ids))
        if not names:
            return not self._silence.is_on
        products = {name: found.products[name] for name in names if name in found.products}
        # Before the lift: afterwards nobody could tell.
        self._list_losses(run, products, asked)
        page = Lift(
            names[-1],
            len(products),
            _logged(name for name in names if name in found.unreadable),
            tuple(self._put_lifted(run, products, asked.held)),
        )
        return self._restores.note(lambda stored: stored.with_lift(run, page)) is not None

    def _asked(self, run: Restore, found: Found) -> Asked:
        """Ask the supply chain which versions it has."""
        self._restores.make_way()
        # As they will be: without its sku a product would differ from what the supply chain has.
        products = [with_sku(it, run.skus.get(name)) for name, it in found.products.items()]
        inquiries, _ = self._questions.inquire((run.started_by, run.started_at), products)
        unfinished = {name for name, inquiry in inquiries.items() if not inquiry.is_over}
        # Of few products all may be such that are never answered for.
        waits = unfinished or len(inquiries) >= FEW
        if waits and not any(inquiry.row for inquiry in inquiries.values()):
            telemetry.log.warning("the restore waits", reason="no question is answered")
            self._silence.begin()
            return Asked(frozenset(inquiries))
        held = {name: held for name, it in inquiries.items() if (held := _held(it)) is not None}
        unanswered = {name for name, it in inquiries.items() if not it.is_believed}
        gone = {name for name, it in inquiries.items() if _is_gone(it)}
        return Asked(frozenset(unfinished), held, frozenset(gone), frozenset(unanswered))

    def _list_losses(self, run: Restore, products: Mapping[str, Product], asked: Asked) -> None:
        losses = [
            Loss(name, product.version, asked.held.get(name))
            for name, product in products.items()
            if name in asked.held or name in asked.gone
        ]
        self._note_losses(run, losses, len(asked.unanswered & products.keys()))

    def _note_losses(self, run: Restore, losses: Sequence[Loss], unknown: int = 0) -> None:
        for loss in losses:
            twice = loss.held == loss.restored
            telemetry.log.warning(
                "two changes have one version"
                if twice
                else "only the supply chain knows the newest version",
                product_id=loss.id,
                version=loss.restored,
                held=loss.held,
            )
        after = self._restores.note(lambda stored: stored.with_losses(run, losses, unknown))
        if after is None or not after.is_at(run):
            # Nothing was listed, and after the lift nobody could find it out.
            raise ConcurrentChangeError("the restore was started again, or another copy was faster")

    def _put_lifted(
        self, run: Restore, products: Mapping[str, Product], held: Mapping[str, int]
    ) -> list[Clash]:
        """Write a higher version of each; give those that must stay without their sku."""
        now = self._clock()
        wanted = {name: with_sku(it, run.skus.get(name)) for name, it in products.items()}

        def put_back(product: Product) -> PutBack:
            higher = lifted(product, held.get(product.id), now, self._grace)
            return PutBack(higher, product.revision)

        clashes = self._write(wanted, put_back)
        for name, error in clashes.items():
            telemetry.log.warning("a sku is taken", product_id=name, reason=str(error))
        return [
            Clash(name, wanted[name].fields.sku or "", error.product_id)
            for name, error in clashes.items()
        ]

    def _end_lift(self, run: Restore) -> bool:
        named = self._dead_letters.named()
        if named.left and (named.moved or not named.more):
            # Afterwards the letters of products that are not there are deleted.
            telemetry.log.warning("the restore waits", reason="not all dead letters are seen yet")
            return named.moved > 0
        if named.left:
            telemetry.log.error(
                "too many dead letters: some may name lost products", left=named.left
            )
        ids = {letter.product_id for letter in named.messages} | {it.id for it in run.strays}
        known = self._store.get_many(ids, details=False)
        strays = strays_of(named.messages, run.strays, known.products.keys() | known.unreadable)
        for stray in strays:
            telemetry.log.warning(
                "only a dead letter names a product", product_id=stray.id, version=stray.version
            )
        now = self._clock()
        after = self._restores.note(lambda stored: stored.with_end_of_lift(run, strays, now))
        if after is not None and after.phase is Phase.LIFTED:
            telemetry.log.warning("every product is lifted: set CATALOG_MODE=normal")
        return False

    # ---- when writes are accepted again ----

    def follow(self) -> bool:
        """Have an audit prove what was lifted, once it is delivered.

        Gives whether a restore was left in its middle: then dead letters must stay, since they may
        be all that names a product.
        """
        run = self._restores.read().run
        if run is None or run.phase is Phase.DONE:
            return False
        if run.needs_the_mode:
            # Versions are given out twice by now.
            telemetry.log.error("the catalog accepts writes in the middle of a restore")
            telemetry.count(store_behind=1)
            return True
        if run.is_left(self._clock()):
            # Its audit would put yesterday's versions over what the supply chain has.
            telemetry.log.warning("the restore waits", reason="nobody has looked after it")
            return False
        try:
            self._restores.look_after(run)
            if run.phase is Phase.LIFTED:
                self._begin_audit(run)
            else:
                self._end_audit(run)
        except ConcurrentChangeError as error:
            telemetry.log.warning("the restore waits", reason=str(error))
        return False

    def _begin_audit(self, run: Restore) -> None:
        oldest = self._store.summary(self._clock()).oldest
        since = min((oldest[it] for it in WAITING_STATUSES if it in oldest), default=None)
        if since is not None and run.lifted_at is not None and since <= run.lifted_at:
            return
        begun = self._audits.begin(BY_RESTORE)
        if begun is not None:
            self._restores.note(lambda stored: stored.with_audit(run, begun))

    def _end_audit(self, run: Restore) -> None:
        state = self._audits.read()
        audit = next((it for it in state.runs if it.started_at == run.audit_at), None)
        if audit is not None and audit.finished_at is None:
            return
        now = self._clock()
        statement = audit.statement if audit else None
        proved = audit is not None and audit.is_proof
        after = self._restores.note(
            lambda stored: stored.with_end(run, statement, now, proved=proved)
        )
        if after is not None and after.phase is Phase.DONE:
            telemetry.log.info("a restore is done", statement=statement)


def _logged(unreadable: Iterable[str]) -> tuple[str, ...]:
    names = tuple(unreadable)
    for name in names:
        telemetry.log.error("the document cannot be read, nor lifted", product_id=name)
    return names


def _clashes(failures: Mapping[str, CatalogError]) -> dict[str, DuplicateSkuError]:
    """Give those whose sku is taken; raises the first error of another kind."""
    found: dict[str, DuplicateSkuError] = {}
    for name, failure in failures.items():
        if not isinstance(failure, DuplicateSkuError):
            raise failure
        found[name] = failure
    return found


def _held(inquiry: Inquiry) -> int | None:
    """Give the version of the supply chain, if it is believed and no version of the catalog's.

    It is above the catalog's, or the same with other data.
    """
    said = inquiry.said
    if said is None or not inquiry.is_believed:
        return None
    twice = said.difference is Difference.DIFFERENT and said.held == inquiry.product.version
    return said.held if twice or said.difference is Difference.NEWER else None


def _is_gone(inquiry: Inquiry) -> bool:
    """Say whether the supply chain had the product once, and does not have it any more."""
    said = inquiry.said
    missing = inquiry.is_believed and said is not None and said.difference is Difference.MISSING
    return missing and inquiry.product.sync.delivered_version is not None
