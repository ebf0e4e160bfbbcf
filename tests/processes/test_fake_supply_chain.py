"""The fake supply chain as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import requests

from embedded.processes import free_port
from tests.support import eventually
from tests.unit.fake_supply_chain.client import DEADLINE_SECONDS, Client

if TYPE_CHECKING:
    from pathlib import Path


def start(*flags: str, port: int) -> tuple[subprocess.Popen[bytes], Client]:
    command = [sys.executable, "-m", "embedded.fake_supply_chain", "--port", str(port), *flags]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    client = Client(f"http://127.0.0.1:{port}")
    eventually(lambda: process.poll() is not None or is_up(client))
    return process, client


def is_up(client: Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except requests.ConnectionError:
        return False


def test_a_stored_product_survives_sigkill(tmp_path: Path) -> None:
    flags = ("--state", str(tmp_path / "state"), "--failure-rate", "0")
    port = free_port()
    process, client = start(*flags, port=port)
    client.post(version=4)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(DEADLINE_SECONDS)
    process, client = start(*flags, port=port)
    assert client.held()[0]["version"] == 4
    process.terminate()
    process.wait(DEADLINE_SECONDS)


def test_sigterm_stops_it_at_once_with_exit_code_0_while_a_call_is_held() -> None:
    flags = ("--failure-rate", "1", "--kinds", "timeout")
    process, client = start(*flags, port=free_port())
    client.control(timeoutSeconds=60)
    with pytest.raises(requests.ReadTimeout):
        client.post(timeout=0.2, version=0)
    process.terminate()
    assert process.wait(2) == 0


@pytest.mark.parametrize("flags", [("--failure-rate", "2"), ("--kinds", "http_500,nonsense")])
def test_wrong_flags_are_a_usage_error(flags: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "embedded.fake_supply_chain", "--port", "0", *flags]
    done = subprocess.run(command, capture_output=True, timeout=DEADLINE_SECONDS, check=False)
    assert done.returncode == 2
    assert b"must be" in done.stderr
