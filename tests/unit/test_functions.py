"""The handlers map Lambda's events to use cases and back; the container host does AWS's part."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import requests

from chalicelib.domain.errors import StreamUnavailableError
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.domain.times import now_utc
from chalicelib.usecases.bridge import Bridged
from chalicelib.usecases.reconcile import Reconciled
from embedded.processes import free_port
from embedded.services import ROOT
from functions import bridge, reconcile, run, sync
from functions.server import Server
from tests.http import ScriptedServer, refused_port
from tests.support import eventually
from tests.unit.conftest import ENVIRONMENT, SECRET

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from chalicelib.bootstrap import Container
    from chalicelib.domain.messages import ReceivedMessage
    from tests.support import Json
    from tests.unit.conftest import World


# ---- handlers ----


def a_record(message_id: str, body: str = "{}", receives: int = 1) -> Json:
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
        "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:product-sync",
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
    monkeypatch.setattr(sync, "container", lambda: SimpleNamespace(sync=asked))
    before = now_utc()
    sync.handler({"Records": [a_record("m1", "one", 1), a_record("m2", "two", 17)]}, None)
    facts = [(item.id, item.receipt, item.body, item.receives) for item in asked.messages]
    assert asked.messages[0].sent == datetime(2025, 10, 9, 8, 53, 20, tzinfo=UTC)
    assert facts == [("m1", "receipt of m1", "one", 1), ("m2", "receipt of m2", "two", 17)]
    assert all(before <= item.received <= now_utc() for item in asked.messages)


def test_what_must_stay_is_a_partial_batch_response(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = FakeSync("m2", "m3")
    monkeypatch.setattr(sync, "container", lambda: SimpleNamespace(sync=asked))
    answer = sync.handler({"Records": [a_record(f"m{n}") for n in (1, 2, 3)]}, None)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m2"}, {"itemIdentifier": "m3"}]}


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
    world: World, log_stream: io.StringIO
) -> None:
    world.stream.away = True
    logged: list[str] = []

    class Context:
        """Ends the run after two seconds' worth of readings, and notes what is logged by then."""

        def get_remaining_time_in_millis(self) -> int:
            logged.append(log_stream.getvalue())
            return 0 if len(logged) > 2 else int(bridge.RESERVE_SECONDS * 1000) + 50

    with pytest.raises(StreamUnavailableError):
        bridge.handler({}, Context())
    assert "WARNING" in logged[-1]


def test_reconcile_says_how_much_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[float] = []

    def run_reconcile(seconds_left: Callable[[], float]) -> Reconciled:
        left.append(seconds_left())
        return Reconciled(1, 2, 3, 4)

    done = SimpleNamespace(run=run_reconcile)
    monkeypatch.setattr(reconcile, "container", lambda: SimpleNamespace(reconcile=done))
    answer = reconcile.handler({}, Remaining(60_000))
    assert left == [60 - reconcile.RESERVE_SECONDS]
    assert answer == {"relayed": 1, "enqueued": 2, "settled": 3, "dropped": 4}


def test_a_write_travels_through_the_handlers_to_the_supply_chain(world: World) -> None:
    product_id = world.client.post("/products", {"name": "x", "price": 1, "quantity": 1}).json()[
        "id"
    ]
    bridge.handler({}, run.HostContext(bridge.RESERVE_SECONDS + 0.1))
    run.sync_once(world.parts, sync.handler)
    assert world.supply_chain.held[product_id].version == 0
    assert world.store.products[product_id].sync.status is SyncStatus.DELIVERED
    assert world.queue.messages == []


# ---- the host: SQS ----


@pytest.fixture
def parts(world: World) -> Container:
    return world.parts


def test_only_what_the_answer_lets_go_is_deleted(world: World, parts: Container) -> None:
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


# ---- the host: loops ----


class Stopping(threading.Event):
    """The host's flag, which notes how long the loops wait and stops after so many waits."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self.waited: list[float | None] = []
        self._left = waits

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout)
        if len(self.waited) >= self._left:
            self.set()
        return self.is_set()


def stopping_after(monkeypatch: pytest.MonkeyPatch, waits: int) -> Stopping:
    made = Stopping(waits)
    monkeypatch.setattr(run, "stopping", made)
    return made


def test_the_context_counts_down(monkeypatch: pytest.MonkeyPatch) -> None:
    stopping_after(monkeypatch, 1)
    context = run.HostContext(60)
    first = context.get_remaining_time_in_millis()
    time.sleep(0.01)
    assert 59_000 < context.get_remaining_time_in_millis() < first <= 60_000


def test_no_time_is_left_once_it_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    stopping_after(monkeypatch, 1)
    assert run.HostContext(-1).get_remaining_time_in_millis() == 0


def test_no_time_is_left_once_the_host_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    stopping_after(monkeypatch, 1).set()
    assert run.HostContext(60).get_remaining_time_in_millis() == 0


@pytest.mark.parametrize(
    ("grace", "interval"), [(300.0, 60.0), (3000.0, 60.0), (50.0, 10.0), (5.0, 1.0), (0.1, 1.0)]
)
def test_reconcile_runs_every_minute_or_five_times_within_the_grace(
    monkeypatch: pytest.MonkeyPatch, parts: Container, grace: float, interval: float
) -> None:
    flag = stopping_after(monkeypatch, 3)
    runs: list[object] = []
    monkeypatch.setattr(run, "load", lambda name: lambda *_: runs.append(name))
    parts.settings = parts.settings.model_copy(update={"reconcile_grace": grace})
    run.run_reconcile(parts)
    assert flag.waited == [interval] * 3
    assert runs == ["functions.reconcile.handler"] * 3


@pytest.mark.parametrize("role", ["bridge", "reconcile", "sync"])
@pytest.mark.parametrize("error", [StreamUnavailableError("away"), RuntimeError("a bug")])
def test_a_step_that_fails_does_not_end_the_process(
    world: World, monkeypatch: pytest.MonkeyPatch, role: str, error: Exception
) -> None:
    world.queue.send("body")
    monkeypatch.setattr(world.queue, "VISIBILITY", world.queue.VISIBILITY * 0)
    flag = stopping_after(monkeypatch, 8)
    runs: list[float] = []

    def fail(*_: object) -> Json:
        runs.append(time.monotonic())
        raise error

    monkeypatch.setattr(run, "load", lambda _: fail)
    run.ROLES[role](world.parts)
    assert len(runs) >= 4
    # It waits before it tries again, so that a broken dependency is not hammered.
    assert flag.waited.count(run.AWAY_SECONDS) >= len(runs)


def test_several_threads_poll_the_queue(monkeypatch: pytest.MonkeyPatch, parts: Container) -> None:
    stopping_after(monkeypatch, 1)
    meeting = threading.Barrier(run.POLLERS)
    pollers: list[str] = []

    def once(*_: object) -> None:
        # Broken, and so a failure, unless all of them are here at a time.
        meeting.wait(10)
        pollers.append(threading.current_thread().name)
        run.stopping.set()

    monkeypatch.setattr(run, "sync_once", once)
    run.run_sync(parts)
    assert len(set(pollers)) == run.POLLERS


@pytest.mark.parametrize("name", ["bridge", "sync", "reconcile"])
def test_a_handler_is_found_by_the_name_that_lambda_uses(name: str) -> None:
    module = {"bridge": bridge, "sync": sync, "reconcile": reconcile}[name]
    assert run.load(f"functions.{name}.handler") is module.handler


# ---- the host as a process ----


def environment(**changes: str) -> dict[str, str]:
    """Everything set, and nobody at any of the addresses."""
    nobody = f"http://127.0.0.1:{refused_port()}"
    return {
        "PATH": os.environ["PATH"],
        **ENVIRONMENT,
        "AWS_ENDPOINT_URL": nobody,
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        **changes,
    }


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "functions.run", *arguments]


def finished(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run the host until it ends by itself."""
    return subprocess.run(
        command(*arguments),
        env=environment(**changes),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


class Host:
    """A host that runs; what it prints goes into a file."""

    def __init__(self, folder: Path, role: str, **changes: str) -> None:
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command(role), env=environment(**changes), cwd=ROOT, stdout=log, stderr=log
            )

    def printed(self) -> str:
        return self._log.read_text()

    def end(self, number: signal.Signals) -> tuple[int, float]:
        """Send a signal; the exit code and how many seconds it took."""
        started = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(20), time.monotonic() - started


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    hosts: list[Host] = []

    def make(role: str, **changes: str) -> Host:
        hosts.append(Host(tmp_path, role, **changes))
        return hosts[-1]

    yield make
    for host in hosts:
        if host.process.poll() is None:
            host.process.kill()
            host.process.wait()


@pytest.mark.parametrize("role", ["sync", "reconcile"])
def test_a_host_whose_dependencies_are_away_says_so_and_stops_when_told_to(
    start: Callable[..., Host], role: str
) -> None:
    host = start(role)
    eventually(lambda: '"level":"WARNING"' in host.printed(), 30, f"{role} says nothing")
    code, seconds = host.end(signal.SIGTERM)
    assert code == 0, host.printed()
    assert seconds < 10
    assert "Traceback" not in host.printed()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_bridge_whose_stream_does_not_speak_stops_when_told_to(
    start: Callable[..., Host], server: ScriptedServer, number: signal.Signals
) -> None:
    host = start("bridge", NATS_URL=f"nats://127.0.0.1:{server.port}")
    eventually(lambda: server.connections, 30, "it does not connect")
    code, seconds = host.end(number)
    assert code == 0, host.printed()
    assert seconds < 10


def test_the_api_serves_under_its_base_and_stops_when_told_to(start: Callable[..., Host]) -> None:
    port = free_port()
    host = start("api", PORT=str(port))
    base = f"http://127.0.0.1:{port}/api"

    def answers() -> bool:
        try:
            return requests.get(f"{base}/health", timeout=10).text == '{"status":"ok"}'
        except requests.ConnectionError:
            return False

    eventually(answers, 30, "the API does not answer")
    assert requests.get(f"{base}/ready", timeout=10).status_code == 503
    code, seconds = host.end(signal.SIGTERM)
    assert code == 0, host.printed()
    assert seconds < 15


def test_an_idle_connection_outlives_the_patience_of_a_load_balancer() -> None:
    assert Server("127.0.0.1", 8000).cfg.keepalive > 60


@pytest.mark.parametrize("role", sorted(run.ROLES))
def test_a_host_that_is_stopped_during_its_start_ends_in_order(
    world: World, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    def container() -> Container:
        os.kill(os.getpid(), signal.SIGTERM)
        return world.parts

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(run, "stopping", threading.Event())
    monkeypatch.setattr(run, "container", container)
    monkeypatch.setattr(run, "load", lambda _: lambda *_: pytest.fail("works on"))
    monkeypatch.setattr("functions.server.serve", lambda *_: pytest.fail("serves"))
    monkeypatch.setattr(sys, "argv", ["run", role])
    # Instead of the end of the whole test run, if there is no handler yet.
    signal.signal(signal.SIGTERM, lambda *_: pytest.fail("no handler"))
    try:
        assert run.main() == 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_bad_settings_end_it_with_2_and_their_names() -> None:
    ended = finished("sync", SYNC_MAX_ATTEMPTS="many", CATALOG_JWT_SECRET="too-short-a-secret")
    assert ended.returncode == 2
    assert "SYNC_MAX_ATTEMPTS" in ended.stderr
    assert "CATALOG_JWT_SECRET" in ended.stderr
    assert "too-short-a-secret" not in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_unknown_role_ends_it_with_2_and_the_known_ones() -> None:
    ended = finished("cook")
    assert ended.returncode == 2
    assert all(role in ended.stderr for role in run.ROLES)
    assert SECRET not in ended.stdout + ended.stderr
