"""Events: CloudEvents that carry the whole product."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from chalicelib.domain.events import Event, EventType
from chalicelib.domain.sync_state import SyncState
from tests.fakes import START, a_product, fields


def test_an_event_is_a_cloudevent_with_the_product_as_its_data() -> None:
    product = a_product(fields=fields(price=Decimal("12.500")))
    event = json.loads(product.outbox[0].to_cloudevent(), parse_float=Decimal)

    assert event == {
        "specversion": "1.0",
        "id": f"{product.id}:0:product:created",
        "source": "/products",
        "type": "product:created",
        "subject": product.id,
        "time": "2026-01-01T00:00:00.000Z",
        "datacontenttype": "application/json",
        "data": product.to_json(),
    }


def test_an_event_of_a_bulk_change_says_so() -> None:
    single = a_product(sync=SyncState())
    bulk = a_product(sync=SyncState(bulk=True))

    assert "bulk" not in json.loads(single.outbox[0].to_cloudevent())
    assert json.loads(bulk.outbox[0].to_cloudevent())["bulk"] is True


def test_the_data_of_an_event_stay_as_they_were_written() -> None:
    event = Event(EventType.UPDATED, "id", 1, START, '{"price":12.5000}')

    assert event.to_cloudevent().endswith(',"data":{"price":12.5000}}')


@pytest.mark.parametrize(
    ("trace", "headers"), [("Root=1-0-0", {"X-Amzn-Trace-Id": "Root=1-0-0"}), (None, {})]
)
def test_the_headers_of_an_event_are_its_id_and_its_trace(
    trace: str | None, headers: dict[str, str]
) -> None:
    event = Event(EventType.UPDATED, "id", 1, START, "{}", trace)

    assert event.headers == {
        "Nats-Msg-Id": "id:1:product:updated",
        "Content-Type": "application/cloudevents+json",
        **headers,
    }


TRACE = "Root=1-67891233-abcdef012345678912345678;Parent=b7ad6b7169203331;Sampled=1"


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        (TRACE, "00-67891233abcdef012345678912345678-b7ad6b7169203331-01"),
        ("Root=1-0-0", None),
        (None, None),
    ],
)
def test_an_event_has_its_trace_as_w3c_writes_it(trace: str | None, expected: str | None) -> None:
    event = Event(EventType.UPDATED, "id", 1, START, "{}", trace)
    assert json.loads(event.to_cloudevent()).get("traceparent") == expected


def test_an_event_that_is_published_again_is_the_same_byte_by_byte() -> None:
    event = Event(EventType.UPDATED, "id", 1, START, "{}", TRACE.partition(";")[0])
    assert "traceparent" in event.to_cloudevent()
    assert replace(event).to_cloudevent() == event.to_cloudevent()


@pytest.mark.parametrize(
    ("event_type", "subject"),
    [
        (EventType.CREATED, "product.created"),
        (EventType.UPDATED, "product.updated"),
        (EventType.DELETED, "product.deleted"),
        (EventType.SYNC_COMPLETE, "product.sync-complete"),
        (EventType.SYNC_EXHAUSTED, "product.sync-exhausted"),
        (EventType.SYNC_REJECTED, "product.sync-rejected"),
        (EventType.SYNC_RECOVERED, "product.sync-recovered"),
    ],
)
def test_the_subject_of_an_event_is_its_type_with_a_dot(
    event_type: EventType, subject: str
) -> None:
    assert event_type.subject == subject
