"""The running API for clients that know nothing but its OpenAPI document."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import requests

from tests.unit.conftest import a_token

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


class Served(NamedTuple):
    """Where the API is, and a token that may do everything."""

    url: str
    token: str

    @property
    def document(self) -> str:
        """The address of the OpenAPI document."""
        return f"{self.url}/openapi.json"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The app on the fakes, on a real socket of the container host's web server."""
    log = tmp_path_factory.mktemp("served") / "log"
    # Listens before the server runs, so that nobody has to wait for it or for a free port.
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener, log.open("w") as output:
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.clients.served", str(listener.fileno())],
            cwd=ROOT,
            env={**os.environ, "LOG_LEVEL": "ERROR"},
            pass_fds=[listener.fileno()],
            stdout=output,
            stderr=output,
        )
    try:
        scopes = ("products:read", "products:write", "sync:admin")
        token = a_token(*scopes, exp=int(time.time()) + 3600)
        api = Served(f"http://127.0.0.1:{port}/api", token)
        # Its first answer waits for its imports, longer than some client may.
        requests.get(api.document, timeout=60).raise_for_status()
        yield api
    finally:
        # Gunicorn's quick end: a client may still hold its connection.
        process.send_signal(signal.SIGQUIT)
        process.wait(20)
