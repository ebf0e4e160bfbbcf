"""In CI a skipped test fails the run, in one process and in several; elsewhere it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from embedded.services import ROOT

if TYPE_CHECKING:
    from pathlib import Path

A_TEST = "import pytest\ndef test_it(): pytest.skip('no tool')\n"
A_FILE = "import pytest\npytest.skip('no system', allow_module_level=True)\n"
ALLOWED = "import pytest\ndef test_it(): pytest.skip('allowed in CI: decided')\n"


def run(
    folder: Path, *contents: str, ci: str, processes: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run files of tests beside one that passes, with the guard of tests/conftest.py."""
    (folder / "test_passes.py").write_text("def test_it(): pass\n")
    for number, content in enumerate(contents):
        (folder / f"test_{number}.py").write_text(content)
    plugins = ["-p", "tests.conftest", "-p", "xdist.plugin", "-p", "no:cacheprovider"]
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-c",
            "/dev/null",
            *plugins,
            "-n",
            str(processes),
            str(folder),
        ],
        cwd=ROOT,
        # Whatever else is installed would only take its time.
        env={"PATH": os.environ["PATH"], "CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("processes", [0, 2])
def test_a_skip_fails_the_run_in_ci_and_is_named(tmp_path: Path, processes: int) -> None:
    done = run(tmp_path, A_TEST, A_FILE, ci="true", processes=processes)
    assert done.returncode == 1, done.stdout
    _, named = done.stdout.split("skipped in CI: the run fails")
    assert "test_0.py::test_it: no tool" in named
    assert "test_1.py: no system" in named


@pytest.mark.parametrize(("content", "ci"), [(ALLOWED, "true"), (A_TEST, "")])
def test_a_skip_that_is_allowed_or_outside_of_ci_fails_nothing(
    tmp_path: Path, content: str, ci: str
) -> None:
    done = run(tmp_path, content, ci=ci)
    assert done.returncode == 0, done.stdout
    assert "1 passed, 1 skipped" in done.stdout
