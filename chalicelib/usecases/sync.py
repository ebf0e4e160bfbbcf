"""From the queue to the supply chain: a batch of messages becomes calls, results and a schedule."""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from chalicelib import telemetry
from chalicelib.domain.delivery import (
    Acknowledge,
    Claim,
    DeadLetter,
    Defer,
    Disposition,
    Expire,
    Outcome,
    Requeue,
    SyncResult,
    Try,
    Verdict,
    conclude,
    decide,
)
from chalicelib.domain.errors import (
    PoisonMessageError,
    QueueUnavailableError,
    StoreUnavailableError,
)
from chalicelib.domain.messages import ReceivedMessage, SyncMessage, parse_sync_message
from chalicelib.domain.product import Product
from chalicelib.domain.retry import Schedule, visibility_timeout
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.usecases.outbox import Outbox
from chalicelib.usecases.ports import Queue, Store, SupplyChain

MAX_DELAY_SECONDS = 900
"""SQS: the longest DelaySeconds of a message."""
Item = TypeVar("Item")
Result = TypeVar("Result")

LOST_RACE = timedelta(seconds=1)
"""When to look again after another worker took the lease between our look and our claim."""


@dataclass(frozen=True, slots=True)
class SyncPolicy:
    """How attempts are spread and guarded.

    `lease` must outlive the longest call that begins `start_within` of the claim, plus what the
    clocks of two workers may differ.
    """

    schedule: Schedule
    lease: timedelta
    grace: timedelta
    concurrency: int
    start_within: timedelta = timedelta(seconds=5)


Pair = tuple[ReceivedMessage, SyncMessage]
"""A message of the queue, and what its body says."""


@dataclass(frozen=True, slots=True)
class Call:
    """A message whose product is to be delivered, and the claim under which it is."""

    message: ReceivedMessage
    sync_message: SyncMessage
    claim: Claim


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
        new_owner: Callable[[], str] = lambda: uuid.uuid4().hex,
        in_parallel: Parallel = in_threads,
    ) -> None:
        self._store = store
        self._queue = queue
        self._outbox = outbox
        self._supply_chain = supply_chain
        self._policy = policy
        self._clock = clock
        self._jitter = jitter
        self._new_owner = new_owner
        self._in_parallel = in_parallel

    def handle(self, messages: Sequence[ReceivedMessage]) -> list[str]:
        """Deliver; the ids of the messages that must stay in the queue.

        Each message is decided on its own. What goes wrong with one, or with the store, loses no
        other.
        """
        dispositions: dict[str, Disposition] = {}
        pairs: list[Pair] = []
        for message in messages:
            try:
                pairs.append((message, parse_sync_message(message.body)))
            except PoisonMessageError as error:
                dispositions[message.id] = DeadLetter(str(error))
        # A lease covers one call: no more are claimed at a time than are called at a time.
        for start in range(0, len(pairs), self._policy.concurrency):
            dispositions |= self._deliver_or_back_off(
                pairs[start : start + self._policy.concurrency]
            )
        return self._settle([(message, dispositions[message.id]) for message in messages])

    def _deliver_or_back_off(self, pairs: Sequence[Pair]) -> dict[str, Disposition]:
        try:
            return self._deliver(pairs)
        except StoreUnavailableError as error:
            telemetry.log.error("the store is away", reason=str(error), messages=len(pairs))
            # Without the document, only the queue's receive count is left to go by.
            now, schedule = self._clock(), self._policy.schedule
            return {
                message.id: Defer(
                    now + timedelta(seconds=schedule.stateless_wait(message.receives))
                )
                for message, _ in pairs
            }

    def _deliver(self, pairs: Sequence[Pair]) -> dict[str, Disposition]:
        with telemetry.segment("decide"):
            products = self._store.get_many({sync_message.product_id for _, sync_message in pairs})
            dispositions, tries = self._decide(pairs, products)
        with telemetry.segment("claim"):
            won = self._store.claim([call.claim for call in tries]) if tries else set()
        now = self._clock()
        for call in tries:
            dispositions[call.message.id] = Requeue(now + LOST_RACE)
        calls = [call for call in tries if call.claim.product.id in won]
        return dispositions | self._call(calls)

    def _decide(
        self, pairs: Sequence[Pair], products: Mapping[str, Product]
    ) -> tuple[dict[str, Disposition], list[Call]]:
        now, owner = self._clock(), self._new_owner()
        dispositions: dict[str, Disposition] = {}
        tries: dict[str, Call] = {}
        for message, sync_message in pairs:
            product = products.get(sync_message.product_id)
            decision = decide(product, sync_message, message, now)
            if not isinstance(decision, Try):
                dispositions[message.id] = decision
            elif product is None or product.id in tries:
                # Two messages of one batch for the same product: one call serves both.
                dispositions[message.id] = Acknowledge("duplicate")
            else:
                claim = self._claim(product, owner, message, now, fresh=decision.fresh)
                tries[product.id] = Call(message, sync_message, claim)
        return dispositions, list(tries.values())

    def _claim(
        self, product: Product, owner: str, message: ReceivedMessage, now: datetime, *, fresh: bool
    ) -> Claim:
        until = now + self._policy.lease
        return Claim(product, owner, message.id, now, until, until + self._policy.grace, fresh)

    def _call(self, calls: Sequence[Call]) -> dict[str, Disposition]:
        """Call the supply chain in parallel, then write all results at once."""
        if not calls:
            return {}
        with telemetry.segment("call"):
            outcomes = self._in_parallel(self._attempt, calls)
        now = self._clock()
        results: list[SyncResult] = []
        dispositions: dict[str, Disposition] = {}
        for call, outcome in zip(calls, outcomes, strict=True):
            if outcome is None:
                dispositions[call.message.id] = Requeue(call.claim.until)
                continue
            result, dispositions[call.message.id] = self._conclude(call, outcome, now)
            results.append(result)
            _report(call, outcome, result, now)
        with telemetry.segment("record"):
            self._store.record(results)
        # Where nothing was recorded since the version has moved on, it was delivered all the same.
        self._outbox.relay([result.event for result in results if result.event is not None])
        return dispositions

    def _attempt(self, call: Call) -> Outcome | None:
        """Call, unless this worker was held up so long that its lease could end in mid-call."""
        if self._clock() > call.claim.now + self._policy.start_within:
            telemetry.log.warning("too late for the lease", product_id=call.claim.product.id)
            return None
        return self._supply_chain.deliver(call.claim.product, call.sync_message.trace)

    def _conclude(
        self, call: Call, outcome: Outcome, now: datetime
    ) -> tuple[SyncResult, Disposition]:
        return conclude(
            call.claim,
            outcome,
            self._policy.schedule,
            now=now,
            jitter=self._jitter(),
            grace=self._policy.grace,
            trace=call.sync_message.trace,
        )

    def _settle(self, dispositions: Sequence[tuple[ReceivedMessage, Disposition]]) -> list[str]:
        """Do what each message's disposition asks of the queue: the one place that decides."""
        kept: list[ReceivedMessage] = []
        timeouts: dict[str, int] = {}
        now = self._clock()
        for message, disposition in dispositions:
            match disposition:
                case Acknowledge(reason):
                    telemetry.count(**({} if reason == "delivered" else {reason: 1}))
                case Defer(until):
                    kept.append(message)
                    timeouts[message.receipt] = visibility_timeout(until, now, message.received)
                case Expire():
                    kept.append(message)
                    timeouts[message.receipt] = 0
                case Requeue(at):
                    if not self._requeue(message, at, now):
                        kept.append(message)
                case DeadLetter(reason):
                    if not self._dead_letter(message, reason):
                        kept.append(message)
        self._defer(timeouts)
        return [message.id for message in kept]

    def _requeue(self, message: ReceivedMessage, at: datetime, now: datetime) -> bool:
        delay = min(MAX_DELAY_SECONDS, max(0, math.ceil((at - now).total_seconds())))
        try:
            return bool(self._queue.enqueue([parse_sync_message(message.body)], delay))
        except QueueUnavailableError as error:
            telemetry.log.warning("the message waits in its place", reason=str(error))
            return False

    def _dead_letter(self, message: ReceivedMessage, reason: str) -> bool:
        telemetry.log.error("dead-lettered", message_id=message.id, reason=reason)
        try:
            return bool(self._queue.dead_letter([(message.body, reason)]))
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


def _report(call: Call, outcome: Outcome, result: SyncResult, now: datetime) -> None:
    behind_since = call.claim.product.sync.behind_since
    lag = (now - behind_since).total_seconds() if behind_since else 0.0
    telemetry.log.info(
        "attempt",
        **(call.sync_message.log_fields | {"version": result.version}),
        message_id=call.message.id,
        verdict=outcome.verdict.value,
        status=result.sync.status.value,
        attempt=result.sync.attempts,
        status_code=outcome.attempt.status,
        seconds=round(outcome.attempt.duration, 3),
        error=outcome.attempt.error,
    )
    telemetry.count(
        delivered=int(outcome.verdict is Verdict.DELIVERED),
        failed=int(outcome.verdict is not Verdict.DELIVERED),
        exhausted=int(result.sync.status is SyncStatus.EXHAUSTED),
        rejected=int(result.sync.status is SyncStatus.REJECTED),
    )
    if outcome.verdict is Verdict.DELIVERED:
        telemetry.measure_seconds(delivery_lag=lag)
