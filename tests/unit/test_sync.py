"""From the queue to the supply chain, on fakes; at the end a simulation of everything at once."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.domain.delivery import (
    Claim,
    Outcome,
    SyncResult,
    Verdict,
)
from chalicelib.domain.errors import CatalogError, StoreUnavailableError
from chalicelib.domain.messages import SyncMessage
from chalicelib.domain.product import Product
from chalicelib.domain.retry import Schedule
from chalicelib.domain.sync_state import Lease, SyncState, SyncStatus
from chalicelib.usecases.catalog import Origin, Precondition
from chalicelib.usecases.sync import Sync
from tests.fakes import (
    GRACE,
    START,
    FakeStore,
    FakeSupplyChain,
    Pipeline,
    a_product,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LATER = START + timedelta(hours=1)
CARRIER = "message-1"
"""The first message of a fake queue has this id."""


@pytest.fixture
def pipeline() -> Pipeline:
    """The sync function and its fakes."""
    return Pipeline()


def put(pipeline: Pipeline, **changes: object) -> Product:
    product = a_product(outbox=(), **changes)
    pipeline.store.insert([(product, None)])
    return product


def enqueue(pipeline: Pipeline, product: Product | str, version: int = 0) -> str:
    """Put a sync_message into the queue; the id of the message."""
    product_id = product if isinstance(product, str) else product.id
    return pipeline.queue.send(SyncMessage(product_id, version, "Root=1-2-3").to_json())


def waiting(pipeline: Pipeline) -> list[tuple[str, float]]:
    """Each message of the queue, and in how many seconds it shows again."""
    now = pipeline.clock()
    return [(m.id, (m.visible_at - now).total_seconds()) for m in pipeline.queue.messages]


def nothing_called(pipeline: Pipeline) -> bool:
    return pipeline.supply_chain.calls == []


def failing(pipeline: Pipeline, *answers: int | None) -> str:
    """Create a product whose calls are answered like this, and sync it once; its id."""
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = list(answers)
    pipeline.pass_on()
    return product_id


def status(pipeline: Pipeline, product_id: str) -> SyncStatus:
    return pipeline.product(product_id).sync.status


def leased(owner: str, until: datetime, version: int, message_id: str | None = None) -> SyncState:
    return SyncState(lease=Lease(owner, until, version), message_id=message_id, behind_since=START)


# ---- the table of the design, row by row ----


def test_a_message_for_a_product_that_is_not_there_is_acknowledged_as_superseded(
    pipeline: Pipeline,
) -> None:
    enqueue(pipeline, a_product())

    pipeline.sync_once()

    assert pipeline.queue.messages == []
    assert nothing_called(pipeline)


def test_a_message_for_an_older_version_is_acknowledged_as_superseded(pipeline: Pipeline) -> None:
    enqueue(pipeline, put(pipeline, version=1), version=0)

    pipeline.sync_once()

    assert pipeline.queue.messages == []
    assert nothing_called(pipeline)


def test_a_message_for_a_version_that_is_delivered_is_acknowledged(pipeline: Pipeline) -> None:
    enqueue(pipeline, put(pipeline, sync=SyncState(SyncStatus.DELIVERED)))

    pipeline.sync_once()

    assert pipeline.queue.messages == []
    assert nothing_called(pipeline)


def test_a_message_whose_version_another_worker_delivers_now_is_acknowledged(
    pipeline: Pipeline,
) -> None:
    sync = leased("another", LATER, 0, message_id="another message")
    enqueue(pipeline, put(pipeline, sync=sync))

    pipeline.sync_once()

    assert pipeline.queue.messages == []
    assert nothing_called(pipeline)


def test_the_carrier_that_comes_back_during_its_own_call_waits_until_the_lease_ends(
    pipeline: Pipeline,
) -> None:
    until = START + timedelta(seconds=50)
    enqueue(pipeline, put(pipeline, sync=leased("dead", until, 0, message_id=CARRIER)))

    pipeline.sync_once()

    assert waiting(pipeline) == [(CARRIER, 50)]
    assert nothing_called(pipeline)


def test_a_message_whose_product_is_called_for_an_older_version_is_sent_again(
    pipeline: Pipeline,
) -> None:
    until = START + timedelta(seconds=50)
    sync = leased("another", until, 0, message_id="another message")
    old = enqueue(pipeline, put(pipeline, version=1, sync=sync), version=1)

    pipeline.sync_once()

    ((new, seconds),) = waiting(pipeline)
    assert new != old
    assert seconds == 50
    assert json.loads(pipeline.queue.messages[0].body)["trace"] == "Root=1-2-3"
    assert nothing_called(pipeline)


def test_the_carrier_of_an_attempt_that_lies_ahead_is_hidden_until_then(
    pipeline: Pipeline,
) -> None:
    ahead = START + timedelta(seconds=500)
    sync = SyncState(SyncStatus.RETRYING, 3, next_attempt_at=ahead, message_id=CARRIER)
    enqueue(pipeline, put(pipeline, sync=sync))

    pipeline.sync_once()

    assert waiting(pipeline) == [(CARRIER, 500)]
    assert nothing_called(pipeline)


def test_another_message_than_the_carrier_is_acknowledged(pipeline: Pipeline) -> None:
    ahead = START + timedelta(seconds=500)
    sync = SyncState(SyncStatus.RETRYING, 3, next_attempt_at=ahead, message_id="another message")
    enqueue(pipeline, put(pipeline, sync=sync))

    pipeline.sync_once()

    assert pipeline.queue.messages == []
    assert nothing_called(pipeline)


@pytest.mark.parametrize("stuck", [SyncStatus.EXHAUSTED, SyncStatus.REJECTED])
def test_a_new_message_for_a_stuck_product_starts_a_fresh_budget(
    pipeline: Pipeline, stuck: SyncStatus
) -> None:
    sync = SyncState(stuck, 18, first_attempt_at=START - GRACE, message_id="another message")
    product = put(pipeline, sync=sync)
    enqueue(pipeline, product)
    pipeline.supply_chain.answers[product.id] = [500]

    pipeline.sync_once()

    after = pipeline.product(product.id).sync
    assert (after.status, after.attempts, after.first_attempt_at) == (
        SyncStatus.RETRYING,
        1,
        START,
    )


def test_the_carrier_of_an_exhausted_product_shows_again_until_the_queue_gives_it_up(
    pipeline: Pipeline,
) -> None:
    product = put(pipeline, sync=SyncState(SyncStatus.EXHAUSTED, 18, message_id=CARRIER))
    enqueue(pipeline, product)

    pipeline.sync_once()
    assert waiting(pipeline) == [(CARRIER, 0)]
    while pipeline.sync_once():
        pass

    assert [(letter.id, letter.reason) for letter in pipeline.queue.dead] == [(CARRIER, None)]
    assert nothing_called(pipeline)


def test_a_pending_product_is_delivered(pipeline: Pipeline) -> None:
    product = put(pipeline)
    enqueue(pipeline, product)

    pipeline.sync_once()

    assert pipeline.queue.messages == []
    assert status(pipeline, product.id) is SyncStatus.DELIVERED
    assert [(call.version, call.trace) for call in pipeline.supply_chain.calls] == [
        (0, "Root=1-2-3")
    ]


# ---- attempts ----


def test_a_delivery_is_recorded_and_announced(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.clock.advance(3)

    pipeline.pass_on()

    product = pipeline.product(product_id)
    assert product.sync_completed_at == pipeline.clock()
    assert (product.sync.delivered_version, product.sync.behind_since) == (0, None)
    assert [attempt.status for attempt in product.sync.history] == [200]
    assert pipeline.stream.log[-1].subject == "product.sync-complete"
    assert json.loads(pipeline.stream.log[-1].data)["data"]["syncStatus"] == "delivered"
    assert product.outbox == ()


def test_a_delivery_that_cannot_be_announced_now_is_announced_by_reconcile(
    pipeline: Pipeline,
) -> None:
    pipeline.create()
    pipeline.stream.broken = {"publish"}
    pipeline.pass_on()
    pipeline.stream.broken = set()
    pipeline.clock.advance(60)

    pipeline.reconcile_once()

    assert pipeline.stream.log[-1].subject == "product.sync-complete"


@pytest.mark.parametrize("answer", [500, 404, 301, None])
def test_a_failed_attempt_is_counted_and_its_message_hidden_until_the_next(
    pipeline: Pipeline, answer: int | None
) -> None:
    product_id = failing(pipeline, answer)

    sync = pipeline.product(product_id).sync
    assert (sync.status, sync.attempts, sync.lease) == (SyncStatus.RETRYING, 1, None)
    assert sync.next_attempt_at == START + timedelta(seconds=pipeline.schedule.waits[0])
    assert waiting(pipeline) == [(CARRIER, 15)]


def test_a_wish_to_be_called_later_is_followed(pipeline: Pipeline) -> None:
    pipeline.supply_chain.retry_after = START + timedelta(seconds=1000)
    failing(pipeline, 503)

    assert waiting(pipeline) == [(CARRIER, 1000)]


def test_the_18th_failure_exhausts_the_product_and_lets_its_message_die(
    pipeline: Pipeline,
) -> None:
    product_id = failing(pipeline, *[500] * 18)

    while pipeline.queue.messages:
        pipeline.clock.now = max(m.visible_at for m in pipeline.queue.messages)
        pipeline.sync_once()

    sync = pipeline.product(product_id).sync
    assert (sync.status, sync.attempts, sync.overdue_at) == (SyncStatus.EXHAUSTED, 18, None)
    assert len(pipeline.supply_chain.calls) == 18
    assert len(sync.history) == 18
    assert [json.loads(m.body)["productId"] for m in pipeline.queue.dead] == [product_id]
    # SQS counts in whole seconds, so the last one may be a second late.
    took = sync.history[-1].time - sync.history[0].time
    assert abs(took - timedelta(hours=72)) <= timedelta(seconds=1)


def test_messages_that_piled_up_before_a_rejection_are_no_redrives(pipeline: Pipeline) -> None:
    product = put(pipeline)
    for _ in range(5):
        enqueue(pipeline, product)
        pipeline.clock.advance(60)
    pipeline.supply_chain.answers[product.id] = [422] * 5

    while pipeline.queue.messages:
        pipeline.queue.messages[1:], rest = [], pipeline.queue.messages[1:]
        pipeline.sync_once()
        pipeline.queue.messages += rest

    assert len(pipeline.supply_chain.calls) == 1
    assert len(pipeline.queue.dead) == 1


@pytest.mark.parametrize("seed", range(20))
def test_each_receive_is_an_attempt_whatever_the_jitter(seed: int) -> None:
    pipeline = Pipeline()
    chance = random.Random(seed)
    pipeline.sync = Sync(
        pipeline.store,
        pipeline.queue,
        pipeline.outbox,
        pipeline.supply_chain,
        pipeline.policy,
        clock=pipeline.clock,
        jitter=chance.random,
    )
    product_id = pipeline.create()
    pipeline.supply_chain.away = True
    pipeline.bridge_once()

    receives = 0
    while status(pipeline, product_id) is not SyncStatus.EXHAUSTED:
        receives += len(pipeline.sync_once())
        assert pipeline.queue.dead == []
        pipeline.clock.advance(max(waiting(pipeline)[0][1], 0))

    assert receives == len(pipeline.supply_chain.calls) == 18


def test_an_exhausted_product_that_is_redriven_is_delivered_and_its_dead_letter_goes() -> None:
    pipeline = Pipeline(schedule=Schedule(1, 0))
    product_id = failing(pipeline, 500)
    pipeline.sync_once()
    assert len(pipeline.queue.dead) == 1

    pipeline.catalog.redrive({})
    pipeline.sync_once()
    pipeline.reconcile_once()

    assert status(pipeline, product_id) is SyncStatus.DELIVERED
    assert pipeline.queue.dead == []


def test_a_rejected_product_is_dead_lettered_with_the_reason(pipeline: Pipeline) -> None:
    product_id = failing(pipeline, 422)

    (letter,) = pipeline.queue.dead
    assert letter.reason == "the supply chain rejects version 0: HTTP 422"
    assert status(pipeline, product_id) is SyncStatus.REJECTED
    assert pipeline.queue.messages == []


def test_a_rejected_message_that_cannot_be_buried_is_kept_and_buried_later(
    pipeline: Pipeline,
) -> None:
    pipeline.queue.broken = {"dead_letter"}
    product_id = failing(pipeline, 422)
    assert [m.id for m in pipeline.queue.messages] == [CARRIER]
    pipeline.queue.broken = set()
    pipeline.clock.advance(60)

    pipeline.sync_once()

    assert len(pipeline.queue.dead) == 1
    assert pipeline.queue.messages == []
    assert pipeline.supply_chain.versions(product_id) == [0]


@pytest.mark.parametrize("answer", [204, 404, 410])
def test_a_deleted_product_is_gone_once_the_supply_chain_has_confirmed(
    pipeline: Pipeline, answer: int
) -> None:
    product_id = pipeline.create()
    pipeline.pass_on()
    pipeline.catalog.delete(product_id, Precondition(), Origin())
    pipeline.supply_chain.answers[product_id] = [answer]

    pipeline.pass_on()
    pipeline.reconcile_once()

    assert pipeline.supply_chain.calls[-1].deleting
    assert product_id not in pipeline.store.products


# ---- batches ----


@pytest.mark.parametrize("body", ["", "{", "[]", '{"productId":1,"version":0}', '{"version":0}'])
def test_a_message_that_nobody_can_understand_is_dead_lettered(
    pipeline: Pipeline, body: str
) -> None:
    pipeline.queue.send(body)

    pipeline.sync_once()

    (letter,) = pipeline.queue.dead
    assert letter.body == body
    assert letter.reason
    assert pipeline.queue.messages == []


def test_poison_does_not_hold_up_the_batch(pipeline: Pipeline) -> None:
    pipeline.queue.send("poison")
    product = put(pipeline)
    enqueue(pipeline, product)

    pipeline.sync_once()

    assert status(pipeline, product.id) is SyncStatus.DELIVERED


def test_each_message_of_a_batch_has_its_own_fate(pipeline: Pipeline) -> None:
    good, bad, wrong = (pipeline.create() for _ in range(3))
    pipeline.supply_chain.answers = {bad: [500], wrong: [422]}

    pipeline.pass_on()

    states = [status(pipeline, item) for item in (good, bad, wrong)]
    assert states == [SyncStatus.DELIVERED, SyncStatus.RETRYING, SyncStatus.REJECTED]
    assert [json.loads(m.body)["productId"] for m in pipeline.queue.messages] == [bad]


def test_two_messages_of_one_batch_for_one_product_make_one_call(pipeline: Pipeline) -> None:
    product = put(pipeline)
    enqueue(pipeline, product)
    enqueue(pipeline, product)

    pipeline.sync_once()

    assert pipeline.supply_chain.versions(product.id) == [0]
    assert pipeline.queue.messages == []


def test_an_empty_batch_is_fine(pipeline: Pipeline) -> None:
    assert pipeline.sync.handle([]) == []


def test_a_batch_that_is_larger_than_the_number_of_parallel_calls_is_delivered_whole() -> None:
    pipeline = Pipeline(concurrency=3)
    ids = [pipeline.create() for _ in range(10)]

    pipeline.pass_on()

    assert {call.product_id for call in pipeline.supply_chain.calls} == set(ids)
    assert pipeline.queue.messages == []


def test_no_more_products_are_claimed_at_a_time_than_are_called_at_a_time() -> None:
    pipeline = Pipeline(concurrency=3)
    for _ in range(10):
        pipeline.create()
    claim, sizes = pipeline.store.claim, list[int]()

    def counted(claims: Sequence[Claim]) -> set[str]:
        sizes.append(len(claims))
        return claim(claims)

    pipeline.store.claim = counted  # type: ignore[method-assign]
    pipeline.pass_on()

    assert sizes == [3, 3, 3, 1]


# ---- two workers ----


def meddle(pipeline: Pipeline, deed: Callable[[], object]) -> None:
    """Do something in the middle of the next call, once."""

    def during(_: Product) -> None:
        pipeline.supply_chain.during = None
        deed()

    pipeline.supply_chain.during = during


def after_look(pipeline: Pipeline, deed: Callable[[], object]) -> None:
    """Do something between the next look at the documents and the claim, once."""
    get_many = pipeline.store.get_many

    def look(product_ids: Any) -> dict[str, Product]:  # noqa: ANN401 - passed on
        found = get_many(product_ids)
        pipeline.store.get_many = get_many  # type: ignore[method-assign]
        deed()
        return found

    pipeline.store.get_many = look  # type: ignore[method-assign]


def test_a_worker_that_loses_the_race_for_the_lease_sends_its_message_again(
    pipeline: Pipeline,
) -> None:
    product = put(pipeline)
    enqueue(pipeline, product)
    rival = enqueue(pipeline, product)
    (first, second) = pipeline.queue.receive()
    assert second.id == rival
    after_look(pipeline, lambda: pipeline.a_worker().handle([second]))

    assert pipeline.sync.handle([first]) == []

    assert pipeline.supply_chain.versions(product.id) == [0]
    assert waiting(pipeline)[-1][1] == 1


def test_a_message_that_lost_the_race_and_cannot_be_sent_again_is_kept(pipeline: Pipeline) -> None:
    product = put(pipeline)
    enqueue(pipeline, product)
    (message,) = pipeline.queue.receive()
    pipeline.queue.broken = {"enqueue"}
    after_look(pipeline, lambda: pipeline.update(product.id, name="Other"))

    assert pipeline.sync.handle([message]) == [CARRIER]
    assert nothing_called(pipeline)


def test_a_version_that_comes_during_a_call_is_delivered_after_it(pipeline: Pipeline) -> None:
    product_id = pipeline.create()

    def update_and_sync() -> None:
        pipeline.update(product_id, name="Other")
        pipeline.pass_on()

    meddle(pipeline, update_and_sync)
    pipeline.pass_on()
    assert pipeline.supply_chain.versions(product_id) == [0]
    assert status(pipeline, product_id) is SyncStatus.PENDING
    assert pipeline.product(product_id).sync.delivered_version == 0
    pipeline.clock.advance(pipeline.LEASE.total_seconds())
    pipeline.sync_once()

    assert pipeline.supply_chain.versions(product_id) == [0, 1]
    assert status(pipeline, product_id) is SyncStatus.DELIVERED


@pytest.mark.parametrize("answer", [500, 422])
def test_a_failure_of_a_version_that_was_replaced_meanwhile_spoils_nothing(
    pipeline: Pipeline, answer: int
) -> None:
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [answer]
    meddle(pipeline, lambda: pipeline.update(product_id, name="Other"))
    pipeline.pass_on()
    assert pipeline.product(product_id).sync.attempts == 0

    pipeline.clock.advance(60)
    pipeline.pass_on()
    pipeline.reconcile_once()

    assert pipeline.supply_chain.versions(product_id) == [0, 1]
    assert status(pipeline, product_id) is SyncStatus.DELIVERED
    assert (pipeline.queue.messages, pipeline.queue.dead) == ([], [])


def test_a_lease_whose_worker_died_is_taken_over_when_it_has_run_out(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    meddle(pipeline, die)
    with pytest.raises(WorkerDiedError):
        pipeline.pass_on()
    pipeline.clock.advance(60)
    pipeline.sync_once()
    assert pipeline.product(product_id).sync.attempts == 0

    pipeline.clock.advance(10)
    pipeline.sync_once()

    assert status(pipeline, product_id) is SyncStatus.DELIVERED
    assert len(pipeline.product(product_id).sync.history) == 1


def test_a_worker_whose_lease_has_run_out_before_its_call_does_not_call(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()
    claim = pipeline.store.claim

    def slow(claims: Sequence[Claim]) -> set[str]:
        won = claim(claims)
        pipeline.store.claim = claim  # type: ignore[method-assign]
        pipeline.clock.advance(pipeline.LEASE.total_seconds())
        pipeline.update(product_id, name="Other")
        pipeline.pass_on()
        return won

    pipeline.store.claim = slow  # type: ignore[method-assign]
    pipeline.pass_on()

    # Another worker has delivered the newer version meanwhile.
    assert pipeline.supply_chain.versions(product_id) == [1]
    assert pipeline.supply_chain.held[product_id].version == 1


def test_a_product_that_was_replayed_during_its_call_is_not_called_for_twice_at_once(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()

    def replay_and_sync() -> None:
        pipeline.catalog.replay(product_id)
        pipeline.sync_once()

    meddle(pipeline, replay_and_sync)
    pipeline.pass_on()
    assert pipeline.supply_chain.versions(product_id) == [0]

    pipeline.clock.advance(pipeline.LEASE.total_seconds())
    pipeline.sync_once()

    assert pipeline.supply_chain.versions(product_id) == [0, 0]
    assert status(pipeline, product_id) is SyncStatus.DELIVERED


@pytest.mark.parametrize("failed_before", [0, 17])
@pytest.mark.parametrize("answer", [500, 422])
def test_a_replay_during_a_call_that_fails_has_its_fresh_budget_all_the_same(
    pipeline: Pipeline, failed_before: int, answer: int
) -> None:
    before = SyncState(attempts=failed_before, first_attempt_at=START, behind_since=START)
    product = put(pipeline, sync=before)
    enqueue(pipeline, product)
    pipeline.supply_chain.answers[product.id] = [answer, 500]
    meddle(pipeline, lambda: pipeline.catalog.replay(product.id))

    pipeline.sync_once()
    assert status(pipeline, product.id) is SyncStatus.PENDING

    pipeline.clock.advance(pipeline.LEASE.total_seconds())
    pipeline.sync_once()

    assert len(pipeline.supply_chain.calls) == 2
    assert status(pipeline, product.id) is SyncStatus.RETRYING
    assert pipeline.product(product.id).sync.attempts == 1


# ---- the store is away ----


def test_messages_wait_without_an_attempt_while_the_store_is_away(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.bridge_once()
    pipeline.store.away = True

    waits = []
    for _ in range(3):
        pipeline.sync_once()
        waits.append(waiting(pipeline)[0][1])
        pipeline.clock.advance(waits[-1])

    assert waits == [15, 30, 60]
    assert nothing_called(pipeline)
    assert pipeline.product(product_id).sync.attempts == 0


@pytest.mark.parametrize("method", ["get_many", "claim", "record"])
def test_a_store_that_goes_away_at_any_step_loses_nothing(pipeline: Pipeline, method: str) -> None:
    product_id = pipeline.create()
    pipeline.bridge_once()
    pipeline.store.broken = {method}
    pipeline.sync_once()
    assert [seconds for _, seconds in waiting(pipeline)] == [15]
    pipeline.store.broken = set()

    pipeline.clock.advance(15)
    pipeline.sync_once()
    pipeline.clock.advance(pipeline.LEASE.total_seconds())
    pipeline.sync_once()

    assert status(pipeline, product_id) is SyncStatus.DELIVERED
    assert pipeline.queue.messages == []


def test_a_poison_message_is_buried_even_while_the_store_is_away(pipeline: Pipeline) -> None:
    pipeline.queue.send("poison")
    pipeline.store.away = True

    pipeline.sync_once()

    assert len(pipeline.queue.dead) == 1


def test_a_claim_that_took_place_although_it_seemed_to_fail_is_no_attempt(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()
    pipeline.bridge_once()
    claim = pipeline.store.claim

    def unsure(claims: Sequence[Claim]) -> set[str]:
        claim(claims)
        raise StoreUnavailableError("no answer in time")

    pipeline.store.claim = unsure  # type: ignore[method-assign]
    pipeline.sync_once()
    pipeline.store.claim = claim  # type: ignore[method-assign]

    assert pipeline.product(product_id).sync.attempts == 0
    for _ in range(2):
        pipeline.clock.advance(pipeline.LEASE.total_seconds())
        pipeline.sync_once()
    assert status(pipeline, product_id) is SyncStatus.DELIVERED


# ---- the queue is away ----


def test_a_message_that_cannot_be_hidden_is_kept_and_hidden_when_it_comes_back(
    pipeline: Pipeline,
) -> None:
    pipeline.queue.broken = {"change_visibility"}
    product_id = failing(pipeline, *[500] * 5)
    assert waiting(pipeline) == [(CARRIER, 60)]
    pipeline.queue.broken = set()

    pipeline.clock.advance(60)
    pipeline.sync_once()

    assert pipeline.supply_chain.versions(product_id) == [0, 0]
    assert waiting(pipeline) == [(CARRIER, 15)]


def test_what_was_delivered_while_the_queue_is_away_is_not_delivered_again(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()
    pipeline.bridge_once()
    messages = pipeline.queue.receive()
    pipeline.queue.away = True
    pipeline.sync.handle(messages)
    pipeline.queue.away = False

    pipeline.clock.advance(60)
    pipeline.sync_once()

    assert pipeline.supply_chain.versions(product_id) == [0]
    assert pipeline.queue.messages == []


# ---- everything at once ----


class WorkerDiedError(BaseException):
    """A process was killed at this point."""


def die() -> None:
    raise WorkerDiedError


class Actor:
    """One run of one part of the system, in a thread that goes on only when it is its turn."""

    def __init__(self, deed: Callable[[], object], over: threading.Semaphore) -> None:
        self._deed = deed
        self._turn = threading.Semaphore(0)
        self._over = over
        self.busy_until: datetime | None = None
        self.done = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self._turn.acquire()
        # Whatever goes wrong is this part's problem.
        with contextlib.suppress(CatalogError, WorkerDiedError):
            self._deed()
        self.done = True
        self._over.release()

    def take_turn(self) -> None:
        """Let it go on until it pauses or is done."""
        self._turn.release()
        self._over.acquire()
        if self.done:
            self._thread.join()

    def pause(self) -> None:
        """Let others go on; called in whatever thread works for this actor."""
        self._over.release()
        self._turn.acquire()


class ShakyStore(FakeStore):
    """Pauses, and fails, before and after its work; lets workers die there."""

    def __init__(self, world: Simulation) -> None:
        super().__init__()
        self._world = world

    def _reach(self, method: str) -> None:
        super()._reach(method)
        self._world.pause()
        if self._world.chance(0.02):
            raise StoreUnavailableError(f"{method}: before")

    def _shake(self) -> None:
        self._world.pause()
        if self._world.chance(0.02):
            raise StoreUnavailableError("after")
        if self._world.chance(0.02):
            die()

    def claim(self, claims: Sequence[Claim]) -> set[str]:
        won = super().claim(claims)
        if won:
            self._world.busy_until(claims[0].until)
        self._shake()
        return won

    def record(self, results: Sequence[SyncResult]) -> None:
        super().record(results)
        self._shake()

    def save_change(self, product: Product, *, expected_version: int) -> bool:
        saved = super().save_change(product, expected_version=expected_version)
        self._shake()
        return saved


class ShakySupplyChain(FakeSupplyChain):
    """Fails at random, takes its time, and watches the promises."""

    def __init__(self, clock: Callable[[], datetime], world: Simulation) -> None:
        super().__init__(clock)
        self._world = world
        self._called: set[str] = set()
        self.broken_promises: list[str] = []

    def deliver(self, product: Product, trace: str | None) -> Outcome:
        chance = self._world.chance
        if product.id in self._called:
            self.broken_promises.append(f"two calls at once for {product.id}")
        self._called.add(product.id)
        try:
            self._world.pause()
            if chance(0.03):
                die()
            held = self.held.get(product.id)
            if held is not None and held.version > product.version:
                self.broken_promises.append(f"{product.version} after {held.version}")
            answer = chance.dice.choices([200, 500, 422, None], [9, 5, 1, 3])[0]
            self.answers[product.id] = [200 if chance.calm else answer]
            outcome = super().deliver(product, trace)
            self._world.pause()
            if chance(0.03):
                die()
            if chance(0.05):
                # It has taken place, but nobody hears of it.
                lost = replace(outcome.attempt, status=None, error="no answer")
                return Outcome(lost, Verdict.FAILED)
            return outcome
        finally:
            self._called.discard(product.id)
            self._world.busy_until(None)


class Chance:
    """Dice, and whether anything may go wrong at all."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.calm = False

    def __call__(self, probability: float) -> bool:
        return not self.calm and self.dice.random() < probability


class Simulation(Pipeline):
    """Writers, bridges, workers and reconciles, interleaved in an order that a seed decides."""

    def __init__(self, seed: int) -> None:
        super().__init__(schedule=Schedule(6, 3_000, 1_500), concurrency=1)
        self.chance = Chance(seed)
        self.store = ShakyStore(self)
        self.watched = ShakySupplyChain(self.clock, self)
        self.supply_chain = self.watched
        self.connect()
        self.names = itertools.count()
        self._over = threading.Semaphore(0)
        self._actors: list[Actor] = []
        self._current: Actor | None = None

    # ---- turns ----

    def pause(self) -> None:
        """Let others go on for a while."""
        if self._current is not None and self.chance(0.6):
            self._current.pause()

    def busy_until(self, moment: datetime | None) -> None:
        """Say until when the worker that is on has a lease for the call that it makes."""
        if self._current is not None:
            self._current.busy_until = moment

    def step(self) -> None:
        """Let somebody begin or go on, or time pass."""
        dice = self.chance.dice
        if dice.random() < 0.15:
            self._pass_time()
        if len(self._actors) < 5 and dice.random() < 0.5:
            self._actors.append(Actor(dice.choice(self._deeds()), self._over))
        if self._actors:
            self._go_on(dice.choice(self._actors))

    def finish(self) -> None:
        """Let everybody who has begun come to an end."""
        while self._actors:
            self._go_on(self._actors[0])

    def _go_on(self, actor: Actor) -> None:
        self._current = actor
        actor.take_turn()
        self._current = None
        if actor.done:
            self._actors.remove(actor)

    def _pass_time(self) -> None:
        seconds = self.chance.dice.choice([0.1, 1, 10, 60, 100, 1000])
        for actor in self._actors:
            # A lease is longer than the longest call: it does not end during one.
            if actor.busy_until is not None:
                left = (actor.busy_until - self.clock()).total_seconds()
                seconds = min(seconds, max(0.0, left - 1))
        self.clock.advance(seconds)

    # ---- what they do ----

    def _deeds(self) -> list[Callable[[], object]]:
        return [
            *(self._write, self._write, self.bridge_once, self.bridge_once, self._repeat),
            *(self._sync, self._sync, self._sync, self._sync, self._sync, self._sync),
            *(self.reconcile_once, self._operate, self._disturb),
        ]

    def _any_product(self) -> str:
        return self.chance.dice.choice(sorted(self.store.products) or ["no product"])

    def _write(self) -> None:
        if len(self.store.products) < 2:
            self.create()
        product_id = self._any_product()
        if self.chance(0.1):
            self.catalog.delete(product_id, Precondition(), Origin())
        else:
            self.update(product_id, name=f"name {next(self.names)}")

    def _sync(self) -> None:
        worker, messages = self.a_worker(), self.queue.receive(self.chance.dice.randint(1, 4))
        kept = worker.handle(messages)
        if self.chance(0.05):
            die()
        self.queue.delete([message.receipt for message in messages if message.id not in kept])

    def _operate(self) -> None:
        if self.chance.dice.random() < 0.5:
            self.catalog.redrive({})
        else:
            self.catalog.replay(self._any_product())

    def _repeat(self) -> None:
        """SQS delivers at least once, not exactly once."""
        if self.queue.messages:
            self.queue.send(self.chance.dice.choice(self.queue.messages).body)

    def _disturb(self) -> None:
        self.stream.away = self.chance(0.2)
        self.queue.broken = {
            m
            for m in ("enqueue", "change_visibility", "dead_letter", "receive")
            if self.chance(0.15)
        }
        if self.chance(0.2) and self.queue.messages:
            # An operator may purge the queue, or its disk be lost.
            self.queue.messages.remove(self.chance.dice.choice(self.queue.messages))

    def heal(self) -> None:
        """Nothing goes wrong any more: let all that is left arrive, with an operator's help."""
        self.chance.calm = True
        self.finish()
        self.stream.away, self.queue.broken = False, set()
        for _ in range(40):
            self.catalog.redrive({})
            self.bridge_once()
            while self.sync_once():
                pass
            self.reconcile_once()
            self.clock.advance(400)


@pytest.mark.parametrize("seed", range(100))
def test_whatever_happens_the_supply_chain_ends_up_with_the_newest_versions(seed: int) -> None:
    simulation = Simulation(seed)
    for _ in range(400):
        simulation.step()

    simulation.heal()

    assert simulation.watched.broken_promises == []
    alive = {p.id: p for p in simulation.store.products.values()}
    assert {p.sync.status for p in alive.values()} <= {SyncStatus.DELIVERED}
    held = {p.id: p for p in simulation.watched.held.values() if p.deleted_at is None}
    assert {i: p.version for i, p in held.items()} == {i: p.version for i, p in alive.items()}
    assert {i: p.fields for i, p in held.items()} == {i: p.fields for i, p in alive.items()}
    assert (simulation.queue.messages, simulation.queue.dead) == ([], [])
    assert simulation.store.summary().outbox_backlog == 0
