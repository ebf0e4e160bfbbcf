"""The app with its ports in memory, for the tests of the API, the document and the handlers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

import jwt
import pytest

import app as api
from chalicelib.bootstrap import Container
from chalicelib.http.wsgi import Gateway
from chalicelib.settings import read_settings
from tests.fakes import Pipeline
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
PORTS = ("store", "stream", "queue", "supply_chain")
USE_CASES = (
    "outbox",
    "catalog",
    "operations",
    "acts",
    "audits",
    "restores",
    "undelivered",
    "bridge",
    "sync",
    "reconcile",
)


def a_token(*scopes: str, secret: str = SECRET, **claims: object) -> str:
    """A token with these scopes, good for a minute."""
    content = {"sub": "tester", "exp": int(time.time()) + 60, "scope": " ".join(scopes), **claims}
    return jwt.encode(content, secret, algorithm="HS256")


class World(Pipeline):
    """The app and the handlers around a pipeline: their container has its ports and use cases."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = Container(read_settings(ENVIRONMENT))
        vars(self.parts).update({name: getattr(self, name) for name in PORTS + USE_CASES})
        self.gateway = cast("WSGIApplication", Gateway(api.app))
        self.client = self.client_with("products:read", "products:write", "sync:admin")

    def client_with(self, *scopes: str) -> WsgiClient:
        """A client whose token carries these scopes."""
        return WsgiClient(self.gateway, a_token(*scopes))


@pytest.fixture(autouse=True, scope="package")
def no_processes() -> Iterator[None]:
    """A unit test that starts a process fails: tests/processes is where such tests are."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a unit test starts no process")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("subprocess.Popen.__init__", refuse)
        yield


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """The app and the handlers, with every port in memory."""
    made = World()
    for module in ("app", "functions.bridge", "functions.sync", "functions.reconcile"):
        monkeypatch.setattr(f"{module}.container", lambda: made.parts)
    return made


@pytest.fixture
def pipeline() -> Pipeline:
    """The use cases on the fakes."""
    return Pipeline()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server whose answers the test writes."""
    with ScriptedServer() as scripted:
        yield scripted
