"""The adapter alone: the stream and the consumer that it makes and uses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import nats
import pytest
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from chalicelib.adapters.jetstream import STREAM
from tests.contract.stream.steps import SHORT, an_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.adapters.jetstream import JetStream
    from embedded.services import Endpoints


def test_what_was_pulled_is_given_though_the_client_gives_up_on_more(
    open_stream: Callable[..., JetStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = open_stream()
    stream.pull(1, 0.1)
    stream.publish([an_event()])
    assert stream._pulling is not None
    fetch = stream._pulling.fetch

    async def impatient(batch: int, **limits: float) -> list[Any]:
        # nats-py raises the plain one where its time is up between two requests.
        if batch > 1:
            raise TimeoutError
        return await fetch(batch, **limits)

    monkeypatch.setattr(stream._pulling, "fetch", impatient)
    assert len(stream.pull(10, 2)) == 1


def test_stream_and_consumer_are_made_where_they_are_missing_and_used_where_not(
    open_stream: Callable[..., JetStream],
) -> None:
    first, second = open_stream(), open_stream()
    event = an_event()
    first.publish([event])
    assert len(first.pull(1, 2.0)) == 1

    assert second.publish([event]) == [event]
    # The consumer is the same one, which has that event in hand already.
    assert not second.pull(1, SHORT)


@pytest.mark.parametrize(("max_bytes", "limit"), [(None, -1), (10_000_000, 10_000_000)])
def test_the_stream_refuses_what_it_has_no_room_for_and_keeps_the_rest_for_14_days(
    open_stream: Callable[..., JetStream], servers: Endpoints, max_bytes: int | None, limit: int
) -> None:
    open_stream(max_bytes=max_bytes).publish([an_event()])

    async def look() -> StreamConfig:
        client = await nats.connect(servers.nats)
        try:
            return (await client.jetstream().stream_info(STREAM)).config
        finally:
            await client.close()

    config = asyncio.run(look())
    assert config.discard == DiscardPolicy.NEW
    assert (config.max_age, config.max_bytes) == (14 * 24 * 3600, limit)
    assert (config.storage, config.retention) == (StorageType.FILE, RetentionPolicy.LIMITS)
