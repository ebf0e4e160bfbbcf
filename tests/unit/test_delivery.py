"""The table of what a message means, and what an attempt comes to."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain import exact_json
from chalicelib.domain.delivery import (
    EARLY,
    Acknowledge,
    Claim,
    DeadLetter,
    Decision,
    Defer,
    Disposition,
    Expire,
    Outcome,
    Requeue,
    SyncResult,
    Try,
    Verdict,
    conclude,
    dead_letter_is_settled,
    decide,
    judge,
    next_enqueue,
)
from chalicelib.domain.errors import PoisonMessageError
from chalicelib.domain.events import EventType
from chalicelib.domain.messages import (
    ReceivedMessage,
    SyncMessage,
    parse_sync_message,
    sync_message_for,
)
from chalicelib.domain.product import Product, ProductFields
from chalicelib.domain.retry import Schedule
from chalicelib.domain.sync_state import (
    FAILED_STATUSES,
    Attempt,
    Lease,
    SyncState,
    SyncStatus,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
EARLIER = NOW - timedelta(minutes=5)
GRACE = timedelta(seconds=300)
SCHEDULE = Schedule()
CARRIER, OTHER = "message_id", "other"


def product(version: int = 3, **sync: object) -> Product:
    fields = ProductFields(name="Lamp", price=Decimal("19.90"), quantity=1)
    state = replace(SyncState(behind_since=EARLIER), **sync)  # type: ignore[arg-type]  # any field
    return Product("p1", fields, version, EARLIER, EARLIER, state)


def decided(
    found: Product | None, message_id: str = OTHER, version: int = 3, sent: datetime = NOW
) -> Decision:
    message = ReceivedMessage(message_id, "receipt", "", 1, sent, NOW)
    return decide(found, SyncMessage("p1", version), message, NOW)


# ---- the table, row by row ----


def test_a_message_without_a_product_is_superseded() -> None:
    assert decided(None) == Acknowledge("superseded")


def test_a_message_for_an_older_version_is_superseded() -> None:
    assert decided(product(version=4), version=3) == Acknowledge("superseded")


def test_a_message_for_a_delivered_version_is_a_duplicate() -> None:
    assert decided(product(status=SyncStatus.DELIVERED)) == Acknowledge("duplicate")


def test_a_message_for_a_version_under_lease_is_a_duplicate() -> None:
    leased = product(lease=Lease("w", LATER, version=3), message_id=CARRIER)
    assert decided(leased, OTHER) == Acknowledge("duplicate")


def test_the_carrier_of_a_version_under_lease_waits_for_the_lease_to_end() -> None:
    leased = product(lease=Lease("w", LATER, version=3), message_id=CARRIER)
    assert decided(leased, CARRIER) == Defer(LATER)


def test_a_message_waits_in_a_new_one_while_an_older_version_is_under_lease() -> None:
    assert decided(product(lease=Lease("w", LATER, version=2))) == Requeue(LATER)


def test_a_replay_waits_in_a_new_message_for_the_call_that_was_under_way() -> None:
    replayed = product(lease=Lease("w", LATER, version=3), message_id=None)
    assert decided(replayed) == Requeue(LATER)


def test_a_lease_that_has_ended_holds_nobody_back() -> None:
    assert decided(product(lease=Lease("w", NOW, version=3))) == Try()


def test_the_carrier_is_hidden_until_the_next_attempt() -> None:
    waiting = product(status=SyncStatus.RETRYING, next_attempt_at=LATER, message_id=CARRIER)
    assert decided(waiting, CARRIER) == Defer(LATER)


def test_another_message_before_the_next_attempt_is_a_duplicate() -> None:
    waiting = product(status=SyncStatus.RETRYING, next_attempt_at=LATER, message_id=CARRIER)
    assert decided(waiting, OTHER) == Acknowledge("duplicate")


def test_a_message_at_the_time_of_the_next_attempt_is_tried() -> None:
    due = product(status=SyncStatus.RETRYING, next_attempt_at=NOW + EARLY, message_id=CARRIER)
    assert decided(due, CARRIER) == Try()


def test_any_message_takes_over_once_the_next_attempt_is_due() -> None:
    due = product(status=SyncStatus.RETRYING, next_attempt_at=EARLIER, message_id=CARRIER)
    assert decided(due, OTHER) == Try()


@pytest.mark.parametrize("status", sorted(FAILED_STATUSES))
def test_a_message_that_was_sent_after_a_product_got_stuck_is_a_redrive(
    status: SyncStatus,
) -> None:
    stuck = product(status=status, message_id=CARRIER, failed_at=EARLIER)
    assert decided(stuck, OTHER, sent=NOW) == Try(fresh=True)


@pytest.mark.parametrize("status", sorted(FAILED_STATUSES))
def test_a_message_that_was_sent_before_a_product_got_stuck_is_a_duplicate(
    status: SyncStatus,
) -> None:
    stuck = product(status=status, message_id=CARRIER, failed_at=NOW)
    assert decided(stuck, OTHER, sent=EARLIER) == Acknowledge("duplicate")


def test_the_carrier_of_an_exhausted_product_is_let_go() -> None:
    assert decided(product(status=SyncStatus.EXHAUSTED, message_id=CARRIER), CARRIER) == Expire()


def test_the_carrier_of_a_rejected_product_is_buried_with_the_reason() -> None:
    rejected = product(status=SyncStatus.REJECTED, message_id=CARRIER, last_error="HTTP 422: no")
    assert decided(rejected, CARRIER) == DeadLetter("HTTP 422: no")


def test_a_pending_product_is_tried() -> None:
    assert decided(product()) == Try()


# ---- what holds for every document and every message ----

moments = st.sampled_from([None, EARLIER, NOW, LATER])


@st.composite
def products(draw: st.DrawFn) -> Product:
    version = draw(st.integers(0, 3))
    until = draw(moments)
    return product(
        version,
        status=draw(st.sampled_from(SyncStatus)),
        attempts=draw(st.integers(0, 18)),
        next_attempt_at=draw(moments),
        message_id=draw(st.sampled_from([None, CARRIER, OTHER])),
        lease=None if until is None else Lease("w", until, draw(st.integers(0, version))),
    )


messages = st.tuples(st.sampled_from([CARRIER, OTHER]), st.integers(0, 3))


@given(products(), messages)
def test_nobody_calls_while_a_lease_holds(found: Product, message: tuple[str, int]) -> None:
    lease = found.sync.lease
    if isinstance(decided(found, *message), Try):
        assert lease is None or lease.until <= NOW


@given(products(), messages)
def test_nobody_calls_for_a_message_that_is_older_than_the_document(
    found: Product, message: tuple[str, int]
) -> None:
    if isinstance(decided(found, *message), Try):
        assert found.version <= message[1]


@given(products(), messages)
def test_nobody_calls_for_what_is_delivered(found: Product, message: tuple[str, int]) -> None:
    if isinstance(decided(found, *message), Try):
        assert found.sync.status is not SyncStatus.DELIVERED


@given(products(), messages)
def test_the_message_that_carries_unfinished_work_is_never_acknowledged(
    found: Product, message: tuple[str, int]
) -> None:
    message_id, version = message
    unfinished = found.sync.status is not SyncStatus.DELIVERED and found.version <= version
    if unfinished and found.sync.message_id == message_id:
        assert not isinstance(decided(found, *message), Acknowledge)


@given(products(), messages)
def test_waiting_always_ends_in_the_future(found: Product, message: tuple[str, int]) -> None:
    match decided(found, *message):
        case Defer(until):
            assert until > NOW
        case Requeue(at):
            assert at > NOW
        case _:
            pass


# ---- what an attempt comes to ----


def claim(found: Product | None = None, *, fresh: bool = False) -> Claim:
    return Claim(found or product(), "me", CARRIER, NOW, LATER, LATER + GRACE, fresh)


def outcome(
    verdict: Verdict, *, status: int | None = 500, error: str | None = None, version: int = 3
) -> Outcome:
    return Outcome(Attempt(NOW, version, status, 0.1, error), verdict)


def concluded(found: Claim, what: Outcome) -> tuple[SyncResult, Disposition]:
    return conclude(found, what, SCHEDULE, now=NOW, jitter=0, grace=GRACE, trace="Root=1-2-3")


def test_a_delivery_is_written_with_its_event() -> None:
    result, fate = concluded(claim(), outcome(Verdict.DELIVERED, status=200))
    assert fate == Acknowledge("delivered")
    assert result.sync.status is SyncStatus.DELIVERED
    assert (result.sync.delivered_version, result.sync_completed_at) == (3, NOW)
    assert result.event is not None
    assert (result.event.type, result.event.trace) == (EventType.SYNC_COMPLETE, "Root=1-2-3")
    assert exact_json.loads(result.event.data)["syncStatus"] == "delivered"


def test_a_delivered_product_is_neither_behind_nor_overdue() -> None:
    result, _ = concluded(claim(), outcome(Verdict.DELIVERED))
    assert (result.sync.behind_since, result.sync.overdue_at) == (None, None)


def test_a_failure_hides_the_message_until_the_next_attempt() -> None:
    result, fate = concluded(claim(), outcome(Verdict.FAILED))
    due = NOW + timedelta(seconds=SCHEDULE.waits[0])
    assert fate == Defer(due)
    assert result.sync.status is SyncStatus.RETRYING
    assert result.sync.next_attempt_at == due


def test_a_failure_counts_as_overdue_only_a_grace_after_its_next_attempt() -> None:
    result, _ = concluded(claim(), outcome(Verdict.FAILED))
    assert result.sync.next_attempt_at is not None
    assert result.sync.overdue_at == result.sync.next_attempt_at + GRACE


def test_an_attempt_is_counted_from_the_first_one() -> None:
    before = product(status=SyncStatus.RETRYING, attempts=4, first_attempt_at=EARLIER)
    result, _ = concluded(claim(before), outcome(Verdict.FAILED))
    assert (result.sync.attempts, result.sync.first_attempt_at) == (5, EARLIER)


def test_a_redrive_starts_a_fresh_budget() -> None:
    before = product(status=SyncStatus.EXHAUSTED, attempts=18, first_attempt_at=EARLIER)
    result, fate = concluded(claim(before, fresh=True), outcome(Verdict.FAILED))
    assert (result.sync.attempts, result.sync.first_attempt_at) == (1, NOW)
    assert isinstance(fate, Defer)


def test_the_last_failure_exhausts_the_product_and_lets_its_message_go() -> None:
    before = product(status=SyncStatus.RETRYING, attempts=17, first_attempt_at=EARLIER)
    result, fate = concluded(claim(before), outcome(Verdict.FAILED, error="HTTP 500: no"))
    assert fate == Expire()
    assert (result.sync.status, result.sync.last_error) == (SyncStatus.EXHAUSTED, "HTTP 500: no")


def test_a_failure_after_the_horizon_exhausts_the_product() -> None:
    long_ago = NOW - timedelta(hours=72)
    before = product(status=SyncStatus.RETRYING, attempts=5, first_attempt_at=long_ago)
    result, _ = concluded(claim(before), outcome(Verdict.FAILED))
    assert result.sync.status is SyncStatus.EXHAUSTED


def test_an_exhausted_product_stays_behind_but_is_not_overdue() -> None:
    before = product(status=SyncStatus.RETRYING, attempts=17, first_attempt_at=EARLIER)
    result, _ = concluded(claim(before), outcome(Verdict.FAILED))
    assert (result.sync.behind_since, result.sync.overdue_at) == (EARLIER, None)


def test_a_rejection_is_buried_with_the_reason_at_once() -> None:
    result, fate = concluded(claim(), outcome(Verdict.REJECTED, status=422, error="HTTP 422: no"))
    assert fate == DeadLetter("the supply chain rejects version 3: HTTP 422: no")
    assert result.sync.status is SyncStatus.REJECTED


def test_the_message_of_an_attempt_becomes_the_carrier() -> None:
    result, _ = concluded(claim(product(message_id=OTHER)), outcome(Verdict.FAILED))
    assert result.sync.message_id == CARRIER


# ---- answers ----


@pytest.mark.parametrize(
    ("status", "deleting", "verdict"),
    [
        (200, False, Verdict.DELIVERED),
        (299, False, Verdict.DELIVERED),
        (301, False, Verdict.FAILED),
        (404, False, Verdict.FAILED),
        (404, True, Verdict.DELIVERED),
        (410, True, Verdict.DELIVERED),
        (422, False, Verdict.REJECTED),
        (429, False, Verdict.FAILED),
        (500, True, Verdict.FAILED),
    ],
)
def test_a_status_means(status: int, deleting: bool, verdict: Verdict) -> None:
    assert judge(status, deleting=deleting, reject_statuses={413, 422}) is verdict


# ---- messages and events ----


def test_a_sync_message_survives_the_queue() -> None:
    bell = SyncMessage("p1", 7, "Root=1-2-3", "p1:7:product:updated")
    assert parse_sync_message(bell.to_json()) == bell


@pytest.mark.parametrize(
    "body",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        '{"productId":"p"}',
        '{"productId":1,"version":1}',
        '{"productId":"p","version":-1}',
        '{"productId":"p","version":"1"}',
        '{"productId":"p","version":true}',
        '{"productId":"\\ud800","version":1}',
    ],
)
def test_a_body_that_is_no_sync_message_is_poison(body: str) -> None:
    with pytest.raises(PoisonMessageError):
        parse_sync_message(body)


@given(st.text())
def test_any_text_is_a_sync_message_or_poison(body: str) -> None:
    with contextlib.suppress(PoisonMessageError):
        parse_sync_message(body)


def test_an_event_rings_for_its_product_at_its_version() -> None:
    event = product(version=7).with_event(EventType.UPDATED, NOW, None).outbox[-1]
    bell = sync_message_for(event.to_cloudevent().encode(), "t")
    assert bell == SyncMessage("p1", 7, "t", "p1:7:product:updated")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"specversion":"1.0","type":"product:created"}',
        b'{"specversion":"1.0","type":"product:unheard-of","data":{"id":"p","version":1}}',
        b'{"specversion":"1.0","type":"product:created","data":{"id":"","version":1}}',
        b'{"specversion":"1.0","type":"product:created","data":{"id":"p","version":true}}',
        b'{"specversion":"0.3","type":"product:created","data":{"id":"p","version":1}}',
    ],
)
def test_an_event_that_is_none_of_ours_is_poison(data: bytes) -> None:
    with pytest.raises(PoisonMessageError):
        sync_message_for(data, None)


@given(st.binary())
def test_any_bytes_are_an_event_or_poison(data: bytes) -> None:
    with contextlib.suppress(PoisonMessageError):
        sync_message_for(data, None)


# ---- overdue products and dead letters ----


def test_rings_for_an_overdue_product_double_their_distance() -> None:
    due = NOW - timedelta(minutes=40)
    overdue = product(status=SyncStatus.RETRYING, next_attempt_at=due)
    assert next_enqueue(overdue, NOW, GRACE) == NOW + timedelta(minutes=40)


def test_however_long_a_product_waits_it_is_rung_for_every_hour() -> None:
    overdue = product(restarted_at=NOW - timedelta(days=2))
    assert next_enqueue(overdue, NOW, GRACE) == NOW + timedelta(hours=1)


def test_rings_after_a_replay_do_not_count_from_the_product_s_last_change() -> None:
    replayed = product(restarted_at=NOW)
    assert replayed.updated_at < NOW
    assert next_enqueue(replayed, NOW + 2 * GRACE, GRACE) == NOW + 4 * GRACE


def test_rings_are_at_least_a_grace_apart() -> None:
    assert next_enqueue(product(next_attempt_at=NOW), NOW, GRACE) == NOW + GRACE


@pytest.mark.parametrize(
    ("found", "settled"),
    [
        (None, True),
        (product(version=4, status=SyncStatus.EXHAUSTED), True),
        (product(version=3, status=SyncStatus.DELIVERED), True),
        (product(version=3, status=SyncStatus.EXHAUSTED), False),
        (product(version=3, status=SyncStatus.REJECTED), False),
        # On its way again: reconcile sees to it that it goes on.
        (product(version=3, status=SyncStatus.RETRYING), True),
        (product(version=3, status=SyncStatus.PENDING), True),
    ],
)
def test_a_dead_letter_is_settled_once_its_product_needs_nobody(
    found: Product | None,
    settled: bool,
) -> None:
    assert dead_letter_is_settled(found, 3) is settled


def test_operators_see_each_attempt_with_its_time_status_duration_and_error() -> None:
    history = (Attempt(NOW, 3, 503, 0.25, "HTTP 503: busy"),)
    assert product(history=history).sync_to_json()["history"] == [
        {
            "time": "2026-01-01T00:00:00.000Z",
            "version": 3,
            "statusCode": 503,
            "durationSeconds": 0.25,
            "error": "HTTP 503: busy",
        }
    ]
