"""What runs pods says what it lacks, and hands on what it is given."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.kubernetes import pods
from tests.kubernetes.cluster import ROOT, render

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("tool", pods.TOOLS)
def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch, tool: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: None if name == tool else f"/bin/{name}")
    assert tool in pods.missing()


def test_missing_rights_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "needs root" in pods.missing()


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_without_its_tools_the_run_says_so_and_fails_only_in_ci(ci: str, code: int) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rs"]
    command += ["-p", "pytest_timeout"]
    answer = subprocess.run(
        [*command, "tests/kubernetes/running.py"],
        cwd=ROOT,
        # No program is found there; any other plugin that is installed would only take its time.
        env={"PATH": "/nowhere", "CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "running the pods needs" in answer.stdout
    assert answer.returncode == code, answer.stdout


@pytest.mark.parametrize(("text", "amount"), [("16Mi", 16 * 1024**2), ("2Gi", 2 * 1024**3)])
def test_amounts_of_memory_are_understood(text: str, amount: int) -> None:
    assert pods.quantity(text) == amount


def test_the_way_to_the_packages_is_handed_to_the_build(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://packages.example/simple\ncert = /ca.pem\n")
    for name in [it for it in os.environ if it.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_FIND_LINKS", "/only/here")
    options, files = pods.pip_options()
    assert options["index-url"] == "https://packages.example/simple"
    assert files == ["/ca.pem"]
    assert "find-links" not in options


def test_the_options_of_podman_say_what_the_manifest_says(tmp_path: Path) -> None:
    cluster = render("development")
    pod = pods.Pod(pods.Podman(tmp_path), cluster, cluster.get("Deployment", "sync"))
    pod.folders = {"tmp": tmp_path / "a", "code": tmp_path / "b"}
    options = pod._options(pod.containers[0])
    assert options[-2:] == ["product-catalog:1.0.0", "sync"]
    assert {
        "--user=10001:10001",
        "--cap-drop=all",
        "--security-opt=no-new-privileges",
        "--read-only",
        "--read-only-tmpfs=false",
        "--env=SUPPLY_CHAIN_URL=http://supply-chain:8900",
        "--add-host=supply-chain:127.0.0.1",
        f"--volume={tmp_path}/b:/srv",
        f"--memory={256 * 1024**2}b",
    } <= set(options)
