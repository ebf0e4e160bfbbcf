"""One embedded stack for the end-to-end tests of a process, with short waits."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from embedded.processes import free_port, reserve_port
from embedded.services import ROLES
from embedded.stack import Stack
from tests.support import RunningStack, stack_environment, stopped_for_sure

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = {
    "SYNC_HORIZON_SECONDS": "30",
    "SYNC_MAX_WAIT_SECONDS": "5",
    "RECONCILE_GRACE_SECONDS": "2",
    "SUPPLY_CHAIN_TIMEOUT_SECONDS": "1",
    # Several stacks run at a time: each poll costs CPU.
    "SYNC_POLLERS": "8",
    "BREAKER_PROBE_SECONDS": "1",
    # Tests count calls, and hand products to the supply chain past the catalog.
    "AUDIT_SAMPLE": "0",
    # An audit asks about the products of all tests.
    "AUDIT_MAX_RATE": "200",
    # Short, so that what one test has delivered does not speak for the supply chain in the next.
    "BREAKER_WINDOW_SECONDS": "5",
}


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A running stack of its own: beside a developer's, whose settings it does not see.

    Tests share it, so each makes products of its own and leaves the settings as they were. Its
    logs stay in pytest's temporary folder.
    """
    run_dir = tmp_path_factory.mktemp("stack")
    metrics = {"METRICS_PORT": str(free_ports(len(ROLES)))}
    own = Stack(run_dir, stack_environment(os.environ, SETTINGS | metrics))
    with stopped_for_sure(own):
        yield RunningStack(own)


def free_ports(number: int) -> int:
    """The first of so many ports in a row, all of them reserved."""
    while True:
        first = free_port()
        if all(reserve_port(first + more) for more in range(1, number)):
            return first


@pytest.fixture
def whole(stack: RunningStack) -> Iterator[RunningStack]:
    """The shared stack, complete again after a test that broke a part of it."""
    yield stack
    stack.up()
