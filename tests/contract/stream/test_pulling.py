"""Events that are pulled, acknowledged, refused and terminated."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.events import EventType
from tests.contract.stream.steps import SHORT, an_event, event_ids, pulled

if TYPE_CHECKING:
    from tests.contract.conftest import StreamKit


def test_a_pull_of_an_empty_stream_gives_nothing(kit: StreamKit) -> None:
    assert not kit.stream.pull(10, SHORT)


def test_a_pull_gives_no_more_than_its_limit(kit: StreamKit) -> None:
    kit.stream.publish([an_event() for _ in range(5)])

    assert len(pulled(kit.stream, 2)) == 2
    assert len(pulled(kit.stream, 3)) == 3


def test_a_pull_does_not_wait_for_more_than_there_is(kit: StreamKit) -> None:
    kit.stream.publish([an_event()])
    started = time.monotonic()

    assert len(kit.stream.pull(10, 20.0)) == 1
    assert time.monotonic() - started < 10


def test_what_comes_between_two_pulls_is_given_by_the_second(kit: StreamKit) -> None:
    events = [an_event() for _ in range(3)]
    kit.stream.publish(events[:1])
    first = kit.stream.pull(10, 20.0)

    kit.stream.publish(events[1:])

    assert event_ids([*first, *pulled(kit.stream, 2)]) == [event.id for event in events]


def test_after_what_was_received_ahead_is_given_back_a_pull_works_again(kit: StreamKit) -> None:
    kit.stream.publish([an_event()])
    pulled(kit.stream, 1)
    kit.stream.release()
    event = an_event()
    kit.stream.publish([event])

    assert event_ids(pulled(kit.stream, 1)) == [event.id]


def test_what_the_bridge_has_in_hand_is_not_pulled_again(kit: StreamKit) -> None:
    kit.stream.publish([an_event()])
    pulled(kit.stream, 1)

    assert not kit.stream.pull(10, SHORT)


def test_an_event_that_was_refused_comes_back_after_its_delay(kit: StreamKit) -> None:
    kit.stream.publish([an_event()])
    (message,) = pulled(kit.stream, 1)
    refused_at = time.monotonic()

    kit.stream.nak([message], 0.4)

    (again,) = pulled(kit.stream, 1)
    assert time.monotonic() - refused_at >= 0.4
    assert again.sequence == message.sequence


@pytest.mark.parametrize("settle", ["ack", "terminate"])
def test_an_event_that_is_done_with_never_comes_back(kit: StreamKit, settle: str) -> None:
    kit.stream.publish([an_event(), an_event()])
    done, refused = pulled(kit.stream, 2)

    getattr(kit.stream, settle)([done])
    kit.stream.nak([refused], 0.1)

    # Whatever comes back was there to come back: the other one did.
    assert [message.sequence for message in pulled(kit.stream, 1)] == [refused.sequence]
    assert not kit.stream.pull(10, SHORT)


def test_settling_nothing_is_fine(kit: StreamKit) -> None:
    kit.stream.ack([])
    kit.stream.nak([], 1.0)
    kit.stream.terminate([])


def test_another_consumer_gets_every_event_too(kit: StreamKit) -> None:
    events = [an_event(EventType.CREATED), an_event(EventType.UPDATED), an_event(EventType.DELETED)]
    kit.stream.publish(events)
    kit.stream.ack(pulled(kit.stream, 3))

    assert event_ids(pulled(kit.another(), 3)) == [event.id for event in events]


def test_the_bridge_is_not_bothered_with_completed_syncs(kit: StreamKit) -> None:
    complete, created = an_event(EventType.SYNC_COMPLETE), an_event()
    kit.stream.publish([complete, created])

    (message,) = pulled(kit.stream, 1)

    assert event_ids([message]) == [created.id]
    # It is in the stream all the same: the one that was pulled is the second there.
    assert message.sequence == 2
    assert not kit.stream.pull(10, SHORT)


def test_what_others_publish_is_pulled_as_it_is(kit: StreamKit) -> None:
    kit.stream.publish([an_event()])
    kit.add("product.updated", b"\xff not JSON")

    first, second = pulled(kit.stream, 2)

    assert (second.data, second.subject) == (b"\xff not JSON", kit.prefix + "product.updated")
    assert second.trace is None
    assert second.sequence > first.sequence


def test_an_event_that_waits_is_pulled_by_a_consumer_that_comes_later(kit: StreamKit) -> None:
    kit.stream.publish([an_event()])
    kit.stream.pull(1, SHORT)

    assert len(pulled(kit.another(), 1)) == 1
