"""The real servers, once per process, and each port as its fake and as its adapter."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import nats
import pytest
from nats.js.errors import NotFoundError
from pymongo import MongoClient

from chalicelib.adapters.jetstream import STREAM, JetStream
from chalicelib.adapters.mongo.documents import Document
from chalicelib.adapters.mongo.migration import migrate
from chalicelib.adapters.mongo.store import MongoStore
from chalicelib.adapters.sqs import SqsQueue
from chalicelib.domain.product import Product
from chalicelib.domain.times import now_utc
from embedded.processes import free_port
from embedded.servers import ServerProcesses
from embedded.services import Endpoints, endpoints, server_service, sqs_client
from tests.fakes import FakeQueue, FakeStore, FakeStream
from tests.support import eventually, stack_environment, stopped_for_sure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mypy_boto3_sqs import SQSClient

    from chalicelib.usecases.ports import Store

MAX_RECEIVES = 3
NOWHERE = "127.0.0.1:9"
"""The discard port: nothing listens there."""


class Servers:
    """Some servers of the embedded stack, without the rest of it."""

    def __init__(self, run_dir: Path, names: tuple[str, ...]) -> None:
        environ = stack_environment(os.environ, {"SUPPLY_CHAIN_URL": f"http://{NOWHERE}"})
        ports: dict[str, int] = {"api": 0}
        for name in ("mongodb", "nats", "sqs"):
            ports[name] = free_port(ports.values())
        self.where: Endpoints = endpoints(environ, ports)
        self._processes = ServerProcesses(run_dir)
        self._services = {
            name: server_service(name, ports[name], run_dir, environ, self.where) for name in names
        }

    def start(self) -> None:
        """Start what does not run; returns when it answers."""
        self._processes.forget_the_dead()
        self._processes.start(self._services)

    def kill(self, name: str) -> None:
        """SIGKILL a server."""
        self._processes.kill(name)

    def down(self) -> None:
        """Stop them all."""
        self._processes.stop(self._services)

    @contextlib.contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Let a server neither answer nor end for a while."""
        pid = self._processes.pids()[name]
        assert pid, f"{name} runs"
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="package")
def servers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the servers keep their data."""
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="package")
def servers(servers_folder: Path) -> Iterator[Endpoints]:
    """Where MongoDB, NATS and SQS are."""
    started = Servers(servers_folder, ("mongodb", "nats", "sqs"))
    with stopped_for_sure(started):
        started.start()
        yield started.where


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[Servers]:
    """A NATS server that a test may kill and start again."""
    started = Servers(tmp_path, ("nats",))
    with stopped_for_sure(started):
        started.start()
        yield started


# ---- the store ----


def new_store(client: MongoClient[Document]) -> MongoStore:
    """The adapter, on a database of its own that has the indexes."""
    name = f"test-{uuid.uuid4().hex}"
    list(migrate(lambda: client, name, now_utc()))
    return MongoStore(lambda: client, name)


@pytest.fixture
def mongo_store(servers: Endpoints) -> Iterator[MongoStore]:
    """The adapter, on a database of its own."""
    with MongoClient[Document](servers.mongodb) as client:
        store = new_store(client)
        yield store
        client.drop_database(store._database)


@pytest.fixture(params=["fake", "real"])
def store(request: pytest.FixtureRequest) -> Store:
    """The store, empty."""
    if request.param == "fake":
        return FakeStore()
    real: Store = request.getfixturevalue("mongo_store")
    return real


Spoil = Callable[[Product, Document], None]


@pytest.fixture
def spoil(store: Store) -> Spoil:
    """Make a stored document unreadable by an update of MongoDB's; of the fake, in one way only."""

    def change(product: Product, update: Document) -> None:
        if isinstance(store, FakeStore):
            store.unreadable.add(product.id)
        else:
            assert isinstance(store, MongoStore)
            assert store._products.update_one({"_id": product.id}, update).modified_count == 1

    return change


@pytest.fixture(params=["fake", "real"])
def store_away(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store that cannot be reached."""
    if request.param == "fake":
        fake = FakeStore()
        fake.away = True
        yield fake
    else:
        uri = f"mongodb://{NOWHERE}/?directConnection=true"
        with MongoClient[Document](uri, serverSelectionTimeoutMS=0) as client:
            yield MongoStore(lambda: client, "test")


# ---- the stream ----

Stream = FakeStream | JetStream


async def _on_nats(url: str, subject: str | None, data: bytes) -> None:
    client = await nats.connect(url)
    try:
        stream = client.jetstream()
        if subject is None:
            await stream.delete_stream(STREAM)
        else:
            await stream.publish(subject, data)
    except NotFoundError:
        assert subject is None, "there is no stream"
    finally:
        await client.close()


@pytest.fixture
def open_stream(servers: Endpoints, servers_folder: Path) -> Iterator[Callable[..., JetStream]]:
    """Open JetStream adapters on the real server, whose stream is not there yet."""
    asyncio.run(_on_nats(servers.nats, None, b""))
    # The server removes what it has put aside in its own time. What is put aside before that is
    # done stays where it was, and the next stream of this name has old messages.
    aside = f"data/nats/jetstream/*/streams/.{STREAM}"
    eventually(lambda: not list(servers_folder.glob(aside)), message="the old stream is gone")
    opened: list[JetStream] = []

    def open_one(url: str = servers.nats, **options: Any) -> JetStream:  # noqa: ANN401 - the adapter's
        opened.append(JetStream(url, **options))
        return opened[-1]

    yield open_one
    for stream in opened:
        stream.close()


class StreamKit:
    """A stream, another consumer of the same stream, and a publisher that is none of ours."""

    def __init__(
        self, stream: Stream, another: Callable[[], Stream], add: Callable[[str, bytes], object]
    ) -> None:
        self.stream = stream
        self.another = another
        self.add = add


@pytest.fixture(params=["fake", "real"])
def kit(request: pytest.FixtureRequest) -> StreamKit:
    """The stream, empty."""
    if request.param == "fake":
        fake = FakeStream(now_utc)
        return StreamKit(fake, fake.another_consumer, fake.add)
    servers: Endpoints = request.getfixturevalue("servers")
    open_one: Callable[..., JetStream] = request.getfixturevalue("open_stream")
    return StreamKit(
        open_one(),
        lambda: open_one(durable="other"),
        lambda subject, data: asyncio.run(_on_nats(servers.nats, subject, data)),
    )


# ---- the queue ----


def impatient_sqs(endpoint: str) -> SQSClient:
    """A client that gives up quickly."""
    return sqs_client(endpoint, connect_timeout=1, retries={"total_max_attempts": 1})


class SqsKit:
    """A pair of queues of its own on an SQS, and the adapter on it."""

    def __init__(self, client: SQSClient) -> None:
        self.client = client
        name = f"test-{uuid.uuid4().hex}"
        self.dlq_url = client.create_queue(QueueName=f"{name}-dlq")["QueueUrl"]
        attributes = client.get_queue_attributes(QueueUrl=self.dlq_url, AttributeNames=["QueueArn"])
        redrive = {
            "deadLetterTargetArn": attributes["Attributes"]["QueueArn"],
            "maxReceiveCount": MAX_RECEIVES,
        }
        self.queue_url = client.create_queue(
            QueueName=name,
            Attributes={"RedrivePolicy": json.dumps(redrive), "VisibilityTimeout": "60"},
        )["QueueUrl"]
        self.queue = SqsQueue(lambda: client, self.queue_url, self.dlq_url)


@pytest.fixture
def sqs(servers: Endpoints, monkeypatch: pytest.MonkeyPatch) -> SqsKit:
    """The adapter on the real server; it does not wait for dead letters, which are all there."""
    monkeypatch.setattr("chalicelib.adapters.sqs.SWEEP_WAIT_SECONDS", 0)
    return SqsKit(impatient_sqs(servers.sqs))


@pytest.fixture(params=["fake", "real"])
def queue(request: pytest.FixtureRequest) -> FakeQueue | SqsQueue:
    """The queue and its dead-letter queue, empty; three receives, and a message is dead."""
    if request.param == "fake":
        return FakeQueue(now_utc, max_receive_count=MAX_RECEIVES)
    kit: SqsKit = request.getfixturevalue("sqs")
    return kit.queue


@pytest.fixture(params=["fake", "real"])
def queue_away(request: pytest.FixtureRequest) -> FakeQueue | SqsQueue:
    """A queue that cannot be reached."""
    if request.param == "fake":
        fake = FakeQueue(now_utc)
        fake.away = True
        return fake
    url = f"http://{NOWHERE}/000000000000/product-sync"
    return SqsQueue(lambda: impatient_sqs(f"http://{NOWHERE}"), url, f"{url}-dlq")
