"""What was written to each product, what the API answered, and what that promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

COMPARED = ("version", "name", "price", "quantity")
"""The supply chain may hold more of a product than this; these must be the same."""
STILL_HELD = "the supply chain still holds what is deleted"
LIES = 3
"""The catalog believes this many 404s in a row, to a DELETE and to the GETs after it."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write. `at` and `seconds` are times in seconds; `status` is None without an answer.

    `mark` is the quantity that was written: another one for each write. `version` is the answer's.
    """

    action: str
    at: float
    seconds: float
    status: int | None
    mark: int
    version: int | None = None

    @property
    def acknowledged(self) -> bool:
        """The API has answered 2xx."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def open(self) -> bool:
        """It may have happened or not: no answer, or one that says that the store is away."""
        return self.status is None or self.status >= 500

    def __str__(self) -> str:
        answer = "no answer" if self.status is None else str(self.status)
        version = "" if self.version is None else f" version {self.version}"
        return (
            f"{self.at:7.1f} s {self.action} {self.mark}: {answer}{version}, {self.seconds:.2f} s"
        )


@dataclass(slots=True)
class History:
    """The writes to one product, one after another; the first is acknowledged."""

    writes: list[Write] = field(default_factory=list)

    @property
    def newest(self) -> Write:
        """The last acknowledged write."""
        return next(write for write in reversed(self.writes) if write.acknowledged)

    @property
    def deleted(self) -> bool:
        """Tell whether the API has said that it is deleted."""
        return any(
            write.action == "delete" and (write.acknowledged or write.status == 404)
            for write in self.writes
        )

    @property
    def may_be_deleted(self) -> bool:
        """Tell whether a delete was asked for, whatever the answer."""
        return any(write.action == "delete" for write in self.writes)

    def possible(self, version: int) -> set[int]:
        """Give the marks that the catalog may hold at this version."""
        newest = self.newest
        if version == newest.version:
            return {newest.mark}
        # Each write that is open may have made one more version.
        others = [write.mark for write in self.writes if write.open and write.action != "delete"]
        made = newest.version or 0
        return set(others) if made < version <= made + len(others) else set()


@dataclass(frozen=True, slots=True)
class World:
    """What there is in the end.

    `catalog` and `held` (by the supply chain) are products by id. `failed` are the ids of those
    that are exhausted or rejected, deleted ones too. `letters` are dead letters by product id.
    """

    catalog: Mapping[str, Json]
    held: Mapping[str, Json]
    failed: Collection[str]
    letters: Mapping[str, int]


def violations(histories: Mapping[str, History], world: World) -> Iterator[tuple[str, str]]:
    """Give (product id, what is wrong) for each broken promise."""
    for product_id, history in histories.items():
        if reason := _lost(history, world.catalog.get(product_id)):
            yield product_id, reason
    for product_id in world.catalog.keys() | world.held.keys() | world.letters.keys():
        if reason := _undelivered(product_id, world):
            yield product_id, reason


def refusals(histories: Mapping[str, History]) -> Iterator[tuple[str, str]]:
    """Give (product id, what is wrong) for each answer that the API may not give."""
    for product_id, history in histories.items():
        asked = False
        for write in history.writes:
            asked = asked or write.action == "delete"
            gone = write.status == 404 and asked
            if not (write.acknowledged or gone or write.status in (None, 503)):
                yield product_id, f"a write is answered {write.status}"


def misled(calls: Sequence[Json]) -> set[str]:
    """Give the ids of the products for which the supply chain has wrongly said 404 too often.

    It answers 404 at random. After so many in a row no client can know that they are wrong.
    """
    lies: Counter[str] = Counter()
    for call in calls:
        product_id, outcome = call["id"], call["outcome"]
        if outcome == "http_404":
            lies[product_id] = 1 if call["method"] == "DELETE" else lies[product_id] + 1
        elif call["status"] is not None and lies[product_id] < LIES:
            lies[product_id] = 0
    return {product_id for product_id, number in lies.items() if number >= LIES}


def _lost(history: History, product: Json | None) -> str:
    """Compare the catalog with what the API has acknowledged; empty if it is as promised."""
    if product is None:
        return "" if history.may_be_deleted else "lost: the catalog does not hold it"
    if history.deleted:
        return "a lost delete: the catalog still holds it"
    if product["version"] < (history.newest.version or 0):
        return f"a lost write: the catalog holds version {product['version']}"
    if product["quantity"] not in history.possible(product["version"]):
        return f"version {product['version']} has the quantity {product['quantity']}"
    return ""


def _undelivered(product_id: str, world: World) -> str:
    """Compare the supply chain with the catalog; empty if it is as promised."""
    product, held = world.catalog.get(product_id), world.held.get(product_id)
    letters = world.letters.get(product_id, 0)
    if product_id in world.failed:
        return "" if letters == 1 else f"it has failed, and has {letters} dead letters"
    if letters:
        return f"it has not failed, and has {letters} dead letters"
    if product is None:
        return "" if held is None else STILL_HELD
    if held is None:
        return "the supply chain does not hold it"
    wrong = [name for name in COMPARED if held.get(name) != product[name]]
    return ", ".join(
        f"{name} is {held.get(name)!r} in the supply chain, must be {product[name]!r}"
        for name in wrong
    )
