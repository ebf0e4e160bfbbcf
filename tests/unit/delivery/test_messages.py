"""Sync messages, and the events that they come from."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.errors import PoisonMessageError
from chalicelib.domain.events import EventType
from chalicelib.domain.messages import SyncMessage, parse_sync_message, sync_message_for
from tests.unit.delivery.steps import NOW, product


def test_a_sync_message_survives_the_queue() -> None:
    message = SyncMessage("p1", 7, "Root=1-2-3", "p1:7:product:updated")
    assert parse_sync_message(message.to_json()) == message


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


def test_an_event_becomes_a_sync_message_for_its_product_at_its_version() -> None:
    event = product(version=7).with_event(EventType.UPDATED, NOW, None).outbox[-1]
    message = sync_message_for(event.to_cloudevent().encode(), "t")
    assert message == SyncMessage("p1", 7, "t", "p1:7:product:updated")


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
