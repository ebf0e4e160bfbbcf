"""What the tests of the stream do with events: make, pull and publish them."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.domain.errors import StreamUnavailableError
from chalicelib.domain.events import Event, EventType
from chalicelib.domain.times import now_utc
from tests.fakes import a_product
from tests.support import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chalicelib.adapters.jetstream import JetStream
    from chalicelib.usecases.ports import StreamMessage
    from tests.contract.conftest import Stream


SHORT = 0.2
"""Long enough for a pull that is to find nothing."""


def an_event(event_type: EventType = EventType.CREATED, **changes: str) -> Event:
    product = a_product()
    event = Event(event_type, product.id, 0, now_utc(), '{"id":"x","price":12.50}')
    return replace(event, **changes)  # type: ignore[arg-type]  # the texts of an event


def pulled(stream: Stream, number: int) -> list[StreamMessage]:
    """Pull until so many messages have come."""
    messages: list[StreamMessage] = []

    def enough() -> bool:
        messages.extend(stream.pull(number - len(messages), SHORT))
        return len(messages) >= number

    eventually(enough, message=f"{number} messages")
    return messages


def event_ids(messages: Sequence[StreamMessage]) -> list[str]:
    return [json.loads(message.data)["id"] for message in messages]


def timed(call: Callable[[], object]) -> float:
    """How long it takes to say that the stream is away."""
    started = time.monotonic()
    with pytest.raises(StreamUnavailableError):
        call()
    return time.monotonic() - started


def works(call: Callable[[], list[Any]]) -> list[Any]:
    """What the stream gives; nothing while it is away."""
    try:
        return call()
    except StreamUnavailableError:
        return []


USES: dict[str, Callable[[JetStream], object]] = {
    "publish": lambda stream: stream.publish([an_event()]),
    "pull": lambda stream: stream.pull(1, SHORT),
    "ping": lambda stream: stream.ping(),
    "usage": lambda stream: stream.usage(),
    "read": lambda stream: stream.read(0, 1),
}
