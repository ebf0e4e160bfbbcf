"""The command line as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from embedded.services import ROOT
from tests.http import refused_port

if TYPE_CHECKING:
    from pathlib import Path


def catalogctl(
    *arguments: str, folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run it in another folder than that of the project."""
    return subprocess.run(
        [sys.executable, "-m", "catalogctl", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_error_is_a_line_and_an_exit_code(tmp_path: Path) -> None:
    api = f"http://127.0.0.1:{refused_port()}/api"
    ended = catalogctl("resume", folder=tmp_path, CATALOG_API=api, CATALOG_TOKEN="x")
    assert ended.returncode == 4
    assert ended.stderr.startswith(f"error: {api}/sync/control cannot be reached")
    assert len(ended.stderr.splitlines()) == 1


def test_commands_are_completed(tmp_path: Path) -> None:
    words = {"COMP_WORDS": "catalogctl re", "COMP_CWORD": "1"}
    ended = catalogctl(folder=tmp_path, _CATALOGCTL_COMPLETE="complete_bash", **words)
    assert ended.stdout.split() == ["replay", "redrive", "resume", "republish", "restore"]
