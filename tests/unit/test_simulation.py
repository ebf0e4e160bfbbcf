"""The deterministic simulation keeps its promises for some seeds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_simulation_breaks_no_promise() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "simulation", "--seeds", "60", "--trace", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert re.search(r"^60 seeds, 0 broken,", ended.stdout, re.MULTILINE)
