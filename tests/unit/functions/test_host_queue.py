"""The container host receives and deletes messages, as Lambda's event source does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.errors import QueueUnavailableError
from functions import run
from tests.support import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chalicelib.bootstrap import Container
    from tests.support import Json
    from tests.unit.conftest import World


def handle_once(parts: Container, handler: run.Handler) -> None:
    """Receive, handle and delete, as each thread of the host does."""
    run.handle(parts.queue.receive_records(0), handler, parts.queue.delete)


def test_only_what_the_answer_does_not_name_is_deleted(world: World, parts: Container) -> None:
    kept = [world.queue.send("stays"), world.queue.send("goes"), world.queue.send("stays too")]
    del kept[1]
    failures = [{"itemIdentifier": message_id} for message_id in kept]
    handle_once(parts, lambda *_: {"batchItemFailures": failures})
    assert [message.body for message in world.queue.messages] == ["stays", "stays too"]


def test_all_is_deleted_if_nothing_must_stay(world: World, parts: Container) -> None:
    world.queue.send("one")
    world.queue.send("two")
    handle_once(parts, lambda *_: {"batchItemFailures": []})
    assert world.queue.messages == []


def test_nothing_is_deleted_if_the_handler_raises(world: World, parts: Container) -> None:
    world.queue.send("one")

    def fail(*_: object) -> Json:
        raise RuntimeError("kaboom")

    with pytest.raises(RuntimeError):
        handle_once(parts, fail)
    assert [message.body for message in world.queue.messages] == ["one"]


def test_the_handler_gets_records_like_lambdas(world: World, parts: Container) -> None:
    message_id = world.queue.send("body")
    events: list[Json] = []

    def handler(event: Json, _: object) -> Json:
        events.append(event)
        return {"batchItemFailures": []}

    handle_once(parts, handler)
    ((record,),) = [event["Records"] for event in events]
    assert (record["messageId"], record["body"]) == (message_id, "body")
    assert record["attributes"]["ApproximateReceiveCount"] == "1"


# ---- deletions ----


class Requests:
    """What is deleted, one list for each request; the next so many fail."""

    def __init__(self, failures: int = 0) -> None:
        self.made: list[list[str]] = []
        self._failures = failures

    def __call__(self, receipts: Sequence[str]) -> None:
        if self._failures:
            self._failures -= 1
            raise QueueUnavailableError("away")
        self.made.append(list(receipts))


def test_messages_of_several_batches_are_deleted_with_one_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "DELETE_SECONDS", 30)
    requests = Requests()
    with run.Deletions(requests) as deletions:
        deletions.add(["a", "b"])
        deletions.add(["c"])
        deletions.add([f"d{n}" for n in range(7)])
    assert requests.made == [["a", "b", "c", *(f"d{n}" for n in range(7))]]


def test_a_single_message_is_deleted_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "DELETE_SECONDS", 0.01)
    requests = Requests()
    with run.Deletions(requests) as deletions:
        deletions.add(["a"])
        eventually(lambda: requests.made == [["a"]], 10, "it is not deleted")


def test_what_is_left_at_the_end_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "DELETE_SECONDS", 30)
    requests = Requests()
    with run.Deletions(requests) as deletions:
        deletions.add([str(n) for n in range(23)])
    assert [len(made) for made in requests.made] == [10, 10, 3]


def test_a_deletion_that_fails_does_not_keep_later_messages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "AWAY_SECONDS", 0)
    requests = Requests(failures=1)
    with run.Deletions(requests) as deletions:
        deletions.add([str(n) for n in range(20)])
    assert [len(made) for made in requests.made] == [10]
