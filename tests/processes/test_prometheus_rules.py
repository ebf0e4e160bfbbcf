"""The Prometheus rules on Prometheus's own engine, where promtool is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

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


def test_prometheus_understands_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    panels = json.loads((FOLDER.parent / "grafana" / "dashboard.json").read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel["targets"]]
    rules = [
        {"record": f"panel:{number}", "expr": text.replace("$__rate_interval", "1m")}
        for number, text in enumerate(found)
    ]
    path = tmp_path / "panels.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert promtool("check", "rules", path) == ""
