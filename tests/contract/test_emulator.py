"""An emulator is known again by its marker, and what was applied is forgotten with its content."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from embedded.servers import ServerProcesses
from embedded.services import StackError
from localstack.emulators import emulator_identity, mark_emulator, unmark_emulator
from localstack.stack import AwsStack
from tests.contract.conftest import NOWHERE, Servers
from tests.support import stopped_for_sure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from embedded.services import Endpoints

    Applied = tuple[AwsStack, ServerProcesses]

pytestmark = pytest.mark.embedded("sqs", "an emulator of AWS that is marked as ours")


@pytest.fixture
def endpoint(servers: Endpoints) -> Iterator[str]:
    """An emulator without a marker."""
    yield servers.sqs
    unmark_emulator(servers.sqs)


@pytest.fixture
def applied(endpoint: str, tmp_path: Path) -> Applied:
    """A stack that has applied something to an emulator that it has not started."""
    given = {"MONGODB_URI": "mongodb://m", "NATS_URL": "nats://n", "SUPPLY_CHAIN_URL": "http://s"}
    stack = AwsStack(tmp_path / "run", {**given, "EMULATOR_URL": endpoint}, say=lambda _: None)
    servers = ServerProcesses(stack.run_dir)
    stack.start(servers)
    stack.recognize(servers, stack.terraform(servers))
    state_file(stack).write_text("what was applied")
    return stack, servers


def state_file(stack: AwsStack) -> Path:
    return stack.run_dir / "terraform.tfstate"


def test_an_emulator_that_was_never_marked_has_no_identity(endpoint: str) -> None:
    assert emulator_identity(endpoint) is None


def test_a_marked_emulator_is_known_again_until_the_mark_is_taken_away(endpoint: str) -> None:
    identity = mark_emulator(endpoint)
    assert emulator_identity(endpoint) == identity
    unmark_emulator(endpoint)
    assert emulator_identity(endpoint) is None


def test_an_emulator_that_came_back_empty_has_no_identity(tmp_path: Path) -> None:
    own = Servers(tmp_path, ("sqs",))
    with stopped_for_sure(own):
        own.start()
        mark_emulator(own.where.sqs)
        own.kill("sqs")
        shutil.rmtree(tmp_path / "data" / "sqs")
        (tmp_path / "data" / "sqs").mkdir()
        own.start()
        assert emulator_identity(own.where.sqs) is None


def test_an_emulator_that_does_not_answer_is_an_error_that_names_it() -> None:
    with pytest.raises(StackError, match=f"emulator at http://{NOWHERE} does not answer"):
        emulator_identity(f"http://{NOWHERE}")


def test_what_was_applied_is_remembered_while_the_emulator_is_the_same(applied: Applied) -> None:
    stack, servers = applied
    stack.recognize(servers, stack.terraform(servers))
    assert state_file(stack).exists()


def test_what_was_applied_is_forgotten_when_the_emulator_came_back_empty(
    applied: Applied, endpoint: str
) -> None:
    stack, servers = applied
    unmark_emulator(endpoint)
    stack.recognize(servers, stack.terraform(servers))
    assert not state_file(stack).exists()


def test_down_destroys_nothing_in_an_emulator_that_came_back_empty(
    applied: Applied, endpoint: str
) -> None:
    stack, _ = applied
    unmark_emulator(endpoint)
    # Terraform would refuse such a state file.
    stack.down()
    assert not stack.run_dir.exists()
