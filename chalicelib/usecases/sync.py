"""From the queue to the supply chain: calls for a batch of messages, results and schedule."""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chalicelib import telemetry
from chalicelib.domain.delivery import (
    PARK_LONGER,
    Acknowledge,
    Claim,
    Defer,
    Disposition,
    Doubt,
    Outcome,
    Reject,
    SyncResult,
    Times,
    Transition,
    Try,
    claim,
    completion_of,
    conclude,
    decide,
    disposition_of,
    news_of,
    next_enqueue,
    park,
    park_result,
)
from chalicelib.domain.errors import (
    PoisonMessageError,
    QueueUnavailableError,
    StoreUnavailableError,
    UnreadableDocumentError,
)
from chalicelib.domain.exact_json import Json
from chalicelib.domain.messages import (
    DeadLetter,
    ReceivedMessage,
    SyncMessage,
    dead_letter_for,
    parse_sync_message,
)
from chalicelib.domain.objective import in_time
from chalicelib.domain.product import Product
from chalicelib.domain.retry import Schedule, visibility_timeout
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.usecases.activity import Activity
from chalicelib.usecases.admission import Admissions
from chalicelib.usecases.outbox import Outbox
from chalicelib.usecases.parallel import InThreads, Parallel
from chalicelib.usecases.parking import LOST_RACE, Parking
from chalicelib.usecases.ports import Found, Queue, Store, SupplyChain


@dataclass(frozen=True, slots=True)
class SyncPolicy:
    """Schedule and time limits of attempts.

    `lease` must be longer than `start_within` (the latest start of a call after its claim), the
    longest call, and the difference of two workers' clocks together. `publish_within`: how long
    publishing may take. `concurrency`: calls at a time. `max_in_flight`: with more messages in
    flight long waits are parked. `jitter` gives a number from 0 to 1 for each attempt. `restoring`:
    nothing is attempted, since the store is being made whole.
    """

    schedule: Schedule
    lease: timedelta
    grace: timedelta
    concurrency: int
    start_within: timedelta = timedelta(seconds=5)
    publish_within: timedelta = timedelta(seconds=6)
    max_in_flight: int = 60_000
    jitter: Callable[[], float] = random.random
    restoring: bool = False


REPORTED = frozenset(SyncStatus)
"""Reasons that _count_attempt counts, so that _settle does not."""

Pair = tuple[ReceivedMessage, SyncMessage]
"""A message of the queue, and what its body says."""


@dataclass(frozen=True, slots=True)
class Call:
    """A message whose product is to be delivered, and its claim."""

    message: ReceivedMessage
    sync_message: SyncMessage
    claim: Claim
    times: Times
    is_probe: bool = False

    @property
    def product_id(self) -> str:
        """The product to be delivered."""
        return self.claim.product.id

    @property
    def trace(self) -> str | None:
        """The trace of the request that began this budget: a letter moved back may lack it."""
        return self.sync_message.trace or self.claim.product.sync.trace


class Sync:
    """Delivers the products that a batch of messages points to."""

    def __init__(
        self,
        store: Store,
        queue: Queue,
        outbox: Outbox,
        supply_chain: SupplyChain,
        policy: SyncPolicy,
        admissions: Admissions,
        activity: Activity,
        *,
        clock: Callable[[], datetime],
        in_parallel: Parallel | None = None,
    ) -> None:
        self._store = store
        self._queue = queue
        self._outbox = outbox
        self._supply_chain = supply_chain
        self._policy = policy
        self._admissions = admissions
        self._activity = activity
        self._parking = Parking(store, queue, policy.max_in_flight, clock=clock)
        self._clock = clock
        self._in_parallel = in_parallel or InThreads()

    @telemetry.batch()
    def handle(self, messages: Sequence[ReceivedMessage]) -> list[str]:
        """Deliver; give the ids of the messages that must stay in the queue.

        Each message is decided separately. An error of one message, or of the store, does not lose
        another message.
        """
        if self._policy.restoring:
            return self._settle([(message, self._back_off(message)) for message in messages])
        dispositions: dict[str, Disposition] = {}
        pairs: dict[str, Pair] = {}
        for message in messages:
            try:
                # A batch may contain a message twice: it is handled once.
                pairs[message.id] = (message, parse_sync_message(message.body))
            except PoisonMessageError as error:
                dispositions[message.id] = Reject(str(error))
        readable = list(pairs.values())
        # A lease covers one call, so no more products are claimed than are called in parallel.
        for start in range(0, len(readable), self._policy.concurrency):
            part = readable[start : start + self._policy.concurrency]
            dispositions |= self._deliver_or_back_off(part)
        kept = self._settle([(message, dispositions[message.id]) for message in messages])
        self._activity.write_if_due()
        return kept

    def _deliver_or_back_off(self, pairs: Sequence[Pair]) -> dict[str, Disposition]:
        try:
            return self._deliver(pairs)
        except StoreUnavailableError as error:
            return self._back_off_all([message for message, _ in pairs], error)

    def _back_off_all(
        self, messages: Sequence[ReceivedMessage], error: StoreUnavailableError
    ) -> dict[str, Disposition]:
        telemetry.log.error("the store is away", reason=str(error), messages=len(messages))
        return {message.id: self._back_off(message) for message in messages}

    def _back_off(self, message: ReceivedMessage) -> Defer:
        """Without the document, only the receive count can decide how long to wait."""
        wait = self._policy.schedule.stateless_wait(message.receives)
        return Defer(self._clock() + timedelta(seconds=wait))

    def _deliver(self, pairs: Sequence[Pair]) -> dict[str, Disposition]:
        with telemetry.segment("decide"):
            found = self._store.get_many({sync_message.product_id for _, sync_message in pairs})
            dispositions, tries = self._decide(pairs, found)
            self._forget_superseded(pairs, dispositions)
            dispositions |= self._park_waiting(pairs, found, dispositions)
            admitted, refused = self._admit(tries)
            dispositions |= refused
        with telemetry.segment("claim"):
            won = self._store.claim([call.claim for call in admitted]) if admitted else set()
        self._no_probe([call for call in admitted if call.product_id not in won])
        calls = [call for call in admitted if call.product_id in won]
        return dispositions | self._call(calls)

    # ---- before the call ----

    def _decide(
        self, pairs: Sequence[Pair], found: Found
    ) -> tuple[dict[str, Disposition], list[Call]]:
        now, token = self._clock(), uuid.uuid4().hex
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
            elif isinstance(decision, Doubt):
                dispositions[message.id] = self._doubted(message, sync_message)
            elif not isinstance(decision, Try):
                dispositions[message.id] = decision
                if product is None:
                    # As of a dead letter: it may be the last trace of a product that was lost.
                    telemetry.log.info(
                        "a message of no product is deleted", **sync_message.log_fields
                    )
            else:
                # If the claim fails, or another message of the batch is for this product.
                dispositions[message.id] = Defer(now + LOST_RACE)
                if product is not None and product_id not in tries:
                    tries[product_id] = self._try(product, message, sync_message, decision, token)
        return dispositions, list(tries.values())

    def _doubted(self, message: ReceivedMessage, sync_message: SyncMessage) -> Defer:
        """Keep a message that is newer than its document.

        It is decided again now and then, until a restore has lifted the document above it. To
        acknowledge it, or to deliver what the document says, would hide that changes were lost.
        """
        try:
            # Once more: what was asked may have been a primary of before a failover.
            product = self._store.get(sync_message.product_id, majority=True)
        except UnreadableDocumentError:
            product = None
        if product is None or product.version >= sync_message.version:
            return Defer(self._clock() + LOST_RACE)
        _tell_that_store_is_behind(product, sync_message.version)
        return self._back_off(message)

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
        times = Times(now, until, until + self._policy.grace, message.sent)
        claimed = claim(product, sync_message, message.id, decision.budget, token, times)
        return Call(message, sync_message, claimed, times)

    def _forget_superseded(
        self, pairs: Sequence[Pair], dispositions: Mapping[str, Disposition]
    ) -> None:
        """Remove the events of superseded messages, which no claim removes."""
        events = [
            (sync_message.product_id, sync_message.event_id)
            for message, sync_message in pairs
            if dispositions[message.id] == Acknowledge("superseded") and sync_message.event_id
        ]
        if events:
            self._store.remove_events(events)

    # ---- calls that must wait ----

    def _admit(self, tries: Sequence[Call]) -> tuple[list[Call], dict[str, Disposition]]:
        """Give the calls that may be made now, and the dispositions of the others."""
        if not tries:
            return [], {}
        admission = self._admissions.admit(len(tries))
        # New changes first: a product that fails again and again is no good probe.
        order = sorted(tries, key=lambda call: call.claim.before.sync.last_error is not None)
        admitted = [replace(call, is_probe=admission.probe) for call in order[: admission.granted]]
        now, refused = self._clock(), order[admission.granted :]
        if admission.again is None:
            grace = self._policy.grace
            # Until then the end of the outage brings it forward.
            until = [next_enqueue(call.claim.before, now, grace) for call in refused]
            return admitted, self._park_while_held(list(zip(refused, until, strict=True)))
        waits = list(zip(refused, admission.again, strict=True))
        short = {call.message.id: Defer(then) for call, then in waits if then - now <= PARK_LONGER}
        long = [(call, then) for call, then in waits if then - now > PARK_LONGER]
        return admitted, short | self._park(long)

    def _park_while_held(self, waits: Sequence[tuple[Call, datetime]]) -> dict[str, Disposition]:
        """Park; but keep the messages if calls are allowed by now.

        If the outage has ended meanwhile, the other products may have been brought forward already,
        and these would not be.
        """
        parked = self._park(waits)
        if not parked or self._admissions.are_held():
            return parked
        return dict.fromkeys(parked, Defer(self._clock() + LOST_RACE))

    def _park(self, waits: Sequence[tuple[Call, datetime]]) -> dict[str, Disposition]:
        now = self._clock()
        return self._parking.park(
            [
                (
                    call.message,
                    park(
                        call.claim.before,
                        call.sync_message,
                        call.claim.product.sync.budget,
                        now,
                        until,
                    ),
                )
                for call, until in waits
            ]
        )

    def _park_waiting(
        self, pairs: Sequence[Pair], found: Found, dispositions: Mapping[str, Disposition]
    ) -> dict[str, Disposition]:
        """Park the products whose messages would be deferred for long, if the queue is full."""
        now = self._clock()
        parkings: list[tuple[ReceivedMessage, Transition]] = []
        for message, sync_message in pairs:
            match dispositions[message.id]:
                case Defer(until, scheduled=True) if (
                    until - now > PARK_LONGER and self._parking.queue_is_full
                ):
                    product = found.products[sync_message.product_id]
                    budget = product.sync.budget
                    parking = park(product, sync_message, budget, now, until)
                    parkings.append((message, parking))
        return self._parking.park(parkings)

    def _no_probe(self, calls: Sequence[Call]) -> None:
        """Let another worker make the probe that was not made here."""
        if any(call.is_probe for call in calls):
            self._admissions.probed(None)

    # ---- the call and its result ----

    def _call(self, calls: Sequence[Call]) -> dict[str, Disposition]:
        """Call the supply chain in parallel, and write the results as they come."""
        dispositions: dict[str, Disposition] = {}
        if not calls:
            return dispositions
        with telemetry.segment("call"):
            for group in self._in_parallel(self._attempt, calls):
                dispositions |= self._record_or_back_off(group)
        return dispositions

    def _record_or_back_off(
        self, group: Sequence[tuple[Call, Outcome | None]]
    ) -> dict[str, Disposition]:
        """Write results. Raises nothing, so that the other calls of the batch are waited for.

        Otherwise a call could still run when the function has answered. Lambda may then freeze the
        process, and the call would continue after the end of its lease.
        """
        done = [(call, outcome) for call, outcome in group if outcome is not None]
        self._no_probe([call for call, outcome in group if outcome is None])
        unknown: dict[str, Disposition] = {
            call.message.id: Defer(call.times.until) for call, _ in group
        }
        try:
            self._report(done)
            with telemetry.segment("record"):
                return unknown | self._record(done)
        except StoreUnavailableError as error:
            return unknown | self._back_off_all([call.message for call, _ in done], error)
        except Exception:  # noqa: BLE001 - logged; a bug, after which nothing is known of these calls
            telemetry.log.exception("results could not be written")
            return unknown

    def _report(self, done: Sequence[tuple[Call, Outcome]]) -> None:
        outcomes = [(call.claim.product, outcome) for call, outcome in done]
        if any(call.is_probe for call, _ in done):
            # A probe is alone in its batch.
            self._admissions.probed(outcomes[0])
        elif outcomes:
            self._admissions.report(outcomes)

    def _attempt(self, call: Call) -> Outcome | None:
        """Call, unless this worker is so late that its lease could end during the call.

        None: nothing is known of the call, and it does not count as an attempt.
        """
        if self._clock() > call.times.now + self._policy.start_within:
            telemetry.log.warning("too late for the lease", product_id=call.claim.product.id)
            return None
        try:
            return self._supply_chain.deliver(call.claim.product, call.trace)
        except Exception:  # noqa: BLE001 - logged; a bug that one product meets, and its neighbours' results count
            telemetry.log.exception("the call failed", **call.sync_message.log_fields)
            return None

    def _record(self, done: Sequence[tuple[Call, Outcome]]) -> dict[str, Disposition]:
        now = self._clock()
        results = self._announced(
            [(call, self._conclude(call, outcome, now)) for call, outcome in done], now
        )
        recorded = self._store.record(results) if results else set()
        calls = [call for call, _ in done]
        pairs = list(zip(calls, results, strict=True))
        written = [(call, result) for call, result in pairs if result.product.id in recorded]
        self._send_letters([result.product for _, result in written if result.failed])
        self._tell(written)
        dispositions: dict[str, Disposition] = {}
        for (call, outcome), result in zip(done, results, strict=True):
            counted = result.product.id in recorded
            _log_attempt(call, outcome, result, counted=counted)
            _count_attempt(call, result, now)
            self._activity.count(outcome.attempt.error, delivered=result.delivered)
            if counted and outcome.held is not None:
                _tell_that_store_is_behind(result.product, outcome.held)
            if counted and result.delivered:
                self._count_objective(call, now)
            # The product was changed during the call: its message is decided again.
            dispositions[call.message.id] = (
                disposition_of(result) if counted else Defer(now + LOST_RACE)
            )
        return dispositions

    def _count_objective(self, call: Call, now: datetime) -> None:
        claimed = call.claim
        met = in_time(claimed.before, claimed.product, now, self._admissions.accepting_since())
        if met is not None:
            telemetry.count(objective_met=int(met), objective_missed=int(not met))

    def _conclude(self, call: Call, outcome: Outcome, now: datetime) -> SyncResult:
        result = conclude(
            call.claim,
            outcome,
            self._policy.schedule,
            now=now,
            jitter=self._policy.jitter(),
            grace=self._policy.grace,
            probe=call.is_probe,
        )
        due = result.product.sync.next_attempt_at
        long = due is not None and due - now > PARK_LONGER
        return park_result(result) if long and self._parking.queue_is_full else result

    def _announced(
        self, done: Sequence[tuple[Call, SyncResult]], now: datetime
    ) -> list[SyncResult]:
        """Publish `sync-complete` events; give the results with the events for their outboxes.

        Those are what was not published, and news, which holds only if the result is written.
        """
        events = {
            call.message.id: completion_of(result, now, call.trace)
            for call, result in done
            if result.delivered
        }
        in_time = [
            events[call.message.id]
            for call, result in done
            if result.delivered and now + self._policy.publish_within < call.times.until
        ]
        published = {event.id for event in self._outbox.publish(in_time)} if in_time else set()
        kept = {name: (it,) for name, it in events.items() if it.id not in published}
        return [
            replace(
                result, events=(*kept.get(call.message.id, ()), *news_of(result, now, call.trace))
            )
            for call, result in done
        ]

    def _tell(self, written: Sequence[tuple[Call, SyncResult]]) -> None:
        """Publish the news of results that were written; what is not published stays for reconcile.

        Not where it could take longer than the lease: the host would stop us before the messages
        are settled.
        """
        latest = self._clock() + self._policy.publish_within
        in_time = [result for call, result in written if latest < call.times.until]
        if news := [event for result in in_time for event in result.news]:
            self._outbox.relay(news)

    def _send_letters(self, failed: Sequence[Product]) -> None:
        """Send dead letters. If one is not sent, it stays owed, and reconcile sends it."""
        if not failed:
            return
        try:
            accepted = self._queue.dead_letter([dead_letter_for(product) for product in failed])
            self._store.letters_sent([failed[position] for position in accepted])
        except (QueueUnavailableError, StoreUnavailableError) as error:
            telemetry.log.warning("reconcile will send the dead letters", reason=str(error))

    # ---- the messages ----

    def _settle(self, dispositions: Sequence[tuple[ReceivedMessage, Disposition]]) -> list[str]:
        """Carry out the dispositions; give the ids of the messages that stay in the queue."""
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
            # They become visible after the queue's own visibility timeout, and are deferred then.
            telemetry.log.warning("messages could not be deferred", reason=str(error))


def _tell_that_store_is_behind(product: Product, known: int) -> None:
    telemetry.log.error(
        "the store is behind: it seems to be restored to an earlier time",
        product_id=product.id,
        version=product.version,
        known=known,
    )
    telemetry.count(store_behind=1)


def _log_attempt(call: Call, outcome: Outcome, result: SyncResult, *, counted: bool) -> None:
    """Log a delivery shortly, as most lines are such; everything else in full."""
    sync = result.product.sync
    fields: Json = {
        "product_id": result.product.id,
        "version": result.product.version,
        "attempt": sync.attempts,
        "status_code": outcome.attempt.status,
        "seconds": round(outcome.attempt.duration, 3),
    }
    usual = result.delivered and counted
    if not usual or telemetry.is_verbose():
        fields = replace(call.sync_message, trace=call.trace).log_fields | fields
        fields |= {
            "budget": sync.budget,
            "message_id": call.message.id,
            "verdict": outcome.verdict.value,
            "status": sync.status.value,
            "counted": counted,
            "error": outcome.attempt.error,
        }
    failed = result.failed and counted
    level = logging.INFO if usual else logging.ERROR if failed else logging.WARNING
    telemetry.log.log(level, "attempt", **fields)


def _count_attempt(call: Call, result: SyncResult, now: datetime) -> None:
    sync = result.product.sync
    telemetry.count(
        failed=int(not result.delivered),
        exhausted=int(sync.status is SyncStatus.EXHAUSTED),
        rejected=int(sync.status is SyncStatus.REJECTED),
    )
    if result.delivered:
        # One value for each delivery, so that its sample count is the number of deliveries.
        since = call.claim.product.sync.behind_since or call.message.sent
        telemetry.measure_seconds(delivery_lag=(now - since).total_seconds())
