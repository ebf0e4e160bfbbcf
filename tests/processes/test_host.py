"""The container host as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import requests

from embedded.processes import free_port
from embedded.services import ROOT
from functions import run
from tests.http import ScriptedServer, refused_port
from tests.support import eventually
from tests.unit.conftest import ENVIRONMENT, SECRET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


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
