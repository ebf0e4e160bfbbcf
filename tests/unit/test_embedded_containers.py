"""x."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pytest

from chalicelib.settings import Settings, read_settings
from embedded import queues
from embedded.services import StackError
from tests.unit.conftest import ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path


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


def test_settings_that_are_not_usable_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MONGODB_URI", raising=False)
    arguments = ["command", "http://127.0.0.1:1", "--heartbeat", "/nowhere"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert queues.main() == 2
    assert "MONGODB_URI" in capsys.readouterr().err
