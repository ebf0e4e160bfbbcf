"""Compares products with what the supply chain holds, page by page, and repairs what differs.

Reconcile makes the steps. Each page ends with a write of where it ended, so that a run goes on
after a crash, and two copies do no harm: every repair needs the revision that was read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chalicelib import telemetry
from chalicelib.domain.answers import Answer
from chalicelib.domain.audit import (
    Difference,
    Example,
    Finding,
    Inquiry,
    Page,
    Repair,
    Run,
    repair_of,
)
from chalicelib.domain.breaker import BreakerPolicy
from chalicelib.domain.control import Control
from chalicelib.domain.delivery import Transition, deliver_again, lift
from chalicelib.domain.errors import (
    ConcurrentChangeError,
    QueueUnavailableError,
    UnreadableDocumentError,
)
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.usecases.audits import BY_RECONCILE, Audits
from chalicelib.usecases.controls import FEW_TRIES, Controls
from chalicelib.usecases.enqueuing import Enqueuer
from chalicelib.usecases.outbox import Outbox
from chalicelib.usecases.pace import Cooldown, Pace
from chalicelib.usecases.parallel import InThreads, Parallel
from chalicelib.usecases.ports import Found, Store

PAGE = 50
"""Products of a page; their questions are asked in parallel."""
ROUNDS_WITHIN = timedelta(seconds=5)
"""How long a page goes on asking, and a sample begins pages: reconcile has other work."""
SILENT_FOR = timedelta(seconds=10)
"""Until the next page, after one of which no question was answered."""
FEW = 5
"""Of so many products in a page, one that is answered is enough to go on asking; of fewer, all may
be products whose questions always fail."""
SHARE = 4
"""An audit takes a fourth of the rate limit at most: the rest is for deliveries."""


@dataclass(frozen=True, slots=True)
class AuditPolicy:
    """`sample`: products per run of reconcile; 0: none. `rate`: questions per second of a run."""

    sample: int = 20
    rate: float = 10.0


class Questions:
    """Asks the supply chain about products, while calls that are not urgent are allowed.

    `ask` gives its answer for a product, None if it gives none; it never raises.
    """

    def __init__(
        self,
        controls: Controls,
        ask: Callable[[Product], Answer | None],
        breaker: BreakerPolicy,
        *,
        clock: Callable[[], datetime],
        in_parallel: Parallel | None = None,
    ) -> None:
        self._controls = controls
        self._ask = ask
        self._breaker = breaker
        self._clock = clock
        self._in_parallel = in_parallel or InThreads(PAGE)
        self._begun: dict[str, Inquiry] = {}
        self._run: tuple[str, datetime] | None = None

    def inquire(
        self, run: tuple[str, datetime], products: Sequence[Product]
    ) -> tuple[dict[str, Inquiry], int]:
        """Ask until the answers can be believed; some inquiries may go on in the next step.

        Then those that are over are not asked again, but never in another `run`, named by who has
        started it, and when: its statement is about answers since its beginning.
        """
        if run != self._run:
            self._run, self._begun = run, {}
        inquiries = {product.id: self._known(product) for product in products}
        end, questions, answered = self._clock() + ROUNDS_WITHIN, 0, False
        while left := [it for it in inquiries.values() if not it.is_over]:
            granted = self._granted(min(len(left), PAGE))
            if not granted or (questions and self._clock() >= end):
                break
            heard = self._round(left[:granted])
            inquiries |= {inquiry.product.id: inquiry for inquiry in heard}
            questions += len(heard)
            answered = answered or any(inquiry.row for inquiry in heard)
            if not answered and len(heard) >= FEW:
                break
        # One that was given up is asked anew if its page comes again.
        self._begun = {
            name: it
            for name, it in inquiries.items()
            if it.tries and (it.is_believed or not it.is_over)
        }
        return inquiries, questions

    def _known(self, product: Product) -> Inquiry:
        """Go on with the questions of the step before, if the product is the same."""
        known = self._begun.get(product.id)
        return known if known and known.product == product else Inquiry(product)

    def _granted(self, wanted: int) -> int:
        """Take permits, if the calls are limited."""
        now = self._clock()
        try:
            granted, _ = self._controls.change(
                lambda control: control.spare(wanted, now, self._breaker), FEW_TRIES
            )
        except ConcurrentChangeError:
            return 0
        return granted

    def _round(self, inquiries: Sequence[Inquiry]) -> list[Inquiry]:
        groups = self._in_parallel(lambda inquiry: self._ask(inquiry.product), inquiries)
        return [inquiry.heard(answer) for group in groups for inquiry, answer in group]


class Repairs:
    """Has products delivered again, or makes versions above those of the supply chain."""

    def __init__(
        self,
        store: Store,
        outbox: Outbox,
        enqueuer: Enqueuer,
        *,
        clock: Callable[[], datetime],
        grace: timedelta,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._enqueuer = enqueuer
        self._clock = clock
        self._grace = grace

    def end(self, products: Sequence[Product]) -> None:
        """Note that the repairs of these were not in vain."""
        ended = [
            Transition(
                item,
                replace(item, sync=replace(item.sync, repairs=0), revision=item.revision + 1),
            )
            for item in products
            if item.sync.repairs
        ]
        if ended:
            self._store.apply(ended)

    def examined(self, run: Run, product: Product, finding: Finding) -> Example | None:
        """Repair a product that differs; None if somebody has changed it meanwhile."""
        try:
            # From the majority: a lift copies the data, which no failover may take back.
            current = self._store.get(product.id, majority=True)
        except UnreadableDocumentError:
            current = None
        if current is None or not _is_same(product, current):
            return None
        wanted, repaired = self._wanted(current, finding, run), False
        if wanted is not None:
            repaired = self._repaired(current, *wanted, run.started_at)
            if not repaired:
                return None
        telemetry.log.warning(
            "the supply chain differs",
            product_id=product.id,
            version=product.version,
            difference=finding.difference.value,
            held=finding.held,
            fields=list(finding.fields) or None,
            repaired=repaired,
        )
        return Example(
            product.id,
            finding.difference,
            product.version,
            finding.held,
            finding.fields,
            repaired,
            self._clock(),
        )

    def _wanted(self, product: Product, finding: Finding, run: Run) -> tuple[Repair, int] | None:
        """Say how to repair it; None: a person must look at it."""
        if finding.difference is Difference.NEWER and run.started_by == BY_RECONCILE:
            # A store that was restored to an earlier time looks like this, and nobody has asked: a
            # version above would put yesterday's data over what the stream still has.
            telemetry.log.error(
                "the store is behind: it seems to be restored to an earlier time",
                product_id=product.id,
                version=product.version,
                known=finding.held,
            )
            telemetry.count(store_behind=1)
            return None
        return repair_of(product, finding, run)

    def _repaired(self, product: Product, repair: Repair, version: int, began: datetime) -> bool:
        """Write the repair; say whether the product was as it was read."""
        now = self._clock()
        if repair is Repair.LIFT:
            lifted = lift(product, version, began, now, self._grace)
            if not self._store.save_change(lifted, expected_version=product.version):
                return False
            self._outbox.publish(lifted.outbox)
            return True
        again = deliver_again(product, began, now)
        if not self._store.save_sync(again, expected_revision=product.revision):
            return False
        try:
            self._enqueuer.enqueue([again])
        except QueueUnavailableError as error:
            # It is overdue: the next step enqueues it.
            telemetry.log.warning("the queue is away", reason=str(error))
        return True


class Auditor:
    """Does the audits, a page at a time. Its methods raise StoreUnavailableError."""

    def __init__(
        self,
        store: Store,
        audits: Audits,
        questions: Questions,
        repairs: Repairs,
        policy: AuditPolicy,
        breaker: BreakerPolicy,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._audits = audits
        self._questions = questions
        self._repairs = repairs
        self._policy = policy
        self._breaker = breaker
        self._clock = clock
        self._pace = Pace(clock)
        self._silence = Cooldown(clock, SILENT_FOR)

    def step(self, control: Control) -> int | None:
        """Do a page of the full audit that runs; give how much was done.

        0 if no permit was left for it; None if there is nothing to do for now.
        """
        run = None if self._is_put_off(control) else self._running()
        if run is None:
            return None
        allowed = self._pace.allowed(self._rate(), PAGE)
        if allowed == 0:
            return 0
        questions, page = self._page(run, allowed)
        # A page without a question is a step too.
        return max(questions, int(page is not None))

    def sample(self, control: Control, seconds_left: Callable[[], float]) -> None:
        """Do some pages of the rolling audit, unless a full one runs; the rest comes later."""
        left, end = self._policy.sample, self._clock() + ROUNDS_WITHIN
        while left > 0 and seconds_left() > 0 and self._clock() < end:
            page = self._rolling_page(min(left, PAGE)) if not self._is_put_off(control) else None
            if page is None or page.is_last or page.silent:
                return
            left -= page.checked

    def _rolling_page(self, wanted: int) -> Page | None:
        """Do a page of the rolling audit; None if nothing was noted."""
        allowed = self._pace.allowed(self._share(), wanted)
        state = self._audits.read()
        if not allowed or state.run is not None:
            return None
        run = state.rolling or self._audits.rolling()
        return self._page(run, allowed, rolling=True)[1]

    def is_needed(self, control: Control) -> bool:
        """Say whether the next step of a full audit must follow soon."""
        return not self._is_put_off(control) and self._running() is not None

    def _running(self) -> Run | None:
        run = self._audits.read().run
        return None if run is None or run.is_left(self._clock()) else run

    def look_after(self) -> None:
        """Note that a full audit that has to wait is not left alone."""
        try:
            self._audits.look_after()
        except ConcurrentChangeError as error:
            telemetry.log.warning("the audit could not be noted", reason=str(error))

    def open_differences(self) -> int:
        """Count what audits have found, and what is not delivered since."""
        return self._audits.open_differences()

    def _is_put_off(self, control: Control) -> bool:
        held = control.put_off_by(self._clock(), self._breaker)
        return self._silence.is_on or held is not None

    def _rate(self) -> float:
        share = self._share()
        return self._policy.rate if share is None else min(self._policy.rate, share)

    def _share(self) -> float | None:
        limit = self._breaker.max_rate
        return None if limit is None else limit / SHARE

    # ---- a page ----

    def _page(self, run: Run, limit: int, *, rolling: bool = False) -> tuple[int, Page | None]:
        """Do a page; give the number of questions, and what was noted."""
        found = self._store.walk(run.position, limit)
        wanted = [item for item in found.products.values() if _is_delivered(item)]
        inquiries, questions = self._questions.inquire((run.started_by, run.started_at), wanted)
        self._pace.owe(questions)
        page = self._judged(run, found, inquiries, is_last=len(found.ids) < limit)
        if page is None:
            return questions, None
        if page.silent:
            self._silence.begin()
        return questions, page if self._note(run, page, rolling=rolling) else None

    def _note(self, run: Run, page: Page, *, rolling: bool) -> bool:
        """Add a page to its run; False if the page comes again."""
        try:
            state = self._audits.add(run, page, rolling=rolling)
        except ConcurrentChangeError as error:
            telemetry.log.warning("the audit could not be noted", reason=str(error))
            return False
        if not page.silent or run.gives_up:
            telemetry.count(
                audited=page.checked - page.behind - page.unanswered,
                audit_differences=len(page.found),
                audit_repaired=sum(example.repaired for example in page.found),
            )
        if not rolling and state.last is not None and state.last.started_at == run.started_at:
            telemetry.log.info("an audit is done", statement=state.last.statement)
        return True

    # ---- what the answers mean ----

    def _judged(
        self, run: Run, found: Found, inquiries: dict[str, Inquiry], *, is_last: bool
    ) -> Page | None:
        """Judge the products up to the first whose inquiry goes on; None if it is the first one."""
        asked = [inquiry for inquiry in inquiries.values() if inquiry.tries]
        silent = bool(asked) and not any(inquiry.row for inquiry in asked)
        names: list[str] = []
        for name in found.ids:
            inquiry = inquiries.get(name)
            if inquiry is not None and not inquiry.is_over and not (silent and inquiry.tries):
                break
            names.append(name)
        if not names and found.ids:
            return None
        page = Page(names[-1] if names else None, is_last and len(names) == len(found.ids))
        page = replace(page, checked=len(names), silent=silent)
        if silent and not run.gives_up:
            return page
        return self._counted(run, page, names, found, inquiries)

    def _counted(
        self,
        run: Run,
        page: Page,
        names: Sequence[str],
        found: Found,
        inquiries: dict[str, Inquiry],
    ) -> Page:
        believed = {name: inquiries[name] for name in names if _is_believed(inquiries.get(name))}
        now = self._store.get_many(list(believed), details=False).products
        same = {name: it for name, it in believed.items() if _is_unchanged(it, now.get(name))}
        right = {name: it.product for name, it in same.items() if it.said is None}
        self._repairs.end(list(right.values()))
        differing = [(it.product, it.said) for it in same.values() if it.said is not None]
        examples = [self._repairs.examined(run, *pair) for pair in differing]
        kept = [example for example in examples if example is not None]
        asked = inquiries.keys() & set(names)
        unread = len(found.unreadable & set(names))
        changed = len(believed) - len(same) + len(examples) - len(kept)
        return replace(
            page,
            behind=len(names) - len(asked) - unread + changed,
            unanswered=unread + len(asked) - len(believed),
            found=tuple(kept),
            right=frozenset(right),
        )


def _is_delivered(product: Product) -> bool:
    return product.sync.status is SyncStatus.DELIVERED


def _is_believed(inquiry: Inquiry | None) -> bool:
    return inquiry is not None and inquiry.is_believed


def _is_unchanged(inquiry: Inquiry, current: Product | None) -> bool:
    """Say whether the version that was asked about still is the newest one, and delivered.

    Not by the revision: another copy may have ended the repairs of a product that it found right.
    A tombstone that the supply chain does not have may be dropped meanwhile.
    """
    product = inquiry.product
    if current is None:
        return product.deleted_at is not None and inquiry.said is None
    return current.version == product.version and _is_delivered(current)


def _is_same(product: Product, current: Product) -> bool:
    """Say whether nobody has changed it; by its data too.

    After a failover another state may have the same revision.
    """
    return (product.revision, product.version, product.fields, product.deleted_at) == (
        current.revision,
        current.version,
        current.fields,
        current.deleted_at,
    )
