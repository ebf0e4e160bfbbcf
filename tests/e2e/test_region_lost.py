"""A region is lost, with and without a mirror of the stream: the procedure of docs/disaster.md.

The second region has a MongoDB, a NATS, queues and processes of its own; the supply chain is the
same, and stays. With -rP it prints what it measures.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from embedded.services import ROLES
from embedded.stack import Stack
from tests.disasters import Dump, ctl_of, dump, put_back
from tests.e2e.conftest import SETTINGS
from tests.e2e.restoring import (
    Day,
    a_day,
    created,
    delivered,
    proved_again,
    seconds,
)
from tests.mirror import TwoRegions
from tests.support import PRODUCT, Json, RunningStack, stack_environment, stopped_for_sure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PRODUCTS = 12


@dataclass(frozen=True)
class Lost:
    """What is left of the first region, and where the second one is to be."""

    old: list[Json]
    copy: Dump
    day: Day
    nats: TwoRegions
    second: Stack
    at: float


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lost]:
    """A day after the newest copy of MongoDB, and then the region is lost."""
    folder = tmp_path_factory.mktemp("regions")
    nats = TwoRegions(folder / "nats")
    with stopped_for_sure(nats):
        nats.start()
        settings = SETTINGS | {"NATS_URL": nats.url("first")}
        first = Stack(folder / "first", stack_environment(os.environ, settings))
        with stopped_for_sure(first):
            region = RunningStack(first)
            nats.make_mirror()
            old = created(region, PRODUCTS, "old")
            delivered(region)
            copy = dump(region)

            def cut() -> None:
                nats.wait_for_the_mirror()
                nats.kill("first")

            day = a_day(region, old, cut)
            for name in (*ROLES, "mongodb", "sqs"):
                region.kill(name)
            settings = SETTINGS | {"SUPPLY_CHAIN_URL": region.settings["supplyChain"]}
            second = Stack(folder / "second", stack_environment(os.environ, settings))
            with stopped_for_sure(second):
                yield Lost(old, copy, day, nats, second, time.monotonic())


def take_over(lost: Lost, **settings: str) -> RunningStack:
    """Steps 1 and 3 of the page: MongoDB has its newest copy, and all are read-only."""
    stack = RunningStack(lost.second, **settings, CATALOG_MODE="restore")
    # The embedded MongoDB comes with the rest, which changes nothing in this mode.
    put_back(stack, lost.copy)
    assert stack.api.post("/products", PRODUCT).status_code == 503
    return stack


def ids_file(stack: RunningStack, folder: Path) -> str:
    """What the supply chain exports."""
    path = folder / "ids.txt"
    path.write_text("\n".join(stack.supply_chain.products()))
    return str(path)


@pytest.mark.timeout(600)
def test_without_a_mirror_every_product_that_was_changed_since_the_copy_is_listed(
    lost: Lost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stack, day = take_over(lost), lost.day
    ctl = ctl_of(stack, monkeypatch)
    calls = len(stack.supply_chain.calls())

    found = ctl("restore", "--start", "--wait", "--supply-chain-ids", ids_file(stack, tmp_path))

    assert (found["state"], found["lifted"], found["replayed"]) == ("lifted", PRODUCTS, 0)
    assert found["firstEventAt"] is None
    changed_there = {it["id"]: it["version"] for it in [*day.newest, day.lost]}
    deleted_there: dict[str, int | None] = dict.fromkeys(it["id"] for it in day.gone)
    assert {it["id"]: it["held"] for it in found["losses"]} == changed_there | deleted_there
    created_there = {day.only_there, *(it["id"] for it in day.new)}
    assert set(found["onlySupplyChain"]) == created_there
    # Until an operator has looked at the list, the supply chain keeps all of it.
    assert {call["method"] for call in stack.supply_chain.calls()[calls:]} == {"GET"}
    print(
        f"\nwithout a mirror: {day.writes} writes since the copy are lost, of "
        f"{len(found['losses']) + len(day.new)} products, and all of these are listed"
    )


@pytest.mark.timeout(600)
def test_with_a_mirror_nothing_is_lost_but_what_it_had_not_copied_which_is_listed(
    lost: Lost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun, day = time.monotonic(), lost.day
    lost.nats.promote()
    at_mirror = {"NATS_URL": lost.nats.url("second")}
    stack = take_over(lost, **at_mirror)
    ctl = ctl_of(stack, monkeypatch)

    found = ctl("restore", "--start", "--wait", "--supply-chain-ids", ids_file(stack, tmp_path))

    total, replayed = PRODUCTS + len(day.new), len([*day.newest, *day.gone, *day.new])
    assert (found["state"], found["lifted"], found["replayed"]) == ("lifted", total, replayed)
    assert found["losses"] == [{"id": day.lost["id"], "restored": 0, "held": 1}]
    assert found["onlySupplyChain"] == [day.only_there]

    stack.up(**at_mirror)
    open_again, proved = proved_again(stack, ctl, lost.old, day, "in the second region")
    print(
        f"\nwith a mirror: of {day.writes} writes since the copy it had {day.writes - 1}, and 1 is "
        f"listed; writes are accepted {open_again - begun:.1f} s after the beginning, of which the "
        f"restore of the catalog took {seconds(found, 'liftedAt'):.1f} s; all delivered and proved "
        f"{proved - open_again:.1f} s after that"
    )
