"""What the containers of a developer's stack run besides the roles: queues, and tokens."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import jwt
import pytest

from chalicelib.settings import Settings, read_settings
from embedded import queues
from embedded.services import ROOT, StackError
from tests.support import eventually
from tests.unit.conftest import ENVIRONMENT, SECRET

if TYPE_CHECKING:
    from pathlib import Path


def run(module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_queues_are_made_until_told_to_stop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    heartbeat, stopping = tmp_path / "heartbeat", threading.Event()
    seen: list[tuple[str, int, bool]] = []
    settings = read_settings(ENVIRONMENT)

    def create(endpoint: str, given: Settings) -> None:
        seen.append((endpoint, given.sync_max_attempts, heartbeat.exists()))
        if len(seen) == 2:
            raise StackError("the server is away")
        if len(seen) == 4:
            stopping.set()

    monkeypatch.setattr(queues, "stopping", stopping)
    monkeypatch.setattr(queues, "LOOK_SECONDS", 0)
    monkeypatch.setattr(queues, "create_queues", create)
    queues.look_after("http://sqs:4566", settings, heartbeat)
    # The file is there after a success and gone after a failure.
    assert seen == [("http://sqs:4566", 18, there) for there in (False, True, False, True)]


def test_the_keeper_of_the_queues_ends_when_told_to(tmp_path: Path) -> None:
    arguments = ("http://127.0.0.1:1", "--heartbeat", str(tmp_path / "heartbeat"))
    keeper = subprocess.Popen(
        [sys.executable, "-m", "embedded.queues", *arguments],
        env=ENVIRONMENT,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    with keeper:
        assert keeper.stderr is not None
        assert "cannot make the queues" in eventually(keeper.stderr.readline, 30)
        keeper.send_signal(signal.SIGTERM)
        assert keeper.wait(20) == 0


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("embedded.queues", ["http://127.0.0.1:1", "--heartbeat", "/nowhere"]),
        ("embedded.sign_token", []),
    ],
)
def test_settings_that_are_not_usable_are_named(module: str, arguments: list[str]) -> None:
    answer = run(module, *arguments)
    assert answer.returncode == 2
    assert "MONGODB_URI" in answer.stderr


def test_a_token_is_signed_with_the_secret_of_the_stack() -> None:
    answer = run("embedded.sign_token", **ENVIRONMENT)
    assert answer.returncode == 0, answer.stderr
    claims = jwt.decode(answer.stdout.strip(), SECRET, algorithms=["HS256"])
    assert "sync:admin" in claims["scope"]


def test_without_a_secret_there_is_no_token() -> None:
    environment = {name: v for name, v in ENVIRONMENT.items() if name != "CATALOG_JWT_SECRET"}
    answer = run("embedded.sign_token", CATALOG_JWKS_URL="https://keys.example.com", **environment)
    assert answer.returncode == 2
    assert "CATALOG_JWKS_URL" in answer.stderr
