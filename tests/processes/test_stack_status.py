"""The status of a running stack."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest

from embedded import stack
from embedded.servers import ServerProcesses
from embedded.services import Service
from embedded.stack import Stack
from tests.http import ScriptedServer
from tests.unit.test_stack_reports import CANARY, ready

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLEEPER = (sys.executable, "-c", "import time; time.sleep(60)")


@pytest.fixture
def running(tmp_path: Path, server: ScriptedServer) -> Iterator[Stack]:
    """A stack of two processes that do nothing, and an API that the test answers for."""
    processes = ServerProcesses(tmp_path)
    service = Service(SLEEPER, os.environ, lambda: None)
    processes.start({"api": service, "nats": service})
    own = Stack(tmp_path, {})
    info = {
        "api": server.url,
        "supplyChain": "http://127.0.0.1:2",
        "mongodb": f"mongodb://user:{CANARY}@127.0.0.1:3",
        "store": "of MONGODB_URI",
        "nats": "nats://127.0.0.1:4",
        "queueUrl": "http://127.0.0.1:5/q",
        "token": CANARY,
        "processes": processes.pids(),
    }
    (tmp_path / "stack.json").write_text(json.dumps(info))
    yield own
    processes.stop(["api", "nats"])


def test_the_status_of_a_whole_stack_is_0(
    running: Stack, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers.append(ready("degraded", mongodb="ok", nats="unreachable", sqs="ok"))
    assert stack.run("status", running) == 0
    told = capsys.readouterr().out
    assert f"api           running, pid {running.status()['api']}\n" in told
    assert "ready         degraded (nats: unreachable)\n" in told
    assert "mongodb://127.0.0.1:3" in told
    assert CANARY not in told


def test_the_status_is_1_when_a_process_has_ended(
    running: Stack, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers.append(ready("ok", mongodb="ok"))
    running.kill("nats")
    assert stack.run("status", running) == 1
    assert "nats          ended\n" in capsys.readouterr().out


def test_the_status_is_1_when_the_api_is_not_ready(
    running: Stack, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers.append(ready("away", mongodb="unreachable"))
    assert stack.run("status", running) == 1
    assert "ready         away (mongodb: unreachable)\n" in capsys.readouterr().out


def test_the_status_is_1_when_up_has_not_come_to_its_end(
    running: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    (running.run_dir / "stack.json").unlink()
    assert stack.run("status", running) == 1
    assert "run it again" in capsys.readouterr().out
