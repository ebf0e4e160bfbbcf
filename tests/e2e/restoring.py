"""A catalog that goes on after a backup, and what a restore must find: of a store, of a region."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from embedded.services import ROLES
from tests.disasters import PATIENCE, Ctl, all_products, answered, database, parsed, seen
from tests.e2e.delivery.steps import wait_until_held
from tests.support import Json, RunningStack, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from requests import Response

AT_ONCE = 20


# ---- what a catalog does ----


def created(stack: RunningStack, number: int, what: str) -> list[Json]:
    items = [
        {"name": f"{what} {index}", "price": 1, "quantity": index, "sku": f"{what}-{index}"}
        for index in range(number)
    ]
    made: list[Json] = []
    for start in range(0, number, AT_ONCE):
        body, key = (
            {"items": items[start : start + AT_ONCE]},
            {"Idempotency-Key": f"{what}-{start}"},
        )
        # Under the same key nothing is created twice.
        answer = answered(partial(stack.api.post, "/products/batch", body, key), 207)
        made += [item["product"] for item in parsed(answer)["items"]]
    return made


def changed(stack: RunningStack, products: Sequence[Json], **fields: object) -> list[Json]:
    return [change(stack, f"/products/{item['id']}", fields) for item in products]


def change(stack: RunningStack, path: str, fields: Json) -> Json:
    """Change a product once, also if the first answer was 503 and the change was stored."""

    def once() -> Response:
        now = stack.api.get(path)
        if now.status_code != 200 or fields.items() <= parsed(now).items():
            return now
        return stack.api.patch(path, fields, {"If-Match": now.headers["ETag"]})

    return parsed(answered(once, 200))


def deleted(stack: RunningStack, products: Sequence[Json]) -> None:
    for item in products:
        # Gone, if it was deleted with an answer of 503.
        answered(partial(stack.api.delete, f"/products/{item['id']}"), 204, 404)


def delivered(stack: RunningStack) -> None:
    def waiting() -> int:
        counts = seen(stack, "/sync")["products"]
        return int(counts["pending"]) + int(counts["retrying"])

    eventually(lambda: not waiting(), PATIENCE, "all is delivered")


def published(stack: RunningStack) -> None:
    """Wait until the stream has every event: a product may be delivered before its event is."""
    with database(stack) as client:
        products = client["catalog"]["products"]

        def is_empty() -> bool:
            return products.find_one({"outbox.0": {"$exists": True}}) is None

        eventually(is_empty, PATIENCE, "no outbox has an event")


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


def a_day(stack: RunningStack, old: list[Json], lose_the_stream: Callable[[], object]) -> Day:
    """Changes, deletions, creations, a sku that is handed on; all of it is delivered."""
    some = len(old) // 4
    changed(stack, old[:some], name="changed once")
    delivered(stack)
    newest = changed(stack, old[:some], name="changed twice")
    gone = old[some : 2 * some]
    deleted(stack, gone)
    new = created(stack, some, "new")
    (taker,) = changed(stack, new[:1], sku=gone[0]["sku"])
    wait_until_held(stack, [*newest, *new[1:], taker])
    delivered(stack)
    published(stack)
    # The stream never gets this one; reconcile has it delivered all the same.
    lose_the_stream()
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


def proved_again(
    stack: RunningStack, ctl: Ctl, old: list[Json], day: Day, name: str
) -> tuple[float, float]:
    """Writes are accepted again: all is delivered, and proved; when it was open, and proved."""
    open_again = time.monotonic()
    (after,) = changed(stack, day.new[1:2], name=name)
    assert after["version"] > 1_000_000
    done = ctl("restore", "--wait")
    proved = time.monotonic()
    assert (done["state"], done["proved"]) == ("done", True)
    delivered(stack)
    check_end(stack, old, day)
    return open_again, proved


def seconds(document: Json, end: str) -> float:
    times = [datetime.fromisoformat(document[name]) for name in ("startedAt", end)]
    return (times[1] - times[0]).total_seconds()
