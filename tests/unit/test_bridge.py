"""From the stream to the queue, on fakes."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.errors import StreamUnavailableError
from chalicelib.domain.messages import SyncMessage
from chalicelib.usecases import bridge as bridge_module
from chalicelib.usecases.bridge import NAK_DELAY_SECONDS, PAYLOAD_LIMIT, Bridged
from chalicelib.usecases.ports import PULL_LIMIT
from tests.fakes import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable


def an_event(**changes: object) -> bytes:
    event = {
        "specversion": "1.0",
        "type": "product:created",
        "data": {"id": "product", "version": 0},
        **changes,
    }
    return json.dumps(event).encode()


POISON = {
    "not JSON": b"{",
    "not UTF-8": b"\xff\xff",
    "nested too deeply": b"[" * 100_000,
    "no object": b"[]",
    "no version of the envelope": an_event(specversion="2.0"),
    "another type": an_event(type="order:created"),
    "no data": an_event(data=None),
    "no id": an_event(data={"version": 0}),
    "an empty id": an_event(data={"id": "", "version": 0}),
    "a version that is none": an_event(data={"id": "product", "version": -1}),
    "a version in a text": an_event(data={"id": "product", "version": "0"}),
    "an id that is no text": an_event(data={"id": "\ud800", "version": 0}),
    "an id that fits into no message": an_event(data={"id": "x" * 300_000, "version": 0}),
}


# ---- forwarding ----


@pytest.mark.parametrize("odd", ["a\x00b", "\ufffe", "a b", "", "x" * 501])
def test_a_trace_or_id_that_a_message_could_not_carry_is_left_out(
    pipeline: Pipeline, odd: str
) -> None:
    event = {"specversion": "1.0", "id": odd, "type": "product:created"}
    event |= {"data": {"id": "p1", "version": 0}}  # type: ignore[dict-item]  # JSON
    pipeline.stream.add("product.created", json.dumps(event).encode(), trace=odd)

    assert pipeline.bridge_once().forwarded == 1
    assert pipeline.queue.messages[0].body == SyncMessage("p1", 0).to_json()


def test_an_event_becomes_a_sync_message_with_its_trace(pipeline: Pipeline) -> None:
    pipeline.stream.add("product.created", an_event(), "Root=1-2-3")

    assert pipeline.bridge_once() == Bridged(forwarded=1)
    (message,) = pipeline.queue.messages
    assert message.body == SyncMessage("product", 0, 0, "Root=1-2-3").to_json()


def test_a_sync_message_names_the_event_that_it_proves(pipeline: Pipeline) -> None:
    product_id = pipeline.create()

    pipeline.bridge_once()

    body = json.loads(pipeline.queue.messages[0].body)
    assert (body["eventId"], body["budget"]) == (f"{product_id}:0:product:created", 0)


def test_a_forwarded_event_is_acknowledged(pipeline: Pipeline) -> None:
    pipeline.create()

    pipeline.bridge_once()

    assert pipeline.stream.unsettled() == []


@pytest.mark.parametrize("event_type", ["product:created", "product:updated", "product:deleted"])
def test_every_change_is_forwarded(pipeline: Pipeline, event_type: str) -> None:
    subject = event_type.replace(":", ".")
    pipeline.stream.add(subject, an_event(type=event_type))

    assert pipeline.bridge_once() == Bridged(forwarded=1)


def test_nothing_is_done_where_there_is_nothing_to_do(pipeline: Pipeline) -> None:
    pipeline.queue.away = True

    assert pipeline.bridge_once() == Bridged()


def test_an_event_is_acknowledged_only_when_the_queue_has_accepted_it(pipeline: Pipeline) -> None:
    accepted, refused = pipeline.create(), pipeline.create()
    pipeline.queue.refused = {refused}

    assert pipeline.bridge_once() == Bridged(forwarded=1, refused=1)

    assert pipeline.stream.unsettled() == [2]
    assert [json.loads(item.body)["productId"] for item in pipeline.queue.messages] == [accepted]


def test_the_queue_is_asked_before_the_event_is_acknowledged(pipeline: Pipeline) -> None:
    pipeline.create()
    pipeline.stream.broken = {"ack"}

    with pytest.raises(StreamUnavailableError):
        pipeline.bridge_once()
    assert len(pipeline.queue.messages) == 1
    assert pipeline.stream.unsettled() == [1]


def test_an_event_that_was_refused_is_forwarded_after_a_delay(pipeline: Pipeline) -> None:
    pipeline.create()
    pipeline.queue.away = True
    assert pipeline.bridge_once() == Bridged(refused=1)
    pipeline.queue.away = False

    assert pipeline.bridge_once() == Bridged()
    pipeline.clock.advance(NAK_DELAY_SECONDS)
    assert pipeline.bridge_once() == Bridged(forwarded=1)


def test_an_event_that_could_not_even_be_handed_back_comes_again(pipeline: Pipeline) -> None:
    pipeline.create()
    pipeline.queue.away = True
    pipeline.stream.broken = {"nak"}
    with pytest.raises(StreamUnavailableError):
        pipeline.bridge_once()
    pipeline.queue.away, pipeline.stream.broken = False, set()

    pipeline.clock.advance(60)

    assert pipeline.bridge_once() == Bridged(forwarded=1)


def test_one_round_forwards_no_more_than_its_limit(pipeline: Pipeline) -> None:
    for _ in range(PULL_LIMIT + 1):
        pipeline.create()

    assert pipeline.bridge_once() == Bridged(forwarded=PULL_LIMIT)
    assert pipeline.bridge_once() == Bridged(forwarded=1)


# ---- poison ----


@pytest.mark.parametrize("data", POISON.values(), ids=POISON)
def test_an_event_that_nobody_can_understand_is_dead_lettered_and_terminated(
    pipeline: Pipeline, data: bytes
) -> None:
    pipeline.stream.add("product.updated", data)

    assert pipeline.bridge_once() == Bridged(poison=1)
    (letter,) = pipeline.queue.dead
    assert letter.reason
    assert pipeline.stream.unsettled() == []
    assert pipeline.queue.messages == []


def test_a_dead_lettered_event_can_be_found_and_read(pipeline: Pipeline) -> None:
    pipeline.create()
    pipeline.stream.add("product.updated", b"\xff{")

    pipeline.bridge_once()

    body = json.loads(pipeline.queue.dead[0].body)
    assert body["reason"] == pipeline.queue.dead[0].reason
    assert (body["subject"], body["streamSequence"]) == ("product.updated", 2)
    assert base64.b64decode(body["payloadBase64"]) == b"\xff{"


def test_a_large_poison_event_is_cut_to_what_a_message_holds(pipeline: Pipeline) -> None:
    pipeline.stream.add("product.updated", b"x" * 1_000_000)

    pipeline.bridge_once()

    (letter,) = pipeline.queue.dead
    body = json.loads(letter.body)
    assert len(letter.body.encode()) < 256 * 1024
    assert (body["payloadBytes"], body["streamSequence"]) == (1_000_000, 1)
    assert len(base64.b64decode(body["payloadBase64"])) == PAYLOAD_LIMIT


def test_poison_does_not_hold_up_the_events_around_it(pipeline: Pipeline) -> None:
    pipeline.create()
    pipeline.stream.add("product.updated", b"poison")
    pipeline.create()

    assert pipeline.bridge_once() == Bridged(forwarded=2, poison=1)


def test_poison_that_cannot_be_dead_lettered_is_kept_and_tried_again(pipeline: Pipeline) -> None:
    pipeline.stream.add("product.updated", b"poison")
    pipeline.queue.broken = {"dead_letter"}
    assert pipeline.bridge_once() == Bridged(refused=1)
    assert pipeline.stream.unsettled() == [1]
    pipeline.queue.broken = set()

    pipeline.clock.advance(NAK_DELAY_SECONDS)

    assert pipeline.bridge_once() == Bridged(poison=1)


# ---- draining ----


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the bridge waited for a stream that is away; it does not really wait."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


def rounds(number: int, before_each: Callable[[int], object] = lambda _: None) -> Callable[[], int]:
    """A clock of a host that lets the bridge do so many rounds."""
    left = number + 1

    def seconds_left() -> int:
        nonlocal left
        left -= 1
        if left:
            before_each(number - left)
        return left

    return seconds_left


def test_draining_goes_on_until_the_time_is_up(pipeline: Pipeline) -> None:
    total = pipeline.bridge.drain(rounds(3, lambda _: pipeline.create()))

    assert total == Bridged(forwarded=3)


def test_draining_without_any_time_does_nothing(pipeline: Pipeline) -> None:
    pipeline.stream.away = True

    assert pipeline.bridge.drain(lambda: 0) == Bridged()


def test_a_stream_that_comes_back_is_drained_in_the_same_run(
    pipeline: Pipeline, slept: list[float]
) -> None:
    pipeline.create()

    def away_at_first(turn: int) -> None:
        pipeline.stream.away = turn < 2

    assert pipeline.bridge.drain(rounds(4, away_at_first)) == Bridged(forwarded=1)
    assert slept.count(bridge_module.AWAY_SECONDS) == 2


def test_a_stream_that_stays_away_is_an_error_at_the_end(
    pipeline: Pipeline, slept: list[float]
) -> None:
    pipeline.stream.away = True

    with pytest.raises(StreamUnavailableError):
        pipeline.bridge.drain(rounds(3))
    assert all(0 < wait <= bridge_module.AWAY_SECONDS for wait in slept)


def test_a_stream_that_goes_away_at_the_end_is_an_error(
    pipeline: Pipeline, slept: list[float]
) -> None:
    pipeline.create()

    def away_at_last(turn: int) -> None:
        pipeline.stream.away = turn == 2

    with pytest.raises(StreamUnavailableError):
        pipeline.bridge.drain(rounds(3, away_at_last))
    assert len(pipeline.queue.messages) == 1
    assert slept.count(bridge_module.AWAY_SECONDS) == 1


def test_the_more_was_forwarded_the_longer_the_next_events_gather_and_never_long(
    pipeline: Pipeline, slept: list[float]
) -> None:
    numbers = (1, 3, 20)

    def create(turn: int) -> None:
        for _ in range(numbers[turn]):
            pipeline.create()

    pipeline.bridge.drain(rounds(len(numbers), create))

    one, three, many = slept
    assert 0 < one < three < many
    assert (many, one) == (bridge_module.GATHER_LIMIT_SECONDS, bridge_module.GATHER_SECONDS)


def test_a_round_whose_requests_are_full_is_followed_by_the_next_at_once(
    pipeline: Pipeline, slept: list[float]
) -> None:
    def create(_: int) -> None:
        for _ in range(bridge_module.FULL_ROUND):
            pipeline.create()

    pipeline.bridge.drain(rounds(1, create))

    assert slept == [0.0]


def test_what_was_received_ahead_is_given_back_when_the_time_is_up(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[int] = []
    monkeypatch.setattr(pipeline.stream, "release", lambda: given_back.append(1))

    pipeline.bridge.drain(rounds(3))

    assert given_back == [1]


def test_a_stream_that_cannot_take_back_what_was_received_ahead_is_no_error(
    pipeline: Pipeline,
) -> None:
    pipeline.create()
    pipeline.stream.broken = {"release"}

    assert pipeline.bridge.drain(rounds(1)) == Bridged(forwarded=1)
