"""The promises that a run must keep: some are checked at each step, the rest at the end."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from chalicelib.domain.breaker import LONGEST_COOLDOWN
from chalicelib.domain.delivery import Try, decide
from chalicelib.domain.events import EventType
from chalicelib.domain.messages import SyncMessage, parse_sync_message
from chalicelib.domain.product import OUTBOX_LIMIT, Product
from chalicelib.domain.retry import JITTER
from chalicelib.domain.sync_state import FAILED_STATUSES, SyncStatus
from simulation.outages import BrokenPromiseError, Watch
from simulation.scheduler import START, moment, seconds
from simulation.servers import AtLeastOnceQueue, ReplicaSet, WindowedStream
from simulation.supply_chain import Call, Held, SupplyChain

TOLERANCE = 2.5
"""Seconds: rounding by SQS, and the difference of two processes' clocks."""
PROBED_WITHIN = 200.0
"""Seconds in which an open breaker has probes, even if reconcile crashes once."""
WAITING = frozenset({SyncStatus.PENDING, SyncStatus.RETRYING})
WORKER_DIED = "every worker that tried it has crashed"

Budget = tuple[str, tuple[int, int]]
"""A product's id, its version, and which budget of that version."""


@dataclass(frozen=True)
class Answer:
    """A 2xx answer to a consumer: its version must survive."""

    product_id: str
    version: int
    price: Decimal


@dataclass
class Promises:
    """Watches one run. `waits` are the schedule's, `now` is the true time, both in seconds.

    `answers`: what consumers were answered; `gone`: products of which a deletion was answered;
    `moves`: how often a person moved a product's dead letter back; `wished`: budgets in which the
    supply chain has sent a Retry-After.
    `moved`: products of which the queue itself has moved a message. `redrives`: how often operators
    have asked for a redrive. `in_order`: one run of reconcile at a time brings forward.
    `lost`: products that a restored store has not, nor the stream.
    """

    waits: tuple[float, ...]
    max_wait: float
    now: Callable[[], float]
    watch: Watch
    answers: list[Answer] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    moves: Counter[str] = field(default_factory=Counter)
    wished: set[Budget] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    redrives: int = 0
    in_order: bool = True
    lost: set[str] = field(default_factory=set)
    _bodies: dict[str, tuple[Decimal, bool]] = field(default_factory=dict)
    _wishes: dict[tuple[Budget, int], float] = field(default_factory=dict)
    _left: Counter[str] = field(default_factory=Counter)
    _redriven: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    _forwarded: tuple[datetime, datetime] = (START, START)
    _running: dict[str, Call] = field(default_factory=dict)
    _news: set[str] = field(default_factory=set)
    _counted: dict[Budget, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))

    # ---- at each step ----

    def begun(self, call: Call, supply_chain: SupplyChain) -> None:
        """Judge a call as it begins."""
        product_id, version = call.product.id, call.product.version
        before = self._running.get(product_id)
        if before and before.holds_at(self.now()):
            raise BrokenPromiseError(
                f"two calls at once for {product_id}: {before.product.version}, {version}"
            )
        newest = max(supply_chain.accepted[product_id], default=-1)
        if version < newest:
            raise BrokenPromiseError(
                f"{product_id}: version {version} is sent after {newest} was accepted"
            )
        body = (call.product.fields.price, call.product.deleted_at is not None)
        if self._bodies.setdefault(call.key, body) != body:
            raise BrokenPromiseError(f"the key {call.key} is used for two bodies")
        self._running[product_id] = call
        self.watch.begun(call)
        self._judge_time(call)

    def _judge_time(self, call: Call) -> None:
        """No attempt comes before its time, and none after the last."""
        budget, failed = (call.product.id, call.product.pair), call.product.sync.attempts
        if failed > len(self.waits):
            raise BrokenPromiseError(
                f"{call.product.id}: attempt {failed + 1} of {len(self.waits) + 1}"
            )
        last, wish = self._counted[budget].get(failed), self._wishes.get((budget, failed))
        if last is not None and wish is not None:
            self._judge_wish(call, last, wish)
        if last is not None:
            planned_for = self._planned_for(call, last)
            # A Retry-After uses up the horizon: the remaining waits are shorter, but never a burst.
            planned = self.waits[0 if budget in self.wished else failed - 1]
            if planned_for - last < planned * (1 - JITTER) - TOLERANCE:
                raise BrokenPromiseError(
                    f"{call.product.id}: attempt {failed + 1} came {planned_for - last:.1f} s after"
                    f" the one before, planned are {planned:.1f} s less jitter"
                )
        # Only calls whose result was written are attempts: the last of several is.
        self._counted[budget][failed + 1] = call.start
        self._wishes.pop((budget, failed + 1), None)

    def _planned_for(self, call: Call, last: float) -> float:
        """Give the time of an attempt; of one that an outage has brought forward, its plan's."""
        if not _is_early(call):
            return call.start
        if not self.watch.was_held(last):
            raise BrokenPromiseError(f"{call.product.id} was brought forward without an outage")
        planned_at = call.product.sync.planned_at
        return seconds(planned_at) if planned_at else call.start

    def _judge_wish(self, call: Call, last: float, wish: float) -> None:
        """A Retry-After is honoured, up to the longest wait and to the end of the horizon."""
        ends_at = call.product.sync.ends_at
        ends = seconds(ends_at) if ends_at else wish
        if _is_early(call):
            # An outage of all ends an hour after the last Retry-After, whatever it says.
            ends = min(ends, last + LONGEST_COOLDOWN.total_seconds())
        if call.start < min(wish, last + self.max_wait, ends) - TOLERANCE:
            raise BrokenPromiseError(
                f"{call.product.id} is called {wish - call.start:.1f} s before its Retry-After"
            )

    def wish(self, call: Call, until: float) -> None:
        """Note that a call was answered with a Retry-After."""
        budget = (call.product.id, call.product.pair)
        self.wished.add(budget)
        self._wishes[budget, call.product.sync.attempts + 1] = until
        self.watch.wish(until)

    def wrote(
        self, method: str, before: Mapping[str, Product], after: Mapping[str, Product]
    ) -> None:
        """Judge a change of the store."""
        if method == "apply":
            self._judge_order(before, after)
        for product_id, old in before.items():
            new = after.get(product_id)
            if new is None or new is old or new.version != old.version:
                continue
            if old.sync.status in WAITING and (news := _news_of(old, new)):
                self._news.add(news)
            if method == "record" and new.sync.attempts > old.sync.attempts:
                self._judge_count(new)
            if new.sync.status is SyncStatus.EXHAUSTED and old.sync.status is not new.sync.status:
                self._exhausted(new)
            if old.sync.status in FAILED_STATUSES and new.sync.status is not old.sync.status:
                self._left_failure(method, old)
            if method == "apply" and new.sync.budget > old.sync.budget:
                self._judge_redrive(old, new)

    def _judge_order(self, before: Mapping[str, Product], after: Mapping[str, Product]) -> None:
        """Pages are brought forward in the order of their changes, one run at a time."""
        job = self.watch.control.catch_up
        in_order = self.in_order and self.watch.lossless
        if job is None or not in_order or self.watch.control.held_by(moment(self.now())):
            return
        page = [
            product.sync.behind_since or job.since
            for product_id, product in after.items()
            if (old := before[product_id]) is not product
            and old.sync.status in WAITING
            and not product.sync.parked
        ]
        since, newest = self._forwarded
        newest = newest if since == job.since else START
        if page and min(page) < newest:
            raise BrokenPromiseError(f"{min(page)} is brought forward after {newest}")
        self._forwarded = (job.since, max([newest, *page]))

    def _judge_count(self, product: Product) -> None:
        """A failure counts neither as a probe nor before its time."""
        call = self._running[product.id]
        if product.sync.status not in {SyncStatus.RETRYING, SyncStatus.EXHAUSTED}:
            return
        if (self.watch.is_probe(call) and call.failed) or _is_early(call):
            raise BrokenPromiseError(
                f"{product.id}: an attempt of an outage counts as number {product.sync.attempts}"
            )

    def _exhausted(self, product: Product) -> None:
        """A budget without a Retry-After has all its attempts, and lasts as long as planned."""
        if product.sync.last_error == WORKER_DIED:
            if product.id in self.moved:
                return
            raise BrokenPromiseError(f"{product.id}: no message was received that often")
        if (product.id, product.pair) in self.wished:
            return
        if product.sync.attempts != len(self.waits) + 1:
            raise BrokenPromiseError(
                f"{product.id} is exhausted after {product.sync.attempts} attempts"
            )
        first, last = product.sync.first_attempt_at, self._running[product.id].start
        lasted = last - seconds(first) if first else 0.0
        if lasted < sum(self.waits) - JITTER * max(self.waits, default=0.0) - TOLERANCE:
            raise BrokenPromiseError(f"{product.id} is exhausted after {lasted:.0f} s")

    def _left_failure(self, method: str, product: Product) -> None:
        """Only a write, a replay, a redrive or a dead letter moved back ends a failure."""
        if method == "save_sync":
            return
        self._left[product.id] += 1
        asked = self.moves[product.id] + self.redrives
        if method not in {"apply", "claim"} or self._left[product.id] > asked:
            raise BrokenPromiseError(
                f"{product.id} leaves {product.sync.status} by a {method} that nobody asked for"
            )

    def _judge_redrive(self, before: Product, after: Product) -> None:
        """Each redrive restarts a product once at most, however often it fails again."""
        # One that a failover has taken back does not count.
        survived = [pair for pair in self._redriven[after.id] if pair <= before.pair]
        self._redriven[after.id] = [*survived, after.pair]
        # A dead letter that was moved back is parked with its budget while no calls are allowed.
        if len(survived) >= self.redrives + self.moves[after.id]:
            raise BrokenPromiseError(
                f"{after.id} is {before.sync.status}, and is restarted {len(survived) + 1} times "
                f"by {self.redrives} redrives"
            )

    def forget(self, lost: Iterable[str]) -> None:
        """Forget what was answered before the store was restored: its end judges that."""
        self.lost |= set(lost)
        self.answers.clear()
        self.gone.clear()
        self._news.clear()

    # ---- when all is quiet ----

    def check(
        self,
        store: ReplicaSet,
        queue: AtLeastOnceQueue,
        stream: WindowedStream,
        supply_chain: SupplyChain,
    ) -> None:
        """Judge the end of a run. Raises BrokenPromiseError."""
        self._kept(store, supply_chain)
        down = not self.watch.control.breaker.is_closed
        if down:
            self._still_probed(store, supply_chain)
        letters: dict[str, list[SyncMessage]] = defaultdict(list)
        for message in queue.dead:
            letter = parse_sync_message(message.body)
            letters[letter.product_id].append(letter)
        if lost := letters.keys() - store.products.keys():
            raise BrokenPromiseError(f"dead letters are left of {lost}, which are gone")
        for product in store.products.values():
            if down and product.sync.status in WAITING:
                continue
            self._settled(product, letters[product.id], supply_chain)
            _completed(product, stream)
        _deleted(store, supply_chain)
        if queue.messages and not down:
            raise BrokenPromiseError(f"messages stay in the queue: {queue.messages}")
        _published(store, stream)
        self._told(store, stream)

    def _told(self, store: ReplicaSet, stream: WindowedStream) -> None:
        """Each failure, and each recovery from one, is on the stream, at least once."""
        stuck = {
            f"{product.id}:{product.version}:product:sync-{product.sync.status}"
            for product in store.products.values()
            if product.sync.status in FAILED_STATUSES
        }
        # A failover may have taken others back.
        owed = stuck if store.term else stuck | self._news
        if untold := sorted(event_id for event_id in owed if not stream.has(event_id)):
            raise BrokenPromiseError(f"nobody was told: {untold}")

    def _kept(self, store: ReplicaSet, supply_chain: SupplyChain) -> None:
        """What was answered has survived, and each key was used once."""
        if supply_chain.wrong_memory:
            raise BrokenPromiseError(
                f"a replay was answered from an older budget's memory: {supply_chain.wrong_memory}"
            )
        for answer in self.answers:
            _survives(answer, store)
        for product_id in set(self.gone) - self.lost:
            if not any(product.deleted_at for product in store.lineage.get(product_id, ())):
                raise BrokenPromiseError(f"a deletion was answered, and {product_id} is there")
        keys = Counter(creation.key for creation in store.creations().values())
        if twice := [key for key, count in keys.items() if count > 1]:
            raise BrokenPromiseError(f"several products were created under one key: {twice}")

    def _still_probed(self, store: ReplicaSet, supply_chain: SupplyChain) -> None:
        """Only while the supply chain answers nothing is the breaker open, and probes go on."""
        calls = [call for call in supply_chain.calls if call.start > self.now() - PROBED_WITHIN]
        waiting = any(item.sync.status in WAITING for item in store.products.values())
        if not all(call.failed for call in calls) or (waiting and not calls):
            raise BrokenPromiseError(f"the breaker is open after {len(calls)} calls")

    def converged(self, store: ReplicaSet, poison: int | None) -> None:
        """After an outage everything is delivered soon, not only at its own next attempt."""
        waiting = any(item.sync.status in WAITING for item in store.products.values())
        if waiting and not self.watch.control.breaker.is_closed:
            raise BrokenPromiseError("the outage is over, and the breaker is still open")
        late = [
            product
            for product in store.products.values()
            if product.sync.status in WAITING and product.fields.price != poison
        ]
        if late:
            raise BrokenPromiseError(f"the outage is over, and these still wait: {late}")

    def _settled(
        self, product: Product, letters: list[SyncMessage], supply_chain: SupplyChain
    ) -> None:
        status = product.sync.status
        if len(letters) != (status in FAILED_STATUSES):
            raise BrokenPromiseError(f"{product.id} is {status} with {len(letters)} dead letters")
        if letters:
            if not isinstance(decide(product, letters[0], "moved", moment(self.now())), Try):
                raise BrokenPromiseError(
                    f"{letters[0]}, moved back, would not redrive {product.id}"
                )
            return
        if status is not SyncStatus.DELIVERED:
            raise BrokenPromiseError(f"{product.id} is still {status}: {product.sync}")
        # A deletion may be of what the supply chain never had: `_deleted` judges those.
        if not product.deleted_at and product.version not in supply_chain.accepted[product.id]:
            raise BrokenPromiseError(
                f"{product.id} is delivered, and the supply chain lacks version {product.version}"
            )

    def holds_the_catalog(self, store: ReplicaSet, supply_chain: SupplyChain) -> None:
        """After an audit the supply chain holds exactly what is in the store.

        But for what has failed, and a person must look at.
        """
        products = store.products.values()
        judged = [item for item in products if item.sync.status not in FAILED_STATUSES]
        wanted = {
            item.id: None if item.deleted_at else Held(item.version, item.fields.price)
            for item in judged
        }
        held = {product_id: supply_chain.contents.get(product_id) for product_id in wanted}
        if held != wanted:
            raise BrokenPromiseError(f"the supply chain holds {held}, the catalog {wanted}")

    def proved(self, store: ReplicaSet) -> None:
        """An audit of a catalog that is held names no exception but what is not delivered."""
        run, products = store.stored_audit.last, store.products.values()
        behind = sum(item.sync.status is not SyncStatus.DELIVERED for item in products)
        if run is None or store.stored_audit.run is not None:
            raise BrokenPromiseError("the audit does not end")
        if (run.checked, run.found, run.behind, run.unanswered) != (len(products), 0, behind, 0):
            raise BrokenPromiseError(f"the audit says: {run.statement}")

    def heard_anew(self, store: ReplicaSet, stream: WindowedStream) -> None:
        """After a republish the stream has the newest version of all that is not deleted."""
        run = store.stored_republish.last
        if run is None or store.stored_republish.run is not None or not run.is_whole:
            raise BrokenPromiseError(f"the republish does not end: {store.stored_republish}")
        live = {item.id: item.version for item in store.products.values() if not item.deleted_at}
        heard: dict[str, int] = {}
        for message in stream.log:
            data = json.loads(message.data)["data"]
            heard[data["id"]] = max(data["version"], heard.get(data["id"], 0))
        missed = {name: heard.get(name) for name in live if heard.get(name) != live[name]}
        if missed:
            raise BrokenPromiseError(f"a new listener has heard {missed}, the catalog has {live}")

    def nothing_repaired(self, relayed: int, enqueued: int, letters: int) -> None:
        """If nothing was lost, reconcile has nothing to do: a repair may conceal a broken rule."""
        if relayed or enqueued or letters:
            raise BrokenPromiseError(
                f"nothing was lost, and reconcile relays {relayed}, enqueues {enqueued}, "
                f"sends {letters} dead letters"
            )

    def nothing_twice(self, supply_chain: SupplyChain) -> None:
        """Without any fault, no attempt is made twice."""
        calls = Counter((call.key, call.product.sync.attempts) for call in supply_chain.calls)
        if twice := [key for key, count in calls.items() if count > 1]:
            raise BrokenPromiseError(f"without a fault, called twice: {twice}")


def _news_of(old: Product, new: Product) -> str | None:
    """The id of the event that must tell what a waiting product has become."""
    status = new.sync.status
    what: str | None = status.value if status in FAILED_STATUSES else None
    if status is SyncStatus.DELIVERED and old.sync.failed_at is not None:
        what = "recovered"
    return f"{new.id}:{new.version}:product:sync-{what}" if what else None


def _is_early(call: Call) -> bool:
    planned_at = call.product.sync.planned_at
    return planned_at is not None and planned_at > moment(call.start)


def _survives(answer: Answer, store: ReplicaSet) -> None:
    for product in store.lineage.get(answer.product_id, ()):
        if (product.version, product.fields.price) == (answer.version, answer.price):
            return
    raise BrokenPromiseError(f"a consumer was answered 2xx, and it is gone: {answer}")


def _deleted(store: ReplicaSet, supply_chain: SupplyChain) -> None:
    """A product is dropped, or its deletion is delivered, only once the supply chain lacks it."""
    for product_id in store.lineage:
        product = store.products.get(product_id)
        if product and not (product.deleted_at and product.sync.status is SyncStatus.DELIVERED):
            continue
        if (held := supply_chain.held(product_id)) is not None:
            raise BrokenPromiseError(
                f"the deletion of {product_id} counts as done, "
                f"and the supply chain holds version {held}"
            )


def _completed(product: Product, stream: WindowedStream) -> None:
    """Each delivery was announced on the stream, at least once."""
    event_id = f"{product.id}:{product.version}:{EventType.SYNC_COMPLETE}"
    if product.sync.status is SyncStatus.DELIVERED and not stream.has(event_id):
        raise BrokenPromiseError(f"{product.id} is delivered, and nobody was told: {event_id}")


def _published(store: ReplicaSet, stream: WindowedStream) -> None:
    """Every version that has survived was published, and no outbox holds what was.

    While the stream is away, an outbox keeps its newest events only.
    """
    for lineage in store.lineage.values():
        for product in lineage[-OUTBOX_LIMIT:]:
            event = product.outbox[-1]
            if not stream.has(event.id):
                raise BrokenPromiseError(f"the event {event.id} was never published")
    if left := [product.id for product in store.products.values() if product.outbox]:
        raise BrokenPromiseError(f"events stay in the outboxes of {left}")
