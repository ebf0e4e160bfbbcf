"""What the containers of a developer's stack run besides the roles, as processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from embedded.services import ROOT
from tests.support import eventually
from tests.unit.conftest import ENVIRONMENT

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
