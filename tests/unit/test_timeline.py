"""Why a product is where it is: one sentence, and what was, is and comes in order of time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.acts import Act
from chalicelib.domain.breaker import Breaker, BreakerState
from chalicelib.domain.control import Control, Pause
from chalicelib.domain.events import EventType
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import Attempt, Lease, SyncState, SyncStatus
from chalicelib.domain.timeline import Entry, Kind, Situation, entries, span, summary, timeline
from tests.fakes import GRACE, START, a_product
from tests.support import Json

NOW = START
MINUTE = timedelta(minutes=1)
WRITTEN = NOW - 4 * MINUTE
BUSY = Attempt(NOW - 3 * MINUTE, 2, 503, 0.214, "HTTP 503: busy")
PAUSED = Control(pause=Pause(NOW - MINUTE, "their release"))
OPEN = Control(breaker=Breaker(BreakerState.OPEN, since=NOW - MINUTE, reason="HTTP 503: busy"))
RETRYING = SyncState(
    SyncStatus.RETRYING,
    attempts=1,
    behind_since=WRITTEN,
    enqueued_at=WRITTEN,
    first_attempt_at=BUSY.time,
    next_attempt_at=NOW + 4 * MINUTE,
    overdue_at=NOW + 9 * MINUTE,
    message_id="m",
    last_error=BUSY.error,
    history=(BUSY,),
    trace="Root=1-697df0c0-0123456789abcdef01234567",
)
PENDING = SyncState(behind_since=WRITTEN, overdue_at=WRITTEN + GRACE)


def situation(
    sync: SyncState = RETRYING,
    control: Control | None = None,
    **changes: object,
) -> Situation:
    """Version 2 of a product, written four minutes ago."""
    product = a_product(
        version=2, created_at=NOW - 60 * MINUTE, updated_at=WRITTEN, sync=sync, outbox=()
    )
    return Situation(replace(product, **changes), control or Control(), NOW, GRACE)  # type: ignore[arg-type]  # any field


def of(kind: Kind, it: Situation) -> list[Entry]:
    return [entry for entry in entries(it) if entry.kind is kind]


def one(kind: Kind, it: Situation) -> Entry:
    (entry,) = of(kind, it)
    return entry


# ---- the whole ----


def test_the_life_of_a_product_that_is_retried_is_told_in_order() -> None:
    told = timeline(situation())
    assert told["summary"] == "waits for its next attempt in 4 min: HTTP 503: busy"
    assert (told["status"], told["held"]) == ("retrying", None)
    assert told["traceId"] == "697df0c00123456789abcdef01234567"
    assert [(entry["at"], entry["kind"], entry["text"]) for entry in told["entries"]] == [
        ("2025-12-31T23:00:00.000Z", "write", "the product was created as version 0"),
        ("2025-12-31T23:56:00.000Z", "write", "the product was changed: version 2"),
        ("2025-12-31T23:56:00.000Z", "event", "the event stream has the event of version 2"),
        ("2025-12-31T23:56:00.000Z", "message", "its message was put into the queue"),
        (
            "2025-12-31T23:57:00.000Z",
            "attempt",
            "version 2 was sent: HTTP 503: busy, after 0.21 s",
        ),
        (None, "message", "its message is deferred in the queue until 2026-01-01T00:04:00.000Z"),
        ("2026-01-01T00:04:00.000Z", "next", "the next attempt"),
        (
            "2026-01-01T00:09:00.000Z",
            "next",
            "if nothing has happened by then, reconcile puts another message into the queue",
        ),
    ]
    future = [entry["future"] for entry in told["entries"]]
    assert future == [False] * 6 + [True] * 2


def test_a_repair_by_an_audit_is_told() -> None:
    repaired = situation(replace(RETRYING, repair_started_at=BUSY.time - MINUTE / 2))
    (entry,) = of(Kind.ACT, repaired)
    assert entry.at == BUSY.time - MINUTE / 2
    assert entry.text.startswith("an audit began, found")


def test_the_acts_of_operators_are_told_where_they_belong() -> None:
    acts = [
        Act("2", BUSY.time - MINUTE / 4, "bob", "replay"),
        Act("1", BUSY.time - MINUTE / 2, "alice", "replay", "why not", details={"version": 2}),
    ]
    told = entries(situation(), acts)[3:7]
    kinds = [entry.kind for entry in told]
    assert kinds == [Kind.MESSAGE, Kind.ACT, Kind.ACT, Kind.ATTEMPT]
    assert [entry.text for entry in told[1:3]] == ["replay by alice: why not", "replay by bob"]
    assert told[1].details == {"version": 2}


# ---- the sentence ----


@pytest.mark.parametrize(
    ("it", "sentence"),
    [
        (situation(PENDING), "waits for its first attempt"),
        (
            situation(SyncState(SyncStatus.DELIVERED)),
            "the supply chain has the newest version, 2",
        ),
        (
            situation(SyncState(SyncStatus.DELIVERED), deleted_at=WRITTEN),
            "the supply chain has confirmed the deletion",
        ),
        (
            situation(SyncState(SyncStatus.REJECTED, last_error="HTTP 422: no price")),
            "rejected by the supply chain: HTTP 422: no price; correct the product, or replay it",
        ),
        (
            situation(SyncState(SyncStatus.EXHAUSTED, attempts=18, last_error="HTTP 503")),
            "given up after 18 attempts: HTTP 503; replay it when the cause is gone",
        ),
        (
            situation(SyncState(SyncStatus.EXHAUSTED, attempts=1)),
            "given up after 1 attempt: no reason is known; replay it when the cause is gone",
        ),
        (situation(control=PAUSED), "waits since no calls are made: paused: their release"),
        (
            situation(replace(RETRYING, next_attempt_at=NOW)),
            "waits for a worker: its next attempt is due: HTTP 503: busy",
        ),
        (
            situation(replace(PENDING, lease=Lease("w", NOW + MINUTE, 1))),
            "waits for the end of a call that was made before the last change or replay",
        ),
        (
            situation(replace(PENDING, lease=Lease("w", NOW + MINUTE, 2), claim="w")),
            "a call of the supply chain is under way",
        ),
    ],
)
def test_a_sentence_says_why(it: Situation, sentence: str) -> None:
    assert summary(it) == sentence


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (0.4, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (39_600, "11 h"),
        (172_799, "48 h"),
        (259_200, "3 days"),
    ],
)
def test_a_length_of_time_is_told_in_a_unit_that_fits(seconds: float, text: str) -> None:
    assert span(timedelta(seconds=seconds)) == text


# ---- the event ----


def with_event(it: Situation, **changes: object) -> Situation:
    made = it.product.with_event(EventType.UPDATED, WRITTEN, None)
    return replace(it, product=made, **changes)  # type: ignore[arg-type]  # any field


def test_an_event_in_the_outbox_is_told_with_what_happens_to_it() -> None:
    it = with_event(situation(PENDING))
    event = one(Kind.EVENT, it)
    assert (event.at, event.failed) == (WRITTEN, False)
    assert event.text == (
        "the event product:updated of version 2 is in the outbox: it is published, or else "
        "reconcile does it after 2026-01-01T00:01:00.000Z"
    )
    assert event.details == {"inOutbox": True, "eventId": f"{it.product.id}:2:product:updated"}
    assert summary(it) == "waits for its first attempt"


def test_an_event_that_is_in_the_outbox_for_long_is_why_the_product_waits() -> None:
    it = with_event(situation(PENDING), grace=MINUTE)
    assert one(Kind.EVENT, it).failed
    assert summary(it) == "waits for the event stream: its event is still in the outbox"


def test_another_event_in_the_outbox_says_nothing_of_the_change() -> None:
    it = situation(PENDING)
    product = it.product.with_event(EventType.SYNC_COMPLETE, WRITTEN, None)
    texts = [entry.text for entry in of(Kind.EVENT, replace(it, product=product))]
    assert texts[0] == "the event stream has the event of version 2"
    assert texts[1].startswith("the event product:sync-complete of version 2 is in the outbox")


# ---- the message ----


def test_a_parked_product_has_no_message_and_reconcile_enqueues_one() -> None:
    it = situation(
        replace(RETRYING, parked=True, message_id=None, overdue_at=RETRYING.next_attempt_at)
    )
    now = of(Kind.MESSAGE, it)[-1]
    assert (now.at, now.details) == (None, {"parked": True})
    assert now.text.startswith("parked:")
    assert [entry.text for entry in of(Kind.NEXT, it)] == [
        "the next attempt",
        "reconcile puts a message into the queue",
    ]


def test_a_product_that_no_worker_has_taken_says_so() -> None:
    assert one(Kind.MESSAGE, situation(PENDING)).text == "no worker has taken a message for it yet"


# ---- the attempts ----


def test_an_attempt_is_told_with_all_that_is_known_of_it() -> None:
    attempt = one(Kind.ATTEMPT, situation(replace(RETRYING, budget=1)))
    assert attempt.failed
    assert attempt.details == {
        "version": 2,
        "budget": 1,
        "statusCode": 503,
        "durationSeconds": 0.214,
        "error": "HTTP 503: busy",
        "errorKind": "http-503",
    }


def test_attempts_of_older_versions_and_budgets_are_told_as_such() -> None:
    older = Attempt(NOW - 50 * MINUTE, 1, 200, 0.1)
    before = replace(BUSY, time=WRITTEN, error="no answer within 10 s", status=None)
    found = of(Kind.ATTEMPT, situation(replace(RETRYING, history=(older, before, BUSY))))
    assert [(entry.text, entry.failed, entry.details["budget"]) for entry in found] == [
        ("version 1 was sent: HTTP 200, accepted, after 0.10 s", False, None),
        (
            "version 2 was sent in an earlier budget: no answer within 10 s, after 0.21 s",
            True,
            None,
        ),
        ("version 2 was sent: HTTP 503: busy, after 0.21 s", True, 0),
    ]


def called(claim: str | None, until: timedelta = MINUTE) -> Situation:
    return situation(replace(PENDING, lease=Lease("w", NOW + until, 2), claim=claim))


def test_a_call_under_way_is_told_and_nothing_is_next_but_that_it_is_looked_at() -> None:
    it = called("w")
    call = one(Kind.ATTEMPT, it)
    assert (call.at, call.failed) == (None, False)
    assert call.text == (
        "version 2 is being sent: a worker has the lease until 2026-01-01T00:01:00.000Z"
    )
    assert [entry.at for entry in of(Kind.NEXT, it)] == [WRITTEN + GRACE]
    assert of(Kind.MESSAGE, it) == []


def test_a_call_that_was_overtaken_is_told_as_one_that_does_not_count() -> None:
    assert "will not count" in one(Kind.ATTEMPT, called(None)).text


def test_a_worker_that_never_reported_back_is_told() -> None:
    call = one(Kind.ATTEMPT, called("w", -MINUTE))
    assert (call.at, call.failed) == (NOW - MINUTE, True)
    assert call.text.endswith("never reported back")


# ---- no calls ----


@pytest.mark.parametrize(
    ("control", "reason"),
    [
        (PAUSED, "paused: their release"),
        (OPEN, "the breaker is open since 2025-12-31T23:59:00.000Z: HTTP 503: busy"),
    ],
)
def test_what_holds_all_calls_holds_a_product_that_waits(control: Control, reason: str) -> None:
    it = situation(control=control)
    held = one(Kind.HELD, it)
    assert (held.at, held.text) == (NOW - MINUTE, f"no calls are made: {reason}")
    assert timeline(it)["held"] == reason
    first, look = of(Kind.NEXT, it)
    assert (first.at, first.text) == (None, "the next attempt, as soon as calls are allowed again")
    assert look.text == "reconcile looks at it again, and enqueues nothing while no calls are made"


def test_the_end_of_a_pause_is_told() -> None:
    until = NOW + MINUTE
    _, end = of(Kind.HELD, situation(control=Control(pause=Pause(NOW - MINUTE, until=until))))
    assert (end.at, end.future, end.text) == (until, True, "the pause ends")


def test_a_pause_does_not_hold_what_is_delivered() -> None:
    it = situation(SyncState(SyncStatus.DELIVERED), PAUSED)
    assert (timeline(it)["held"], of(Kind.HELD, it), of(Kind.NEXT, it)) == (None, [], [])


# ---- the ends ----


@pytest.mark.parametrize("status", [SyncStatus.EXHAUSTED, SyncStatus.REJECTED])
@pytest.mark.parametrize("owed", [True, False])
def test_a_failure_is_told_with_its_dead_letter(status: SyncStatus, *, owed: bool) -> None:
    overdue_at = NOW + GRACE if owed else None
    it = situation(SyncState(status, failed_at=NOW - MINUTE, overdue_at=overdue_at))
    letter = one(Kind.LETTER, it)
    assert (letter.at, letter.failed) == (NOW - MINUTE, True)
    assert letter.details == {"reason": status.value, "letterSent": not owed}
    after = ["reconcile sends its dead letter"] if owed else []
    assert [entry.text for entry in of(Kind.NEXT, it)] == after


def test_a_failure_before_a_replay_is_still_told() -> None:
    letter = one(Kind.LETTER, situation(replace(RETRYING, failed_at=WRITTEN)))
    assert (letter.at, letter.failed) == (WRITTEN, True)
    assert letter.text.endswith("since")


def test_a_delivery_is_told_with_its_version() -> None:
    it = situation(SyncState(SyncStatus.DELIVERED), sync_completed_at=NOW - MINUTE)
    delivered = one(Kind.DELIVERED, it)
    assert (delivered.at, delivered.text) == (
        NOW - MINUTE,
        "delivered: the supply chain has version 2",
    )


def test_a_confirmed_deletion_is_dropped_by_reconcile() -> None:
    sync = SyncState(SyncStatus.DELIVERED, overdue_at=NOW)
    it = situation(sync, deleted_at=WRITTEN, sync_completed_at=NOW)
    assert one(Kind.DELIVERED, it).text == "delivered: the supply chain has confirmed the deletion"
    assert one(Kind.NEXT, it).text == "reconcile drops the deleted product in its next run"
    assert of(Kind.WRITE, it)[-1].text == "the product was deleted: version 2"


def test_a_new_product_has_one_write() -> None:
    product: Product = a_product(outbox=())
    it = Situation(product, Control(), NOW, GRACE)
    assert one(Kind.WRITE, it).text == "the product was created as version 0"


def test_an_attempt_that_was_brought_forward_names_its_planned_time() -> None:
    due = replace(RETRYING, next_attempt_at=NOW, planned_at=NOW + MINUTE)
    details: Json = of(Kind.NEXT, situation(due))[0].details
    assert details == {"plannedAt": "2026-01-01T00:01:00.000Z"}
