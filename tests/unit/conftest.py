"""The app with its ports in memory, for the tests of the API, the document and the handlers."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, cast

import jwt
import pytest

import app as api
from chalicelib import telemetry
from chalicelib.adapters.mongo.documents import new_product_id
from chalicelib.bootstrap import Container
from chalicelib.domain.retry import Schedule
from chalicelib.http.wsgi import Gateway
from chalicelib.settings import read_settings
from chalicelib.usecases.catalog import Catalog
from chalicelib.usecases.outbox import Outbox
from chalicelib.usecases.reconcile import Reconcile
from chalicelib.usecases.sync import Sync, SyncPolicy
from tests.fakes import GRACE, FakeClock, FakeQueue, FakeStore, FakeStream, FakeSupplyChain
from tests.http import ScriptedServer, WsgiClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from wsgiref.types import WSGIApplication

SECRET = "a secret of at least thirty-two characters"
ENVIRONMENT = {
    "MONGODB_URI": "mongodb://127.0.0.1:1",
    "NATS_URL": "nats://127.0.0.1:1",
    "SYNC_QUEUE_URL": "http://127.0.0.1:1/1/product-sync",
    "SYNC_DLQ_URL": "http://127.0.0.1:1/1/product-sync-dlq",
    "SUPPLY_CHAIN_URL": "http://127.0.0.1:1",
    "CATALOG_JWT_SECRET": SECRET,
}
"""What must be set, and nobody there: a test that reaches for the network fails."""

POLICY = SyncPolicy(Schedule(), lease=timedelta(seconds=70), grace=GRACE, concurrency=10)


def a_token(*scopes: str, secret: str = SECRET, **claims: object) -> str:
    """A token with these scopes, good for a minute."""
    content = {"sub": "tester", "exp": int(time.time()) + 60, "scope": " ".join(scopes), **claims}
    return jwt.encode(content, secret, algorithm="HS256")


@dataclass
class World:
    """The app, and everything around it in memory."""

    parts: Container
    store: FakeStore
    stream: FakeStream
    queue: FakeQueue
    supply_chain: FakeSupplyChain
    clock: FakeClock
    gateway: WSGIApplication
    client: WsgiClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.client_with("products:read", "products:write", "sync:admin")

    def client_with(self, *scopes: str) -> WsgiClient:
        """A client whose token carries these scopes."""
        return WsgiClient(self.gateway, a_token(*scopes))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """The container of `app` and of the handlers, with every port in memory."""
    clock = FakeClock()
    store, stream, queue = FakeStore(), FakeStream(clock), FakeQueue(clock)
    supply_chain = FakeSupplyChain(clock)
    outbox = Outbox(store, stream)
    parts = Container(read_settings(ENVIRONMENT))
    vars(parts).update(
        store=store,
        stream=stream,
        queue=queue,
        supply_chain=supply_chain,
        outbox=outbox,
        sync=Sync(store, queue, outbox, supply_chain, POLICY, clock=clock, jitter=lambda: 0.0),
        catalog=Catalog(store, outbox, queue, clock=clock, grace=GRACE, new_id=new_product_id),
        reconcile=Reconcile(store, queue, outbox, clock=clock, grace=GRACE),
    )
    for module in ("app", "functions.bridge", "functions.sync", "functions.reconcile"):
        monkeypatch.setattr(f"{module}.container", lambda: parts)
    gateway = cast("WSGIApplication", Gateway(api.app))
    return World(parts, store, stream, queue, supply_chain, clock, gateway)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server whose answers the test writes."""
    with ScriptedServer() as scripted:
        yield scripted


@pytest.fixture
def log_stream(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the log writes; left alone, it keeps the stdout of its import."""
    stream = io.StringIO()
    monkeypatch.setattr(telemetry.log.registered_handler, "stream", stream)
    return stream
