"""Calls that hang delay nobody else's delivery."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from embedded.stack import Stack
from tests.support import RunningStack, eventually, stack_environment, stopped_for_sure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HANGS = 60
"""Seconds of a call that hangs; the others must be done long before."""


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[RunningStack]:
    """A stack whose supply chain does not answer one call in five."""
    settings = {"SUPPLY_CHAIN_TIMEOUT_SECONDS": str(HANGS)}
    own = Stack(tmp_path, stack_environment(os.environ, settings))
    with stopped_for_sure(own):
        stack = RunningStack(own)
        stack.supply_chain.set(failureRate=0.2, kinds=["timeout"], timeoutSeconds=HANGS, seed=1)
        yield stack
        # The calls that hang end with it, and sync need not wait for them.
        stack.kill("supplyChain")


def test_products_are_delivered_while_calls_for_others_hang(hanging: RunningStack) -> None:
    ids = {hanging.create()["id"] for _ in range(60)}

    def undelivered() -> set[str]:
        states = {item: hanging.get(f"/products/{item}/sync") for item in ids}
        return {item for item, state in states.items() if state["status"] != "delivered"}

    def hung() -> set[str]:
        return {call["id"] for call in hanging.supply_chain.calls() if call["outcome"] == "timeout"}

    eventually(lambda: undelivered() == hung(), HANGS * 0.75, "others wait too")
    assert 0 < len(hung()) < len(ids)
    for item in hung():
        assert hanging.get(f"/products/{item}/sync")["attempts"] == 0
