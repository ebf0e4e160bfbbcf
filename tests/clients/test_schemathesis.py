"""schemathesis sends what the OpenAPI document allows and what it does not, and judges the answers.

EXAMPLES is the number of generated requests per operation and phase: make test-api EXAMPLES=100.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients.conftest import ROOT

if TYPE_CHECKING:
    from tests.clients.conftest import Served
    from tests.support import Json

EXAMPLES = os.environ.get("EXAMPLES", "2")


@pytest.fixture(scope="module")
def report(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Json:
    """What one run has found."""
    file = tmp_path_factory.mktemp("schemathesis") / "report.json"
    command: list[str | Path] = [
        Path(sys.executable).with_name("schemathesis"),
        *("--config-file", Path(__file__).with_name("schemathesis.toml")),
        *("run", served.document, "--checks", "all", "--max-examples", EXAMPLES, "--no-color"),
        *("--report-json-path", file),
    ]
    run = subprocess.run(
        command,
        # Its hooks are found from here.
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CATALOG_TOKEN": served.token},
        capture_output=True,
        text=True,
        check=False,
    )
    assert file.exists(), run.stdout + run.stderr
    found: Json = json.loads(file.read_text())
    return {**found, "output": run.stdout, "exit_code": run.returncode}


def test_no_failure_is_left_unexplained(report: Json) -> None:
    assert report["exit_code"] == 0, report["output"]
    assert report["test_cases"]["generated"] > 100


@pytest.mark.parametrize("phase", ["examples", "coverage", "fuzzing", "stateful"])
def test_every_phase_has_run(report: Json, phase: str) -> None:
    assert report["phases"][phase] == {"status": "success", "skip_reason": None}


def test_of_every_operation_valid_requests_were_accepted(report: Json) -> None:
    accepted = {
        operation: sum(phase["accepted"] for phase in phases.values())
        for operation, phases in report["valid_rates"].items()
    }
    # All but the document itself, which it has read.
    assert len(accepted) == report["operations"]["total"]
    # Refused while writes are accepted: test_api_restore.py.
    assert accepted.pop("POST /sync/restore") == 0
    assert all(accepted.values()), accepted
