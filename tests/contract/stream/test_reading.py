"""The stream as a record: it is read from any message on, and the bridge misses nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.errors import StreamUnavailableError
from chalicelib.domain.events import EventType
from tests.contract.stream.steps import an_event, event_ids, pulled

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.adapters.jetstream import JetStream
    from chalicelib.usecases.ports import StreamMessage
    from tests.contract.conftest import Servers, StreamKit
    from tests.contract.services import Nats


def test_an_empty_stream_has_nothing_to_read(kit: StreamKit) -> None:
    page = kit.stream.read(0, 10)
    assert (list(page.messages), page.left) == ([], 0)


def test_it_is_read_page_by_page_in_order_to_its_end(kit: StreamKit) -> None:
    events = [an_event(EventType.SYNC_COMPLETE if n == 2 else EventType.UPDATED) for n in range(5)]
    for event in events:
        kit.stream.publish([event])
    found: list[StreamMessage] = []
    after, left = 0, 5
    while left:
        page = kit.stream.read(after, 2)
        found += page.messages
        after, left = page.messages[-1].sequence, page.left
        assert left == 5 - len(found)
    assert event_ids(found) == [event.id for event in events]
    assert kit.stream.read(after, 2).messages == []


def test_what_is_read_is_pulled_all_the_same_and_the_other_way_round(kit: StreamKit) -> None:
    kit.stream.publish([an_event()])
    kit.stream.read(0, 10)
    messages = pulled(kit.stream, 1)
    kit.stream.ack(messages)
    assert len(kit.stream.read(0, 10).messages) == 1


def test_large_messages_come_a_few_at_a_time(
    open_stream: Callable[..., JetStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chalicelib.adapters.jetstream.READ_BYTES", 250_000)
    stream = open_stream()
    for _ in range(3):
        stream.publish([an_event(data=f'"{"x" * 100_000}"')])
    first = stream.read(0, 10)
    assert (len(first.messages), first.left) == (2, 1)
    rest = stream.read(first.messages[-1].sequence, 10)
    assert (len(rest.messages), rest.left) == (1, 0)


def test_a_reader_leaves_no_consumer_behind(
    open_stream: Callable[..., JetStream], nats_server: Nats
) -> None:
    stream = open_stream()
    stream.publish([an_event()])
    stream.read(0, 10)
    stream.read(1, 10)
    names = stream._names
    consumers = nats_server.ask(lambda client: client.jetstream().consumers_info(names.stream))
    assert [consumer.name for consumer in consumers] == [names.consumer]


def test_two_copies_that_read_at_a_time_do_not_share_the_messages(
    open_stream: Callable[..., JetStream],
) -> None:
    one, other = open_stream(), open_stream()
    for _ in range(60):
        one.publish([an_event()])

    def page(stream: JetStream, after: int) -> list[int]:
        try:
            return [message.sequence for message in stream.read(after, 20).messages]
        except StreamUnavailableError:
            # The other one was faster: it comes again.
            return []

    # Another place too: an operator has started anew, and a copy has not seen it yet.
    for after in (0, 30) * 10:
        with ThreadPoolExecutor() as pool:
            pages = pool.submit(page, one, 0), pool.submit(page, other, after)
        found = [each.result() for each in pages]
        assert found[0] in ([], list(range(1, 21)))
        assert found[1] in ([], list(range(after + 1, after + 21)))


@pytest.mark.embedded("nats", "a server that is frozen")
def test_a_server_that_is_slow_is_not_taken_for_the_end(
    own_nats: Servers, open_stream: Callable[..., JetStream]
) -> None:
    stream = open_stream(own_nats.where.nats)
    stream.publish([an_event()])
    with own_nats.frozen("nats"), pytest.raises(StreamUnavailableError):
        stream.read(0, 10)
