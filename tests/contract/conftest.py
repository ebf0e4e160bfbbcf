"""The real servers, once per process, and each port as its fake and as its adapter.

They are the embedded ones; with `--servers-of-environment`, those that the environment names.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from pymongo import MongoClient

from chalicelib.adapters.jetstream import JetStream
from chalicelib.adapters.mongo.documents import Document
from chalicelib.adapters.mongo.migration import migrate
from chalicelib.adapters.mongo.store import MongoStore
from chalicelib.adapters.sqs import SqsQueue
from chalicelib.bootstrap import _sqs_client
from chalicelib.domain.product import Product
from chalicelib.domain.times import now_utc
from embedded.processes import free_port
from embedded.servers import ServerProcesses
from embedded.services import Endpoints, endpoints, server_service, sqs_client
from tests.contract.guarded_nats import Permitted, permitting, running
from tests.contract.services import (
    SQS_SETTLE_SECONDS,
    VARIABLES,
    Databases,
    LeftOut,
    Nats,
    Queues,
    Streams,
    find,
    must_answer,
    servers_of,
)
from tests.fakes import FakeQueue, FakeStore, FakeStream
from tests.support import frozen, stack_environment, stopped_for_sure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mypy_boto3_sqs import SQSClient

    from chalicelib.usecases.ports import Store

MAX_RECEIVES = 3
NOWHERE = "127.0.0.1:9"
"""The discard port: nothing listens there."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Not without being asked: somebody's MONGODB_URI is no database for `make test`."""
    parser.addoption(
        "--servers-of-environment",
        action="store_true",
        help=f"run the contract tests on the servers in {', '.join(VARIABLES.values())}",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Leave out the tests of the embedded servers where the environment names others."""
    if servers := servers_of(config):
        config.pluginmanager.register(LeftOut(servers))


class Servers:
    """Some servers of the embedded stack, without the rest of it."""

    def __init__(self, run_dir: Path, names: tuple[str, ...]) -> None:
        environ = stack_environment(os.environ, {"SUPPLY_CHAIN_URL": f"http://{NOWHERE}"})
        ports = {"api": 0, **{name: free_port() for name in ("mongodb", "nats", "sqs")}}
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
        with frozen(pid):
            yield


@pytest.fixture(scope="package")
def elsewhere(pytestconfig: pytest.Config) -> dict[str, str]:
    """The servers of the environment, by their addresses; the others are the embedded ones."""
    return servers_of(pytestconfig)


@pytest.fixture(scope="package")
def servers(
    tmp_path_factory: pytest.TempPathFactory, elsewhere: dict[str, str]
) -> Iterator[Endpoints]:
    """Where MongoDB, NATS and SQS are."""
    embedded = tuple(name for name in VARIABLES if name not in elsewhere)
    started = Servers(tmp_path_factory.mktemp("servers"), embedded)
    with stopped_for_sure(started):
        started.start()
        field = {"mongodb": "mongodb", "nats": "nats", "sqs": "queue"}
        given = {field[name]: address for name, address in elsewhere.items()}
        yield replace(started.where, **given)


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[Servers]:
    """A NATS server that a test may kill and start again."""
    started = Servers(tmp_path, ("nats",))
    with stopped_for_sure(started):
        started.start()
        yield started


# ---- the store ----


@pytest.fixture(scope="package")
def databases(servers: Endpoints) -> Iterator[Databases]:
    """The MongoDB server."""
    with MongoClient[Document](servers.mongodb) as client:
        must_answer("mongodb", lambda: client.admin.command("ping"))
        made = Databases(client)
        yield made
        made.names.remove_the_rest()


def new_store(client: MongoClient[Document], name: str) -> MongoStore:
    """The adapter, on a database with this name, in which it makes the indexes."""
    list(migrate(lambda: client, name, now_utc()))
    return MongoStore(lambda: client, name)


@pytest.fixture
def mongo_store(databases: Databases) -> Iterator[MongoStore]:
    """The adapter, on a database of its own."""
    with databases.names.one() as name:
        yield new_store(databases.client, name)


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


@pytest.fixture(scope="package")
def nats_server(servers: Endpoints, elsewhere: dict[str, str]) -> Iterator[Nats]:
    """The NATS server."""
    given = os.environ if "nats" in elsewhere else {}
    limit = given.get("NATS_STREAM_MAX_BYTES")
    credentials = given.get("NATS_CREDENTIALS") or None
    server = Nats(servers.nats, credentials, int(limit) if limit else None)
    must_answer("nats", lambda: server.ask(lambda client: client.jetstream().account_info()))
    yield server
    server.names.remove_the_rest()


@pytest.fixture
def open_stream(nats_server: Nats) -> Iterator[Streams]:
    """Open JetStream adapters on a stream of their own, which is not there yet."""
    with nats_server.names.one() as name:
        streams = Streams(nats_server, name)
        yield streams
        for stream in streams.opened:
            stream.close()


@pytest.fixture(scope="package")
def permitting_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server on which each user may do only what the documentation says."""
    port = free_port()
    config, environment = permitting(tmp_path_factory.mktemp("permitting"), port)
    with running(config, port, environment):
        yield port


@pytest.fixture
def permitted(permitting_port: int) -> Iterator[Permitted]:
    """The catalog's stream there, empty."""
    stream = Permitted(permitting_port)
    stream.make()
    yield stream
    stream.close()
    stream.remove()


class StreamKit:
    """A stream, another consumer of the same stream, and a publisher that is none of ours."""

    def __init__(
        self,
        stream: Stream,
        another: Callable[[], Stream],
        add: Callable[[str, bytes], object],
        prefix: str = "",
    ) -> None:
        """`prefix`: what the stream's subjects begin with; `add` takes a subject without it."""
        self.stream = stream
        self.another = another
        self.add = add
        self.prefix = prefix


@pytest.fixture(params=["fake", "real"])
def kit(request: pytest.FixtureRequest) -> StreamKit:
    """The stream, empty."""
    if request.param == "fake":
        fake = FakeStream(now_utc)
        return StreamKit(fake, fake.another_consumer, fake.add)
    if not request.getfixturevalue("elsewhere").get("nats"):
        # With no more rights than docs/nats-permissions.conf gives.
        permitted: Permitted = request.getfixturevalue("permitted")
        return StreamKit(
            permitted.open("catalog"), lambda: permitted.open("listener"), permitted.publish
        )
    streams: Streams = request.getfixturevalue("open_stream")
    return StreamKit(
        streams(), lambda: streams(consumer="other"), streams.publish, prefix=streams.prefix
    )


# ---- the queue ----


def impatient_sqs(endpoint: str) -> SQSClient:
    """A client that gives up quickly."""
    return sqs_client(endpoint, connect_timeout=1, retries={"total_max_attempts": 1})


class SqsKit:
    """A pair of queues of its own on an SQS, and the adapter on it."""

    def __init__(self, queues: Queues, name: str, dlq_name: str) -> None:
        self.client = queues.client
        self.dlq_url = queues.create(dlq_name, {})
        redrive = {
            "deadLetterTargetArn": queues.arn(self.dlq_url),
            "maxReceiveCount": MAX_RECEIVES,
        }
        self.queue_url = queues.create(
            name, {"RedrivePolicy": json.dumps(redrive), "VisibilityTimeout": "60"}
        )
        queues.settle()
        self.queue = SqsQueue(lambda: self.client, self.queue_url, self.dlq_url)


@pytest.fixture(scope="package")
def queues(servers: Endpoints, elsewhere: dict[str, str]) -> Iterator[Queues]:
    """The SQS."""
    if "sqs" in elsewhere:
        # As the product does: the region, the credentials and AWS_ENDPOINT_URL_SQS are boto3's.
        client = _sqs_client()
        must_answer("sqs", lambda: find(client, servers.queue))
        made = Queues(client, servers.queue, SQS_SETTLE_SECONDS)
    else:
        made = Queues(impatient_sqs(servers.sqs), servers.queue)
    yield made
    made.names.remove_the_rest()


@pytest.fixture
def sqs(
    queues: Queues, elsewhere: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[SqsKit]:
    """The adapter on the real server."""
    if "sqs" in elsewhere:
        monkeypatch.setattr("tests.contract.queue.steps.LOOK_SECONDS", 1)
    else:
        # The embedded server finds all messages at once.
        monkeypatch.setattr("chalicelib.adapters.sqs.SWEEP_WAIT_SECONDS", 0)
    with queues.names.one() as dlq_name, queues.names.one() as name:
        yield SqsKit(queues, name, dlq_name)


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
