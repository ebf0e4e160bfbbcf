"""The health check of containers as a process."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from embedded.services import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("begun", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_tells(tmp_path: Path, *, begun: bool, code: int) -> None:
    heartbeat = tmp_path / "heartbeat"
    if begun:
        heartbeat.touch()
    command = [sys.executable, "-m", "functions.alive", str(heartbeat)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (answer.returncode, bool(answer.stderr)) == (code, not begun)
