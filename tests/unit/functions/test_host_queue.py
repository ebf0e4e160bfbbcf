"""The container host receives and deletes messages, as Lambda's event source does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from functions import run

if TYPE_CHECKING:
    from chalicelib.bootstrap import Container
    from tests.support import Json
    from tests.unit.conftest import World


def test_only_what_the_answer_does_not_name_is_deleted(world: World, parts: Container) -> None:
    kept = [world.queue.send("stays"), world.queue.send("goes"), world.queue.send("stays too")]
    del kept[1]
    failures = [{"itemIdentifier": message_id} for message_id in kept]
    run.sync_once(parts, lambda *_: {"batchItemFailures": failures})
    assert [message.body for message in world.queue.messages] == ["stays", "stays too"]


def test_all_is_deleted_if_nothing_must_stay(world: World, parts: Container) -> None:
    world.queue.send("one")
    world.queue.send("two")
    run.sync_once(parts, lambda *_: {"batchItemFailures": []})
    assert world.queue.messages == []


def test_nothing_is_deleted_if_the_handler_raises(world: World, parts: Container) -> None:
    world.queue.send("one")

    def fail(*_: object) -> Json:
        raise RuntimeError("kaboom")

    with pytest.raises(RuntimeError):
        run.sync_once(parts, fail)
    assert [message.body for message in world.queue.messages] == ["one"]


def test_without_messages_the_handler_is_not_called(parts: Container) -> None:
    run.sync_once(parts, lambda *_: pytest.fail("called for nothing"))


def test_the_handler_gets_records_like_lambdas(world: World, parts: Container) -> None:
    message_id = world.queue.send("body")
    events: list[Json] = []

    def handler(event: Json, _: object) -> Json:
        events.append(event)
        return {"batchItemFailures": []}

    run.sync_once(parts, handler)
    ((record,),) = [event["Records"] for event in events]
    assert (record["messageId"], record["body"]) == (message_id, "body")
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
