"""The Prometheus rules on Prometheus's own engine, where promtool is installed."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tools.prometheus_rules import ROOT, RULES

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = RULES.parent
pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool, of Debian's package prometheus"
)


def promtool(*arguments: str | Path) -> str:
    """Nothing, or what promtool finds wrong."""
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_prometheus_can_read_the_rules() -> None:
    assert promtool("check", "rules", RULES) == ""


def test_outages_raise_the_alerts_that_they_should() -> None:
    assert promtool("test", "rules", FOLDER / "rules_test.yaml") == ""
