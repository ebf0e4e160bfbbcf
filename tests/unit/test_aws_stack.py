"""The parts of the stack on an emulator that decide, without starting it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from embedded.servers import ServerProcesses
from localstack.stack import AwsStack

if TYPE_CHECKING:
    from pathlib import Path

EMULATOR = "http://emulator.example:4566"
# Addresses of everything: so there is nothing to start.
GIVEN = {
    "EMULATOR_URL": EMULATOR,
    "MONGODB_URI": "mongodb://mongodb:27017",
    "NATS_URL": "nats://nats:4222",
    "SUPPLY_CHAIN_URL": "http://supply-chain:8900",
}


def test_down_needs_no_address_of_the_emulator_that_up_was_given(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    AwsStack(folder, GIVEN).start(ServerProcesses(folder))
    later = AwsStack(folder, {})
    assert later.terraform().environment["TF_VAR_endpoint"] == EMULATOR
    later.down()
    assert not folder.exists()


def test_down_asks_no_emulator_of_ours_that_has_ended(tmp_path: Path) -> None:
    servers = ServerProcesses(tmp_path / "run")
    servers.ports["sqs"] = 9
    servers.notes |= {"endpoint": "http://127.0.0.1:9", "applied_to": "it", "secret": "s"}
    servers.save()
    AwsStack(tmp_path / "run", {}).down()
    assert not (tmp_path / "run").exists()


def test_a_further_file_of_variables_comes_after_those_of_the_emulator(tmp_path: Path) -> None:
    path = tmp_path / "my.tfvars"
    stack = AwsStack(tmp_path, {**GIVEN, "AWS_VAR_FILE": str(path)})
    servers = ServerProcesses(tmp_path)
    stack.start(servers)
    variables = [it for it in stack.terraform(servers).files() if it.startswith("-var-file=")]
    assert len(variables) == 2
    assert variables[1] == f"-var-file={path}"


def test_the_functions_run_on_the_python_that_packages_them(tmp_path: Path) -> None:
    stack = AwsStack(tmp_path, GIVEN)
    stack.start(ServerProcesses(tmp_path))
    environment = stack.terraform().environment
    assert environment["TF_VAR_runtime"] == f"python{sys.version_info[0]}.{sys.version_info[1]}"
