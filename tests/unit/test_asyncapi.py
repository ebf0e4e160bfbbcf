"""The document of the events: valid, complete, true to what is published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jsonschema import Draft7Validator  # type: ignore[import-untyped]  # ships no types

from chalicelib.domain.events import Event, EventType, StreamNames
from chalicelib.domain.product import ProductFields
from chalicelib.domain.retry import Schedule
from chalicelib.http import asyncapi
from chalicelib.usecases.catalog import Origin, Precondition
from tests.fakes import BODY, FakeClock, FakeStream, Pipeline
from tests.http import WsgiClient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support import Json
    from tests.unit.conftest import World

TRACE = "Root=1-67891233-abcdef012345678912345678"
SCHEMA = Path(__file__).parents[1] / "schemas/asyncapi/3.0.0.json"
DOCUMENT: Json = json.loads(asyncapi.document(StreamNames()))
MESSAGES: dict[str, Json] = {
    message["name"]: message for message in DOCUMENT["components"]["messages"].values()
}
EXAMPLES: dict[str, Json] = {name: it["examples"][0] for name, it in MESSAGES.items()}


def inside(value: object) -> Iterator[Json]:
    """Every object of a document, at whatever depth."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from inside(item)


def resolved(reference: Json) -> Json:
    """What a reference within the document names; KeyError if it names nothing."""
    found = DOCUMENT
    for part in reference["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def validator(schema: Json) -> Draft7Validator:
    return Draft7Validator({"allOf": [schema], "components": DOCUMENT["components"]})


def validator_of(event_type: str) -> Draft7Validator:
    return validator(MESSAGES[event_type]["payload"])


# ---- is it a document? ----


def test_the_document_is_valid_asyncapi() -> None:
    Draft7Validator(json.loads(SCHEMA.read_text())).validate(DOCUMENT)


def test_every_reference_of_the_document_names_something() -> None:
    references = [item for item in inside(DOCUMENT) if isinstance(item.get("$ref"), str)]
    assert references
    for reference in references:
        assert resolved(reference)


def test_the_document_names_exactly_the_types_that_exist() -> None:
    assert list(MESSAGES) == [event_type.value for event_type in EventType]


def test_each_type_has_a_channel_with_its_subject() -> None:
    channels = {
        channel["address"]: [resolved(message)["name"] for message in channel["messages"].values()]
        for channel in DOCUMENT["channels"].values()
    }
    assert channels == {event_type.subject: [event_type.value] for event_type in EventType}


def test_the_catalog_sends_on_each_channel_the_message_of_this_channel() -> None:
    sent = {}
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] == "send"
        (message,) = operation["messages"]
        assert message["$ref"].startswith(operation["channel"]["$ref"])
        sent[resolved(operation["channel"])["address"]] = resolved(resolved(message))["name"]
    assert sent == {event_type.subject: event_type.value for event_type in EventType}


def test_the_document_names_the_stream() -> None:
    assert DOCUMENT["servers"]["nats"]["x-jetstream"]["stream"] == "PRODUCTS"
    assert "`PRODUCTS`" in DOCUMENT["info"]["description"]


def test_the_document_of_an_environment_has_its_names() -> None:
    document = json.loads(asyncapi.document(StreamNames.of("staging")))
    named = document["servers"]["nats"]["x-jetstream"]
    assert (named["stream"], named["subjects"]) == ("staging-PRODUCTS", ["staging.product.*"])
    assert "`staging-PRODUCTS`" in document["info"]["description"]
    addresses = [channel["address"] for channel in document["channels"].values()]
    assert addresses == [f"staging.{event_type.subject}" for event_type in EventType]


def test_everybody_can_read_the_document(world: World) -> None:
    answer = WsgiClient(world.gateway).get("/asyncapi.json")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.text == asyncapi.document(StreamNames())


# ---- is it true? ----


class RecordedStream(FakeStream):
    """Keeps the events that were published."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.events: list[Event] = []

    def publish(self, events: Sequence[Event]) -> list[Event]:
        self.events += events
        return super().publish(events)


def a_life() -> RecordedStream:
    """The stream after a product was created, changed, and deleted.

    One change is delivered at once, one is rejected and delivered after a replay, the deletion is
    given up and delivered after a replay. Between them the catalog is published again.
    """
    pipeline = Pipeline(schedule=Schedule(1, 0))
    pipeline.stream = stream = RecordedStream(pipeline.clock)
    pipeline.connect()
    everything = {**BODY, "sku": "S", "description": "d", "attributes": {"a": 1, "b": True}}
    product_id = pipeline.catalog.create(everything, Origin(trace=TRACE))["id"]
    pipeline.pass_on()
    pipeline.update(product_id, price=3)
    pipeline.supply_chain.answers[product_id] = [422, 200, 500]
    pipeline.pass_on()
    pipeline.operations.replay(product_id)
    pipeline.sync_once()
    pipeline.republishes.start({})
    pipeline.reconcile_once()
    pipeline.catalog.delete(product_id, Precondition(), Origin())
    pipeline.pass_on()
    pipeline.operations.replay(product_id)
    pipeline.sync_once()
    return stream


def test_everything_that_is_published_fits_the_document() -> None:
    stream = a_life()
    channels = {channel["address"]: channel for channel in DOCUMENT["channels"].values()}
    heard = []
    for message in stream.log:
        (described,) = channels[message.subject]["messages"].values()
        event = json.loads(message.data)
        validator(resolved(described)["payload"]).validate(event)
        heard.append((event["type"], event["data"]["version"]))
    assert heard == [
        ("product:created", 0),
        ("product:sync-complete", 0),
        ("product:updated", 1),
        ("product:sync-rejected", 1),
        ("product:sync-complete", 1),
        ("product:sync-recovered", 1),
        ("product:republished", 1),
        ("product:deleted", 2),
        ("product:sync-exhausted", 2),
        ("product:sync-complete", 2),
        ("product:sync-recovered", 2),
    ]
    assert {name for name, _ in heard} == set(EventType), "a type that this test does not cause"


def test_the_headers_of_everything_that_is_published_fit_the_document() -> None:
    events = a_life().events
    assert {event.trace for event in events} == {TRACE, None}
    for event in events:
        schema = resolved(MESSAGES[event.type]["headers"])
        validator(schema).validate(event.headers)
        assert event.headers.keys() <= schema["properties"].keys()


def test_nothing_is_published_that_the_document_leaves_out() -> None:
    stream = a_life()
    schemas = DOCUMENT["components"]["schemas"]
    for message in stream.log:
        event = json.loads(message.data)
        assert event.keys() <= schemas["ProductEvent"]["properties"].keys()
        assert event["data"].keys() <= schemas["Product"]["properties"].keys()


def test_only_the_deletion_itself_has_the_sku_that_it_gives_up() -> None:
    events = [json.loads(message.data) for message in a_life().log]
    without = [event["id"] for event in events if "sku" not in event["data"]]
    of_deletion = f"{events[0]['subject']}:2:product:sync-"
    assert without == [f"{of_deletion}{end}" for end in ("exhausted", "complete", "recovered")]


def test_an_event_of_a_batch_fits_the_document() -> None:
    pipeline = Pipeline()
    pipeline.catalog.create_batch({"items": [BODY]}, Origin())
    event = json.loads(pipeline.stream.log[0].data)
    assert event["bulk"] is True
    validator_of("product:created").validate(event)


def test_every_field_of_a_product_is_described() -> None:
    described = DOCUMENT["components"]["schemas"]["Product"]["properties"]
    assert ProductFields.model_fields.keys() <= described.keys()


@pytest.mark.parametrize("event_type", EventType)
def test_the_example_of_a_type_fits_its_schemas(event_type: EventType) -> None:
    example, message = EXAMPLES[event_type], MESSAGES[event_type]
    validator(message["payload"]).validate(example["payload"])
    validator(message["headers"]).validate(example["headers"])
    assert example["payload"]["type"] == event_type
    run = f":{payload['run']}" if "run" in (payload := example["payload"]) else ""
    assert example["headers"]["Nats-Msg-Id"] == payload["id"] + run


# ---- does it refuse what is no such event? ----


def test_a_traceparent_of_another_form_is_none_of_ours() -> None:
    event = EXAMPLES["product:created"]["payload"]
    assert event["traceparent"].startswith("00-")
    assert not validator_of("product:created").is_valid({**event, "traceparent": ""})


@pytest.mark.parametrize("event_type", EventType)
@pytest.mark.parametrize("other", EventType)
def test_the_schema_of_a_type_takes_no_other_type(event_type: EventType, other: EventType) -> None:
    fits = validator_of(event_type).is_valid(EXAMPLES[other]["payload"])
    assert fits is (event_type is other)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in EXAMPLES["product:created"]["payload"]
        if name not in {"bulk", "traceparent"}
    ],
)
def test_no_attribute_of_an_event_may_be_missing(name: str) -> None:
    event = dict(EXAMPLES["product:created"]["payload"])
    del event[name]
    assert not validator_of("product:created").is_valid(event)


@pytest.mark.parametrize(
    ("event_type", "change"),
    [
        ("product:created", {"version": 1}),
        ("product:updated", {"version": 0}),
        ("product:deleted", {"deletedAt": None}),
        ("product:sync-complete", {"syncStatus": "pending"}),
        ("product:sync-complete", {"syncCompletedAt": None}),
        ("product:sync-exhausted", {"syncStatus": "rejected"}),
        ("product:sync-rejected", {"syncStatus": "exhausted"}),
        ("product:sync-recovered", {"syncStatus": "retrying"}),
        ("product:sync-recovered", {"syncCompletedAt": None}),
    ],
)
def test_the_data_must_be_that_of_the_type(event_type: str, change: Json) -> None:
    event = EXAMPLES[event_type]["payload"]
    assert not validator_of(event_type).is_valid({**event, "data": {**event["data"], **change}})


def test_the_data_of_a_deletion_has_its_time() -> None:
    event = EXAMPLES["product:deleted"]["payload"]
    data = {name: value for name, value in event["data"].items() if name != "deletedAt"}
    assert not validator_of("product:deleted").is_valid({**event, "data": data})
