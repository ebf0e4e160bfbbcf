"""Sync messages, and the events that they come from."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.errors import PoisonMessageError
from chalicelib.domain.messages import (
    SyncMessage,
    dead_letter_for,
    message_to,
    parse_sync_message,
    sync_message_for,
)
from chalicelib.domain.sync_state import SyncState, SyncStatus
from tests.fakes import a_product


def test_a_sync_message_survives_the_queue() -> None:
    message = SyncMessage("p1", 7, 2, "Root=1-2-3", "p1:7:product:updated")
    assert parse_sync_message(message.to_json()) == message


@pytest.mark.parametrize(
    "body",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        '{"productId":"p"}',
        '{"productId":"p","version":1}',
        '{"productId":"p","budget":0}',
        '{"version":1,"budget":0}',
        '{"productId":1,"version":1,"budget":0}',
        '{"productId":"","version":1,"budget":0}',
        '{"productId":"p q","version":1,"budget":0}',
        '{"productId":"\\ud800","version":1,"budget":0}',
        '{"productId":"p","version":-1,"budget":0}',
        '{"productId":"p","version":"1","budget":0}',
        '{"productId":"p","version":true,"budget":0}',
        '{"productId":"p","version":9007199254740993,"budget":0}',
        '{"productId":"p","version":1,"budget":-1}',
        '{"productId":"p","version":1,"budget":"0"}',
        '{"productId":"p","version":1,"budget":false}',
        '{"productId":"p","version":1,"budget":null}',
        '{"productId":"p","version":1,"budget":1.0}',
        '{"productId":"p","version":1,"budget":9007199254740993}',
    ],
)
def test_a_body_that_is_no_sync_message_is_poison(body: str) -> None:
    with pytest.raises(PoisonMessageError):
        parse_sync_message(body)


def test_a_message_names_trace_and_event_only_where_it_has_them() -> None:
    assert json.loads(SyncMessage("p1", 3).to_json()) == {
        "productId": "p1",
        "version": 3,
        "budget": 0,
    }
    full = SyncMessage("p1", 3, 1, "t", "e")
    assert json.loads(full.to_json()).items() >= {"trace": "t", "eventId": "e"}.items()


def test_what_another_tool_adds_to_a_message_does_no_harm() -> None:
    body = '{"productId":"p1","version":3,"budget":1,"reason":"rejected","eventId":7}'
    assert parse_sync_message(body) == SyncMessage("p1", 3, 1, is_letter=True)


@given(st.text())
def test_any_text_is_a_sync_message_or_poison(body: str) -> None:
    with contextlib.suppress(PoisonMessageError):
        parse_sync_message(body)


def test_an_event_becomes_a_sync_message_for_its_product_at_its_version() -> None:
    event = a_product(id="p1", version=7).outbox[-1]
    message = sync_message_for(event.to_cloudevent().encode(), "t")
    assert message == SyncMessage("p1", 7, 0, "t", "p1:7:product:updated")


def test_a_message_that_comes_from_no_event_has_the_trace_of_its_budget() -> None:
    sync = SyncState(budget=2, trace="Root=1-2-3", bulk=True)
    message = message_to(a_product(id="p1", version=7, sync=sync))
    assert message == SyncMessage("p1", 7, 2, "Root=1-2-3", bulk=True)


def test_a_dead_letter_that_is_moved_back_has_the_trace_of_its_budget() -> None:
    sync = SyncState(SyncStatus.EXHAUSTED, trace="Root=1-2-3")
    letter = dead_letter_for(a_product(id="p1", version=7, sync=sync))
    assert parse_sync_message(letter.body) == SyncMessage("p1", 7, 1, "Root=1-2-3", is_letter=True)


def test_the_message_for_a_bulk_event_is_bulk() -> None:
    event = a_product(sync=SyncState(bulk=True)).outbox[-1]
    assert sync_message_for(event.to_cloudevent().encode(), None).bulk


@pytest.mark.parametrize("value", [b"false", b"1", b'"true"', b"null"])
def test_only_true_makes_an_event_bulk(value: bytes) -> None:
    event = a_product(sync=SyncState(bulk=True)).outbox[-1].to_cloudevent().encode()
    changed = event.replace(b'"bulk":true', b'"bulk":' + value)
    assert changed != event
    assert not sync_message_for(changed, None).bulk


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
