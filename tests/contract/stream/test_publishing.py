"""Events that are published."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.contract.stream.steps import SHORT, an_event, event_ids, pulled

if TYPE_CHECKING:
    from tests.contract.conftest import StreamKit


def test_published_events_are_given_back_and_can_be_pulled(kit: StreamKit) -> None:
    events = [an_event() for _ in range(3)]

    assert kit.stream.publish(events) == events
    assert event_ids(pulled(kit.stream, 3)) == [event.id for event in events]


def test_a_message_is_the_event_byte_by_byte(kit: StreamKit) -> None:
    event = an_event(data='{"name":"Amboß\\u0000","price":12.5000}')
    kit.stream.publish([event])

    (message,) = pulled(kit.stream, 1)

    assert message.data == event.to_cloudevent().encode()
    assert message.subject == kit.prefix + "product.created"


def test_messages_are_numbered_in_the_order_of_the_stream(kit: StreamKit) -> None:
    for _ in range(3):
        kit.stream.publish([an_event()])

    assert [message.sequence for message in pulled(kit.stream, 3)] == [1, 2, 3]


@pytest.mark.parametrize("trace", ["Root=1-65f0c1a2-0123456789abcdef01234567", None])
def test_the_trace_is_carried_along(kit: StreamKit, trace: str | None) -> None:
    kit.stream.publish([replace(an_event(), trace=trace)])

    assert pulled(kit.stream, 1)[0].trace == trace


def test_an_event_that_is_published_twice_is_stored_once(kit: StreamKit) -> None:
    event = an_event()

    assert kit.stream.publish([event]) == [event]
    assert kit.stream.publish([event]) == [event]

    assert len(pulled(kit.stream, 1)) == 1
    assert not kit.stream.pull(10, SHORT)


def test_the_stream_says_how_many_bytes_it_holds(kit: StreamKit) -> None:
    before = kit.stream.usage().bytes
    event = an_event()
    kit.stream.publish([event])

    assert kit.stream.usage().bytes >= before + len(event.to_cloudevent().encode())


def test_publishing_nothing_is_fine(kit: StreamKit) -> None:
    assert kit.stream.publish([]) == []


def test_many_events_are_published_at_once(kit: StreamKit) -> None:
    events = [an_event() for _ in range(250)]

    assert kit.stream.publish(events) == events
    assert sorted(event_ids(pulled(kit.stream, 250))) == sorted(event.id for event in events)


def test_a_stream_that_answers_can_be_pinged(kit: StreamKit) -> None:
    kit.stream.ping()
