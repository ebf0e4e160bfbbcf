"""What the containers of a developer's stack run besides the roles, as processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import jwt

from embedded.services import ROOT
from tests.support import eventually
from tests.unit.conftest import ENVIRONMENT, SECRET

if TYPE_CHECKING:
    from pathlib import Path


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


def test_a_token_is_signed_with_the_secret_of_the_stack() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "embedded.sign_token"],
        env=ENVIRONMENT,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    claims = jwt.decode(answer.stdout.strip(), SECRET, algorithms=["HS256"])
    assert "sync:admin" in claims["scope"]
