"""The parts of the stack on an emulator that decide, without starting it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from localstack.stack import AwsStack, State

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
    AwsStack(folder, GIVEN)._start(State())
    later = AwsStack(folder, {})
    assert later._emulator(later._load()) == EMULATOR
    assert later.terraform()._environment["TF_VAR_endpoint"] == EMULATOR
    later.down()
    assert not folder.exists()


def test_a_further_file_of_variables_comes_after_those_of_the_emulator(tmp_path: Path) -> None:
    path = tmp_path / "my.tfvars"
    state = State(endpoint=EMULATOR)
    files = AwsStack(tmp_path, {"AWS_VAR_FILE": str(path)}).terraform(state)._files()
    variables = [item for item in files if item.startswith("-var-file=")]
    assert len(variables) == 2
    assert variables[1] == f"-var-file={path}"


def test_the_functions_run_on_the_python_that_packages_them(tmp_path: Path) -> None:
    environment = AwsStack(tmp_path, GIVEN).terraform(State(endpoint=EMULATOR))._environment
    assert environment["TF_VAR_runtime"] == f"python{sys.version_info[0]}.{sys.version_info[1]}"
