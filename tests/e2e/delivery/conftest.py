"""Each test of the delivery leaves a stack that works."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import RunningStack


@pytest.fixture(autouse=True)
def reliable_again(stack: RunningStack) -> Iterator[None]:
    """Give the next test a supply chain that works, whatever this one made of it."""
    yield
    stack.up()
    stack.supply_chain.set(failureRate=0, failIds=[], rejectIds=[], latencySeconds=0)
