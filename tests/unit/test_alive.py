"""The health check of containers says whether a role is alive, and why it is not."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from functions import alive, run
from tests.http import ScriptedServer, refused_port, reply

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import World


@pytest.fixture
def heartbeat(tmp_path: Path) -> Path:
    return tmp_path / "heartbeat"


def test_a_role_that_has_not_begun_is_not_alive(heartbeat: Path) -> None:
    assert "no heartbeat" in (alive.fault(heartbeat) or "")


def test_a_loop_that_goes_round_is_alive(heartbeat: Path) -> None:
    heartbeat.touch()
    assert alive.fault(heartbeat) is None


def test_a_loop_that_hangs_is_not_alive(heartbeat: Path) -> None:
    heartbeat.touch()
    long_ago = time.time() - alive.STALE_SECONDS - 5
    os.utime(heartbeat, (long_ago, long_ago))
    assert alive.fault(heartbeat) == f"no heartbeat for {alive.STALE_SECONDS + 5} s"


def test_an_api_that_answers_is_alive(heartbeat: Path, server: ScriptedServer) -> None:
    server.answers.append(reply(200))
    heartbeat.write_text(f"127.0.0.1:{server.port}")
    assert alive.fault(heartbeat) is None


def test_an_api_that_answers_with_an_error_is_not_alive(
    heartbeat: Path, server: ScriptedServer
) -> None:
    server.answers.append(reply(500))
    heartbeat.write_text(f"127.0.0.1:{server.port}")
    assert "answers 500" in (alive.fault(heartbeat) or "")


def test_an_api_that_does_not_answer_is_not_alive(heartbeat: Path) -> None:
    heartbeat.write_text(f"127.0.0.1:{refused_port()}")
    assert "does not answer" in (alive.fault(heartbeat) or "")


@pytest.mark.parametrize("role", ["bridge", "sync", "reconcile"])
def test_every_loop_shows_that_it_goes_round(
    world: World, monkeypatch: pytest.MonkeyPatch, heartbeat: Path, role: str
) -> None:
    monkeypatch.setattr(run.heartbeat, "path", heartbeat)
    monkeypatch.setattr(run, "stopping", threading.Event())
    monkeypatch.setattr(run, "load", lambda _: lambda *_: run.stopping.set())
    monkeypatch.setattr(run, "receive", lambda *_: [{}])
    monkeypatch.setattr(run, "handle", lambda *_: run.stopping.set())
    monkeypatch.setattr(run, "container", lambda: world.parts)
    run.ROLES[role](world.parts)
    assert heartbeat.read_text() == ""


@pytest.mark.parametrize(
    ("host", "asked"),
    [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("10.1.2.3", "10.1.2.3")],  # noqa: S104
)
def test_the_api_shows_where_it_can_be_asked(
    world: World, monkeypatch: pytest.MonkeyPatch, heartbeat: Path, host: str, asked: str
) -> None:
    monkeypatch.setattr(run.heartbeat, "path", heartbeat)
    monkeypatch.setattr("functions.server.serve", lambda *_: None)
    world.parts.settings = world.parts.settings.model_copy(
        update={"api_host": host, "api_port": 8001}
    )
    run.run_api(world.parts)
    assert heartbeat.read_text() == f"{asked}:8001"


def test_a_heartbeat_that_cannot_be_written_is_logged_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run.heartbeat, "path", tmp_path)
    run.heartbeat.beat()
    assert "no heartbeat" in capsys.readouterr().out


def test_without_a_file_nothing_is_written(heartbeat: Path) -> None:
    run.Heartbeat().beat()
    assert not heartbeat.exists()
