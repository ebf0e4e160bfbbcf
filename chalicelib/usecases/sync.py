"""From the queue to the supply chain: a batch of messages becomes calls, results and a schedule."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from chalicelib import telemetry
from chalicelib.domain.delivery import (
    Acknowledge,
    Claim,
    Defer,
    Disposition,
    Outcome,
    Reject,
    SyncResult,
    Times,
    Try,
    claim,
    completion_of,
    conclude,
    decide,
    disposition_of,
)
from chalicelib.domain.errors import (
    PoisonMessageError,
    QueueUnavailableError,
    StoreUnavailableError,
)
from chalicelib.domain.messages import (
    DeadLetter,
    ReceivedMessage,
    SyncMessage,
    dead_letter_for,
    parse_sync_message,
)
from chalicelib.domain.product import Product
from chalicelib.domain.retry import Schedule, visibility_timeout
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.usecases.outbox import Outbox
from chalicelib.usecases.ports import Found, Queue, Store, SupplyChain

Item = TypeVar("Item")
Result = TypeVar("Result")

LOST_RACE = timedelta(seconds=1)
"""When to look again after something changed between our look and our claim, or our result.

The message is deferred, never replaced: it may be in two workers' hands, and deleting it could
delete what carries the schedule."""


@dataclass(frozen=True, slots=True)
class SyncPolicy:
    """How attempts are spread and guarded.

    `lease` must outlive the longest call that begins `start_within` of the claim, plus what the
    clocks of two workers may differ. `publish_within`: how long publishing may take.
    """

    schedule: Schedule
    lease: timedelta
    grace: timedelta
    concurrency: int
    start_within: timedelta = timedelta(seconds=5)
    publish_within: timedelta = timedelta(seconds=6)


REPORTED = frozenset(SyncStatus)
"""Counted where the attempt is reported."""

Pair = tuple[ReceivedMessage, SyncMessage]
"""A message of the queue, and what its body says."""


@dataclass(frozen=True, slots=True)
class Call:
    """A message whose product is to be delivered, and the claim under which it is."""

    message: ReceivedMessage
    sync_message: SyncMessage
    claim: Claim
    times: Times


class Parallel(Protocol):
    """Does work for several items at a time; the results in order."""

    def __call__(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Return when all are done."""


def in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Use a thread for each, made for it: a call that waited for one would outlive its lease."""
    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(work, items))


class Sync:
    """Delivers the products that a batch of messages points to."""

    def __init__(
        self,
        store: Store,
        queue: Queue,
        outbox: Outbox,
        supply_chain: SupplyChain,
        policy: SyncPolicy,
        *,
        clock: Callable[[], datetime],
        jitter: Callable[[], float] = random.random,
        new_token: Callable[[], str] = lambda: uuid.uuid4().hex,
        in_parallel: Parallel = in_threads,
    ) -> None:
        self._store = store
        self._queue = queue
        self._outbox = outbox
        self._supply_chain = supply_chain
        self._policy = policy
        self._clock = clock
        self._jitter = jitter
        self._new_token = new_token
        self._in_parallel = in_parallel

    def handle(self, messages: Sequence[ReceivedMessage]) -> list[str]:
        """Deliver; the ids of the messages that must stay in the queue.

        Each message is decided on its own. What goes wrong with one, or with the store, loses no
        other.
        """
        dispositions: dict[str, Disposition] = {}
        pairs: dict[str, Pair] = {}
        for message in messages:
            try:
                # The same message twice in a batch is one.
                pairs[message.id] = (message, parse_sync_message(message.body))
            except PoisonMessageError as error:
                dispositions[message.id] = Reject(str(error))
        readable = list(pairs.values())
        # A lease covers one call: no more are claimed at a time than are called at a time.
        for start in range(0, len(readable), self._policy.concurrency):
            part = readable[start : start + self._policy.concurrency]
            dispositions |= self._deliver_or_back_off(part)
        return self._settle([(message, dispositions[message.id]) for message in messages])

    def _deliver_or_back_off(self, pairs: Sequence[Pair]) -> dict[str, Disposition]:
        try:
            return self._deliver(pairs)
        except StoreUnavailableError as error:
            telemetry.log.error("the store is away", reason=str(error), messages=len(pairs))
            return {message.id: self._back_off(message) for message, _ in pairs}

    def _back_off(self, message: ReceivedMessage) -> Defer:
        """Without the document, only the queue's receive count is left to go by."""
        wait = self._policy.schedule.stateless_wait(message.receives)
        return Defer(self._clock() + timedelta(seconds=wait))

    def _deliver(self, pairs: Sequence[Pair]) -> dict[str, Disposition]:
        with telemetry.segment("decide"):
            found = self._store.get_many({sync_message.product_id for _, sync_message in pairs})
            dispositions, tries = self._decide(pairs, found)
            self._forget_superseded(pairs, dispositions)
        with telemetry.segment("claim"):
            won = self._store.claim([call.claim for call in tries]) if tries else set()
        calls = [call for call in tries if call.claim.product.id in won]
        return dispositions | self._call(calls)

    # ---- before the call ----

    def _decide(
        self, pairs: Sequence[Pair], found: Found
    ) -> tuple[dict[str, Disposition], list[Call]]:
        now, token = self._clock(), self._new_token()
        dispositions: dict[str, Disposition] = {}
        tries: dict[str, Call] = {}
        for message, sync_message in pairs:
            product_id = sync_message.product_id
            product = found.products.get(product_id)
            decision = decide(product, sync_message, message.id, now)
            if product_id in found.unreadable:
                telemetry.log.error("the document cannot be read", **sync_message.log_fields)
                telemetry.count(unreadable=1)
                dispositions[message.id] = self._back_off(message)
            elif not isinstance(decision, Try):
                dispositions[message.id] = decision
            else:
                # What is neither claimed nor called after all is looked at again.
                dispositions[message.id] = Defer(now + LOST_RACE)
                if product is not None and product_id not in tries:
                    tries[product_id] = self._try(product, message, sync_message, decision, token)
        return dispositions, list(tries.values())

    def _try(
        self,
        product: Product,
        message: ReceivedMessage,
        sync_message: SyncMessage,
        decision: Try,
        token: str,
    ) -> Call:
        now = self._clock()
        until = now + self._policy.lease
        times = Times(now, until, until + self._policy.grace)
        claimed = claim(product, sync_message, message.id, decision.budget, token, times)
        return Call(message, sync_message, claimed, times)

    def _forget_superseded(
        self, pairs: Sequence[Pair], dispositions: Mapping[str, Disposition]
    ) -> None:
        """Take events out of the outboxes that no claim will: their version was overtaken."""
        events = [
            (sync_message.product_id, sync_message.event_id)
            for message, sync_message in pairs
            if dispositions[message.id] == Acknowledge("superseded") and sync_message.event_id
        ]
        if events:
            self._store.remove_events(events)

    # ---- the call and its result ----

    def _call(self, calls: Sequence[Call]) -> dict[str, Disposition]:
        """Call the supply chain in parallel, then write all results at once."""
        if not calls:
            return {}
        with telemetry.segment("call"):
            outcomes = self._in_parallel(self._attempt, calls)
        dispositions: dict[str, Disposition] = {}
        done: list[tuple[Call, Outcome]] = []
        for call, outcome in zip(calls, outcomes, strict=True):
            if outcome is None:
                dispositions[call.message.id] = Defer(call.times.until)
            else:
                done.append((call, outcome))
        with telemetry.segment("record"):
            return dispositions | self._record(done)

    def _attempt(self, call: Call) -> Outcome | None:
        """Call, unless this worker was held up so long that its lease could end in mid-call.

        None: nothing is known of it, and it is no attempt.
        """
        if self._clock() > call.times.now + self._policy.start_within:
            telemetry.log.warning("too late for the lease", product_id=call.claim.product.id)
            return None
        try:
            return self._supply_chain.deliver(call.claim.product, call.sync_message.trace)
        except Exception:  # noqa: BLE001 - logged; a bug that one product meets, and its neighbours' results count
            telemetry.log.exception("the call failed", **call.sync_message.log_fields)
            return None

    def _record(self, done: Sequence[tuple[Call, Outcome]]) -> dict[str, Disposition]:
        now = self._clock()
        results = self._announced(
            [(call, self._conclude(call, outcome, now)) for call, outcome in done], now
        )
        recorded = self._store.record(results) if results else set()
        written = [result for result in results if result.product.id in recorded]
        self._send_letters([result.product for result in written if result.failed])
        dispositions: dict[str, Disposition] = {}
        for (call, outcome), result in zip(done, results, strict=True):
            counted = result.product.id in recorded
            _report(call, outcome, result, now, counted=counted)
            # Changed during the call: to be decided again, by what the document says now.
            dispositions[call.message.id] = (
                disposition_of(result) if counted else Defer(now + LOST_RACE)
            )
        return dispositions

    def _conclude(self, call: Call, outcome: Outcome, now: datetime) -> SyncResult:
        return conclude(
            call.claim,
            outcome,
            self._policy.schedule,
            now=now,
            jitter=self._jitter(),
            grace=self._policy.grace,
        )

    def _announced(
        self, done: Sequence[tuple[Call, SyncResult]], now: datetime
    ) -> list[SyncResult]:
        """Publish what was delivered; the results, with the events that the outbox must keep."""
        events = {
            call.message.id: completion_of(result, now, call.sync_message.trace)
            for call, result in done
            if result.delivered
        }
        in_time = [
            events[call.message.id]
            for call, result in done
            if result.delivered and now + self._policy.publish_within < call.times.until
        ]
        published = {event.id for event in self._outbox.publish(in_time)} if in_time else set()
        kept = {name: event for name, event in events.items() if event.id not in published}
        return [replace(result, event=kept.get(call.message.id)) for call, result in done]

    def _send_letters(self, failed: Sequence[Product]) -> None:
        """Send dead letters; the document owes one that is not sent, and reconcile sends it."""
        if not failed:
            return
        try:
            accepted = self._queue.dead_letter([dead_letter_for(product) for product in failed])
            self._store.letters_sent([failed[position] for position in accepted])
        except (QueueUnavailableError, StoreUnavailableError) as error:
            telemetry.log.warning("reconcile will send the dead letters", reason=str(error))

    # ---- the messages ----

    def _settle(self, dispositions: Sequence[tuple[ReceivedMessage, Disposition]]) -> list[str]:
        """Do what each message's disposition asks of the queue: the one place that decides."""
        kept: list[str] = []
        timeouts: dict[str, int] = {}
        now = self._clock()
        for message, disposition in dispositions:
            match disposition:
                case Acknowledge(reason):
                    telemetry.count(**({} if reason in REPORTED else {reason: 1}))
                case Defer(until):
                    kept.append(message.id)
                    timeouts[message.receipt] = visibility_timeout(until, now, message.received)
                case Reject(reason):
                    if not self._reject(message, reason):
                        kept.append(message.id)
        self._defer(timeouts)
        return kept

    def _reject(self, message: ReceivedMessage, reason: str) -> bool:
        telemetry.log.error("dead-lettered", message_id=message.id, reason=reason)
        try:
            return bool(self._queue.dead_letter([DeadLetter(message.body, {"reason": reason})]))
        except QueueUnavailableError as error:
            telemetry.log.warning("the dead-letter queue takes nothing", reason=str(error))
            return False

    def _defer(self, timeouts: Mapping[str, int]) -> None:
        try:
            if timeouts:
                self._queue.change_visibility(timeouts)
        except QueueUnavailableError as error:
            # They come back after the queue's own visibility timeout, and are deferred then.
            telemetry.log.warning("messages could not be deferred", reason=str(error))


def _report(
    call: Call, outcome: Outcome, result: SyncResult, now: datetime, *, counted: bool
) -> None:
    sync = result.product.sync
    telemetry.log.info(
        "attempt",
        **(call.sync_message.log_fields | {"version": result.product.version}),
        budget=sync.budget,
        message_id=call.message.id,
        verdict=outcome.verdict.value,
        status=sync.status.value,
        attempt=sync.attempts,
        counted=counted,
        status_code=outcome.attempt.status,
        seconds=round(outcome.attempt.duration, 3),
        error=outcome.attempt.error,
    )
    telemetry.count(
        delivered=int(result.delivered),
        failed=int(not result.delivered),
        exhausted=int(sync.status is SyncStatus.EXHAUSTED),
        rejected=int(sync.status is SyncStatus.REJECTED),
    )
    behind_since = call.claim.product.sync.behind_since
    if result.delivered and behind_since is not None:
        telemetry.measure_seconds(delivery_lag=(now - behind_since).total_seconds())
