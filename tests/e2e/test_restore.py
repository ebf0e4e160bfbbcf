"""MongoDB is restored to an earlier time; the whole procedure of docs/disaster.md, on real servers.

RESTORE_PRODUCTS: how many products there are, for the measurement that the page quotes.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
import simplejson

from embedded.services import ROLES
from embedded.stack import Stack
from tests.disasters import all_products, ctl_of, dump, put_back
from tests.e2e.conftest import SETTINGS
from tests.e2e.delivery.steps import wait_until_held
from tests.support import (
    PRODUCT,
    Json,
    RunningStack,
    eventually,
    stack_environment,
    stopped_for_sure,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

PRODUCTS = int(os.environ.get("RESTORE_PRODUCTS", "40"))
PATIENCE = 60.0 + PRODUCTS / 10
AT_ONCE = 20


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[RunningStack]:
    """A stack of its own: all of its products are restored."""
    own = Stack(tmp_path / "stack", stack_environment(os.environ, SETTINGS))
    with stopped_for_sure(own):
        yield RunningStack(own)


# ---- what a catalog does ----


def created(stack: RunningStack, number: int, what: str) -> list[Json]:
    items = [
        {"name": f"{what} {index}", "price": 1, "quantity": index, "sku": f"{what}-{index}"}
        for index in range(number)
    ]
    made: list[Json] = []
    for start in range(0, number, AT_ONCE):
        body, key = {"items": items[start : start + AT_ONCE]}, f"{what}-{start}"

        def answered(body: Json = body, key: str = key) -> Json | None:
            answer = stack.api.post("/products/batch", body, {"Idempotency-Key": key})
            found: Json = simplejson.loads(answer.text)
            return found if answer.status_code == 207 else None

        # Again if MongoDB was too slow: under the same key nothing is created twice.
        made += [item["product"] for item in eventually(answered, PATIENCE)["items"]]
    return made


def changed(stack: RunningStack, products: Sequence[Json], **fields: object) -> list[Json]:
    answers = [stack.api.patch(f"/products/{item['id']}", fields) for item in products]
    assert {answer.status_code for answer in answers} == {200}
    return [simplejson.loads(answer.text, use_decimal=True) for answer in answers]


def delivered(stack: RunningStack) -> None:
    def waiting() -> int:
        counts = stack.get("/sync")["products"]
        return int(counts["pending"]) + int(counts["retrying"])

    eventually(lambda: not waiting(), PATIENCE, "all is delivered")


def shown(products: Mapping[str, Json]) -> dict[str, tuple[object, ...]]:
    names = ("version", "name", "price", "quantity", "sku")
    return {key: tuple(item.get(name) for name in names) for key, item in products.items()}


def stored_under(stack: RunningStack) -> Counter[str]:
    """How often a body was stored under each key. The same body again counts as a repetition."""
    calls = stack.supply_chain.calls()
    return Counter(str(it["idempotencyKey"]) for it in calls if it["outcome"] == "stored")


def stop_roles(stack: RunningStack) -> None:
    for role in ROLES:
        stack.stop(role)


@dataclass(frozen=True)
class Day:
    """What happened after the backup; `only_there` came to the supply chain from somebody else."""

    newest: list[Json]
    gone: list[Json]
    new: list[Json]
    taker: Json
    lost: Json
    only_there: str = "f" * 24

    @property
    def writes(self) -> int:
        """Writes that the backup has not; of one of them the event was lost."""
        return 2 * len(self.newest) + len(self.gone) + len(self.new) + 2


def a_day(stack: RunningStack, old: list[Json]) -> Day:
    """Changes, deletions, creations, a sku that is handed on; all of it is delivered."""
    some = len(old) // 4
    changed(stack, old[:some], name="changed once")
    delivered(stack)
    newest = changed(stack, old[:some], name="changed twice")
    gone = old[some : 2 * some]
    assert {stack.api.delete(f"/products/{it['id']}").status_code for it in gone} == {204}
    new = created(stack, some, "new")
    (taker,) = changed(stack, new[:1], sku=gone[0]["sku"])
    wait_until_held(stack, [*newest, *new[1:], taker])
    delivered(stack)
    # The stream never gets this one; reconcile has it delivered all the same.
    stack.kill("nats")
    (lost,) = changed(stack, old[-1:], name="only the supply chain knows")
    wait_until_held(stack, [lost])
    day = Day(newest, gone, new, taker, lost)
    foreign: Json = {"id": day.only_there, "name": "x", "price": 1, "quantity": 1, "version": 0}
    stack.supply_chain.deliver(foreign)
    return day


def check_end(stack: RunningStack, old: list[Json], day: Day) -> None:
    """Catalog and supply chain agree on every product, and have what was newest."""
    catalog, held = all_products(stack), stack.supply_chain.products()
    del held[day.only_there]
    assert shown(catalog) == shown(held)
    gone = {it["id"] for it in day.gone}
    assert catalog.keys() == {it["id"] for it in [*old, *day.new]} - gone
    assert {catalog[it["id"]]["name"] for it in day.newest} == {"changed twice"}
    assert catalog[day.taker["id"]]["sku"] == day.taker["sku"]
    assert [key for key, count in stored_under(stack).items() if count > 1] == []


@pytest.mark.timeout(600)
def test_a_restored_store_and_the_supply_chain_agree_again(
    alone: RunningStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stack = alone
    old = created(stack, PRODUCTS, "old")
    delivered(stack)
    yesterday = dump(stack)
    day = a_day(stack, old)

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
    open_again = time.monotonic()
    (after,) = changed(stack, day.new[1:2], name="after the restore")
    assert after["version"] > 1_000_000
    done = ctl("restore", "--wait")

    proved = time.monotonic()
    assert (done["state"], done["proved"]) == ("done", True)
    delivered(stack)
    check_end(stack, old, day)
    ours = seconds(found, "liftedAt")
    print(
        f"\n{total} products, {day.writes} writes since the backup: the stream had "
        f"{day.writes - 1}, 1 is listed, none is gone unseen; read-only for "
        f"{open_again - begun:.1f} s, of which the restore of the catalog took {ours:.1f} s; all "
        f"delivered and proved {proved - open_again:.1f} s after that"
    )


def seconds(document: Json, end: str) -> float:
    times = [datetime.fromisoformat(document[name]) for name in ("startedAt", end)]
    return (times[1] - times[0]).total_seconds()
