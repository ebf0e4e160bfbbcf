"""MongoDB is restored to an earlier time: the procedure of docs/disaster.md, on real servers."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from embedded.stack import Stack
from tests.disasters import PRODUCTS, ctl_of, dump, put_back
from tests.e2e.conftest import SETTINGS
from tests.e2e.restoring import (
    a_day,
    created,
    delivered,
    proved_again,
    seconds,
    stop_roles,
)
from tests.support import PRODUCT, RunningStack, stack_environment, stopped_for_sure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[RunningStack]:
    """A stack of its own: all of its products are restored."""
    own = Stack(tmp_path / "stack", stack_environment(os.environ, SETTINGS))
    with stopped_for_sure(own):
        yield RunningStack(own)


@pytest.mark.timeout(600)
def test_a_restored_store_and_the_supply_chain_agree_again(
    alone: RunningStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stack = alone
    old = created(stack, PRODUCTS, "old")
    delivered(stack)
    yesterday = dump(stack)
    day = a_day(stack, old, lambda: stack.kill("nats"))

    # The worst day: MongoDB is restored to yesterday.
    stop_roles(stack)
    begun = time.monotonic()
    put_back(stack, yesterday)
    stack.up(CATALOG_MODE="restore")
    ctl = ctl_of(stack, monkeypatch)
    refused = stack.api.post("/products", PRODUCT)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "60")
    (tmp_path / "ids.txt").write_text("\n".join(stack.supply_chain.products()))
    calls = len(stack.supply_chain.calls())

    found = ctl("restore", "--start", "--wait", "--supply-chain-ids", str(tmp_path / "ids.txt"))

    total, replayed = PRODUCTS + len(day.new), len([*day.newest, *day.gone, *day.new])
    assert (found["state"], found["lifted"], found["replayed"]) == ("lifted", total, replayed)
    assert found["losses"] == [{"id": day.lost["id"], "restored": 0, "held": 1}]
    assert (found["skus"], found["onlySupplyChain"]) == ([], [day.only_there])
    assert {call["method"] for call in stack.supply_chain.calls()[calls:]} == {"GET"}

    # Writes are accepted again; all is delivered, and proved.
    stack.up()
    open_again, proved = proved_again(stack, ctl, old, day, "after the restore")
    ours = seconds(found, "liftedAt")
    print(
        f"\n{total} products, {day.writes} writes since the backup: the stream had "
        f"{day.writes - 1}, 1 is listed, none is gone unseen; read-only for "
        f"{open_again - begun:.1f} s, of which the restore of the catalog took {ours:.1f} s; all "
        f"delivered and proved {proved - open_again:.1f} s after that"
    )
