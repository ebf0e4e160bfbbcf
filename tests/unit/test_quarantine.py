"""Poison: moved out of the dead-letter queue, shown, exported and discarded."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain.errors import (
    InvalidRequestError,
    QueueUnavailableError,
    StoreUnavailableError,
)
from chalicelib.domain.messages import DeadLetter, dead_letter_for
from chalicelib.domain.poison import QUARANTINE_BYTES, PoisonLetter
from chalicelib.domain.sync_state import SyncState, SyncStatus
from chalicelib.usecases import dead_letters, quarantine
from chalicelib.usecases.dead_letters import AT_ONCE, FLOOD, ROUNDS
from chalicelib.usecases.quarantine import NAMED
from tests.fakes import START, Pipeline
from tests.unit.catalog.steps import SOMEBODY

REJECTED = SyncState(SyncStatus.REJECTED)


def poison(pipeline: Pipeline, body: str = "no sync message", reason: str = "not JSON") -> str:
    """Put a letter into the dead-letter queue that is about no product; its id."""
    pipeline.queue.dead_letter([DeadLetter(body, {"reason": reason})])
    return pipeline.queue.dead[-1].id


def a_real_letter(pipeline: Pipeline) -> str:
    """A product that has failed, and its dead letter; the product's id."""
    product = pipeline.put(sync=REJECTED, outbox=())
    pipeline.queue.dead_letter([dead_letter_for(product)])
    return product.id


def kept(pipeline: Pipeline) -> list[str]:
    return sorted(pipeline.store.poison)


def in_the_queue(pipeline: Pipeline) -> list[str]:
    return [letter.body for letter in pipeline.queue.dead]


# ---- into the quarantine ----


def test_poison_is_moved_out_of_the_dead_letter_queue_as_it_was(pipeline: Pipeline) -> None:
    real = a_real_letter(pipeline)
    body = "x" * 5000
    message_id = poison(pipeline, body)

    assert pipeline.reconcile_once().quarantined == 1

    assert pipeline.store.poison == {message_id: PoisonLetter(message_id, "not JSON", body, START)}
    assert [real in body for body in in_the_queue(pipeline)] == [True]


def test_a_letter_that_cannot_be_kept_stays_in_the_queue(pipeline: Pipeline) -> None:
    poison(pipeline)
    pipeline.store.broken = {"quarantine"}
    with pytest.raises(StoreUnavailableError):
        pipeline.reconcile_once()

    assert len(pipeline.queue.receive_dead_letters(10)) == 1


def test_a_letter_that_is_not_deleted_in_time_is_kept_once(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    message_id = poison(pipeline)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline.queue, "delete_dead_letters", _away)
        pipeline.reconcile_once()
    pipeline.clock.advance(60)
    pipeline.reconcile_once()

    assert pipeline.store.poison[message_id].seen_at == START
    assert in_the_queue(pipeline) == []


def _away(_: object) -> None:
    raise QueueUnavailableError("away")


def test_a_flood_is_moved_within_one_run_and_real_letters_stay(pipeline: Pipeline) -> None:
    flood = 3 * ROUNDS * AT_ONCE
    pipeline.queue.dead_letter([DeadLetter(f"{n}", {"reason": "r"}) for n in range(flood)])
    real = [a_real_letter(pipeline) for _ in range(3)]

    done = pipeline.reconcile_once()

    assert done.quarantined == flood
    assert len(pipeline.store.poison) == flood
    assert [name for name in real for body in in_the_queue(pipeline) if name in body] == real


def test_what_is_due_does_not_wait_for_a_flood(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.queue.dead_letter([DeadLetter("?", {"reason": "r"}) for _ in range(10 * FLOOD)])
    late = pipeline.put()
    pipeline.clock.advance(3600)
    enqueued_after: list[int] = []
    enqueue = pipeline.queue.enqueue

    def seen(messages: list) -> list:  # type: ignore[type-arg]  # as the port's
        enqueued_after.append(len(pipeline.store.poison))
        return enqueue(messages)

    monkeypatch.setattr(pipeline.queue, "enqueue", seen)
    pipeline.reconcile_once()

    assert late.id in pipeline.queue.messages[0].body
    assert enqueued_after == [FLOOD]


def test_a_full_quarantine_leaves_poison_where_it_is(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "QUARANTINE_BYTES", 10)
    poison(pipeline, "x" * 10)
    pipeline.reconcile_once()
    poison(pipeline, "later")

    assert pipeline.reconcile_once().quarantined == 0
    assert in_the_queue(pipeline) == ["later"]
    assert QUARANTINE_BYTES == 2**30


def test_after_a_flood_a_missing_letter_is_sent_again(pipeline: Pipeline) -> None:
    product = pipeline.put(sync=REJECTED, outbox=())
    pipeline.queue.dead_letter([DeadLetter("?", {"reason": "r"}) for _ in range(ROUNDS * AT_ONCE)])
    pipeline.reconcile_once()

    assert pipeline.reconcile_once().letters == 1
    assert product.id in in_the_queue(pipeline)[0]


# ---- listed ----


def test_all_pages_together_are_all_letters_with_whole_bodies(pipeline: Pipeline) -> None:
    bodies = {poison(pipeline, "x" * (600 + n)): "x" * (600 + n) for n in range(5)}
    pipeline.reconcile_once()

    found: dict[str, str] = {}
    cursor = None
    while True:
        page = pipeline.quarantine.page({"limit": 2, "cursor": cursor} if cursor else {"limit": 2})
        found |= {item["messageId"]: item["body"] for item in page["items"]}
        if (cursor := page["nextCursor"]) is None:
            break
    assert found == bodies


def test_a_page_of_long_bodies_is_shorter(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "PAGE_CHARACTERS", 100)
    pipeline.store.quarantine([PoisonLetter(n, None, "x" * 60, START) for n in "abc"])

    page = pipeline.quarantine.page({})

    assert ([item["messageId"] for item in page["items"]], page["nextCursor"]) == (["a"], "a")


# ---- discarded ----


def three_letters(pipeline: Pipeline) -> None:
    letters = [
        PoisonLetter("a", "the event is not JSON", "{", START),
        PoisonLetter("b", "no CloudEvent", "{}", START + timedelta(minutes=1)),
        PoisonLetter("c", None, "", START + timedelta(minutes=2)),
    ]
    pipeline.store.quarantine(letters)
    pipeline.clock.advance(3600)


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ({}, []),
        ({"reason": "JSON"}, ["b", "c"]),
        ({"reason": "cloudevent"}, ["a", "c"]),
        ({"reason": "."}, ["a", "b", "c"]),
        ({"since": "2026-01-01T00:01:00Z"}, ["a"]),
        ({"until": "2026-01-01T00:01:00Z"}, ["c"]),
    ],
)
def test_what_is_selected_is_discarded_and_nothing_else(
    pipeline: Pipeline, body: dict[str, str], left: list[str]
) -> None:
    three_letters(pipeline)
    dry = pipeline.quarantine.discard({**body, "dryRun": True}, SOMEBODY)
    assert (dry["count"], kept(pipeline)) == (3 - len(left), ["a", "b", "c"])
    assert pipeline.store.kept_acts == []

    done = pipeline.quarantine.discard(body, SOMEBODY)

    assert (done["count"], done["left"]) == (3 - len(left), 0)
    assert kept(pipeline) == left


def test_a_dead_letter_of_a_product_is_never_discarded(pipeline: Pipeline) -> None:
    real = a_real_letter(pipeline)
    poison(pipeline)
    pipeline.reconcile_once()

    assert pipeline.quarantine.discard({}, SOMEBODY)["count"] == 1
    pipeline.reconcile_once()

    assert [real in body for body in in_the_queue(pipeline)] == [True]
    assert pipeline.product(real).sync.status is SyncStatus.REJECTED


@pytest.mark.parametrize("behind", [timedelta(minutes=-5), timedelta(), timedelta(minutes=5)])
def test_whoever_names_what_was_exported_discards_nothing_else_whatever_the_clocks_say(
    pipeline: Pipeline, behind: timedelta
) -> None:
    seen_at = pipeline.clock() - behind
    pipeline.store.quarantine([PoisonLetter("a", None, "", seen_at)])
    exported = [item["messageId"] for item in pipeline.quarantine.page({})["items"]]
    pipeline.store.quarantine([PoisonLetter("b", None, "", seen_at)])

    done = pipeline.quarantine.discard({"messageIds": exported}, SOMEBODY)

    assert (done["count"], done["left"], kept(pipeline)) == (1, 0, ["b"])
    assert pipeline.store.kept_acts[0].details == {"named": 1, "count": 1}


def test_of_those_that_are_named_only_the_selected_are_discarded(pipeline: Pipeline) -> None:
    three_letters(pipeline)
    pipeline.quarantine.discard({"messageIds": ["a", "b"], "reason": "json"})
    assert kept(pipeline) == ["b", "c"]


def test_what_comes_after_the_export_is_not_discarded(pipeline: Pipeline) -> None:
    three_letters(pipeline)
    until = pipeline.quarantine.discard({"dryRun": True})["until"]
    pipeline.clock.advance(1)
    pipeline.store.quarantine([PoisonLetter("d", None, "", pipeline.clock())])

    pipeline.quarantine.discard({"until": until})

    assert kept(pipeline) == ["d"]


def test_a_request_discards_as_much_as_there_is_time_for(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    three_letters(pipeline)
    pipeline.quarantine.at_once = 1
    discard = pipeline.store.discard

    def slowly(message_ids: list[str]) -> int:
        pipeline.clock.advance(5)
        return discard(message_ids)

    monkeypatch.setattr(pipeline.store, "discard", slowly)

    first = pipeline.quarantine.discard({}, SOMEBODY)
    second = pipeline.quarantine.discard({}, SOMEBODY)

    assert [(it["count"], it["left"]) for it in (first, second)] == [(2, 1), (1, 0)]


def test_to_discard_nothing_is_no_act(pipeline: Pipeline) -> None:
    assert pipeline.quarantine.discard({}, SOMEBODY)["count"] == 0
    assert pipeline.store.kept_acts == []


@pytest.mark.parametrize(
    "body",
    [
        {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"},
        {"reason": ""},
        {"status": "rejected"},
        {"dryRun": "perhaps"},
        {"messageIds": []},
        {"messageIds": [""]},
        {"messageIds": ["a"] * (NAMED + 1)},
    ],
)
def test_a_request_that_breaks_a_rule_is_refused(pipeline: Pipeline, body: object) -> None:
    with pytest.raises(InvalidRequestError):
        pipeline.quarantine.discard(body)
