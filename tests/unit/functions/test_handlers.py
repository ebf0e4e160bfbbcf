"""The handlers map Lambda's events to use cases and back."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from chalicelib.bootstrap import Container
from chalicelib.domain.errors import StreamUnavailableError
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.domain.times import now_utc
from chalicelib.settings import read_settings
from chalicelib.usecases.bridge import Bridged
from chalicelib.usecases.reconcile import Reconciled
from functions import bridge, reconcile, run, sync
from tests.unit.conftest import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chalicelib.domain.messages import ReceivedMessage
    from tests.support import Json
    from tests.unit.conftest import World


def a_record(
    message_id: str, body: str = "{}", receives: int = 1, queue: str = "product-sync"
) -> Json:
    """A record as the event source mapping sends it."""
    return {
        "messageId": message_id,
        "receiptHandle": f"receipt of {message_id}",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": str(receives),
            "SentTimestamp": "1760000000000",
            "SenderId": "AIDA",
            "ApproximateFirstReceiveTimestamp": "1760000000001",
        },
        "messageAttributes": {},
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:eu-central-1:123456789012:{queue}",
        "awsRegion": "eu-central-1",
    }


class FakeSync:
    """Notes what it is asked to handle, and keeps what it is told to."""

    def __init__(self, *kept: str) -> None:
        self.messages: list[ReceivedMessage] = []
        self._kept = list(kept)

    def handle(self, messages: Sequence[ReceivedMessage]) -> list[str]:
        self.messages += messages
        return self._kept


def test_an_sqs_event_becomes_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = FakeSync()
    monkeypatch.setattr(sync, "container", lambda: SimpleNamespace(sync_of=lambda _: asked))
    before = now_utc()
    sync.handler({"Records": [a_record("m1", "one", 1), a_record("m2", "two", 17)]}, None)
    facts = [(item.id, item.receipt, item.body, item.receives) for item in asked.messages]
    assert asked.messages[0].sent == datetime(2025, 10, 9, 8, 53, 20, tzinfo=UTC)
    assert facts == [("m1", "receipt of m1", "one", 1), ("m2", "receipt of m2", "two", 17)]
    assert all(before <= item.received <= now_utc() for item in asked.messages)


def test_what_must_stay_is_a_partial_batch_response(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = FakeSync("m2", "m3")
    monkeypatch.setattr(sync, "container", lambda: SimpleNamespace(sync_of=lambda _: asked))
    answer = sync.handler({"Records": [a_record(f"m{n}") for n in (1, 2, 3)]}, None)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m2"}, {"itemIdentifier": "m3"}]}


@pytest.mark.parametrize(
    ("queue", "by"),
    [
        ("product-sync", "sync"),
        ("product-sync-bulk", "bulk_sync"),
        ("other-product-sync-bulk", "sync"),
    ],
)
def test_messages_are_handled_with_the_queue_that_they_came_from(
    monkeypatch: pytest.MonkeyPatch, queue: str, by: str
) -> None:
    url = "http://127.0.0.1:1/1/product-sync-bulk"
    parts = Container(read_settings({**ENVIRONMENT, "SYNC_BULK_QUEUE_URL": url}))
    asked = {"sync": FakeSync(), "bulk_sync": FakeSync()}
    vars(parts).update(asked)
    monkeypatch.setattr(sync, "container", lambda: parts)
    sync.handler({"Records": [a_record("m1", queue=queue)]}, None)
    assert [name for name, fake in asked.items() if fake.messages] == [by]


class FakeBridge:
    """Notes how much time it is given."""

    def __init__(self) -> None:
        self.left: list[float] = []

    def drain(self, seconds_left: Callable[[], float]) -> Bridged:
        self.left += [seconds_left(), seconds_left()]
        return Bridged(forwarded=5, refused=2, poison=1)


class Remaining:
    """A Lambda context with these milliseconds left, one reading after the other."""

    def __init__(self, *readings: int) -> None:
        self._readings = list(readings)

    def get_remaining_time_in_millis(self) -> int:
        return self._readings.pop(0)


def test_the_bridge_drains_until_shortly_before_its_time_is_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = FakeBridge()
    monkeypatch.setattr(bridge, "container", lambda: SimpleNamespace(bridge=asked))
    answer = bridge.handler({}, Remaining(60_000, 500))
    assert answer == {"forwarded": 5, "refused": 2, "poison": 1}
    assert asked.left == [60 - bridge.RESERVE_SECONDS, 0.5 - bridge.RESERVE_SECONDS]


def test_a_stream_that_stays_away_fails_the_bridge(world: World) -> None:
    world.stream.away = True
    with pytest.raises(StreamUnavailableError):
        bridge.handler({}, run.HostContext(bridge.RESERVE_SECONDS + 0.2))


def test_a_stream_that_is_away_is_logged_before_the_run_is_over(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.stream.away = True
    logged: list[str] = []

    class Context:
        """Ends the run after two seconds' worth of readings, and notes what is logged by then."""

        def get_remaining_time_in_millis(self) -> int:
            logged.append(capsys.readouterr().out)
            return 0 if len(logged) > 2 else int(bridge.RESERVE_SECONDS * 1000) + 50

    with pytest.raises(StreamUnavailableError):
        bridge.handler({}, Context())
    assert "WARNING" in "".join(logged)


def test_reconcile_says_how_much_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[float] = []

    def run_reconcile(seconds_left: Callable[[], float]) -> Reconciled:
        left.append(seconds_left())
        return Reconciled(1, 2, 3, 4, 5, 6, 7, 8, 9)

    done = SimpleNamespace(run=run_reconcile)
    monkeypatch.setattr(reconcile, "container", lambda: SimpleNamespace(reconcile=done))
    answer = reconcile.handler({}, Remaining(60_000))
    assert left == [60 - reconcile.RESERVE_SECONDS]
    assert answer == {
        "relayed": 1,
        "enqueued": 2,
        "letters": 3,
        "settled": 4,
        "dropped": 5,
        "forwarded": 6,
        "redriven": 7,
        "quarantined": 8,
        "republished": 9,
    }


def test_a_write_travels_through_the_handlers_to_the_supply_chain(world: World) -> None:
    product_id = world.client.post("/products", {"name": "x", "price": 1, "quantity": 1}).json()[
        "id"
    ]
    bridge.handler({}, run.HostContext(bridge.RESERVE_SECONDS + 0.1))
    run.handle(world.queue.receive_records(0), sync.handler, world.queue.delete)
    assert world.supply_chain.held[product_id].version == 0
    assert world.store.products[product_id].sync.status is SyncStatus.DELIVERED
    assert world.queue.messages == []
