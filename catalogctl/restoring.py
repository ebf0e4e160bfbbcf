"""What a restore cannot know by itself: which products only the supply chain has."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from catalogctl.client import Api, product_path
from catalogctl.errors import UsageError
from catalogctl.exporting import pages_after
from chalicelib.domain.exact_json import Json
from chalicelib.domain.messages import PRODUCT_ID

BEFORE_WRITES = frozenset({"replaying", "lifting"})
AFTER_WRITES = frozenset({"lifted", "auditing"})


def read_ids(path: Path) -> set[str]:
    """Read a file with an id on each line. Raises UsageError."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    found = {number: line.strip() for number, line in enumerate(lines, 1) if line.strip()}
    for number, text in found.items():
        if not PRODUCT_ID.fullmatch(text):
            raise UsageError(f"{path}, line {number}: not the id of a product: {text[:80]}")
    return set(found.values())


def only_there(api: Api, ids: Collection[str]) -> list[str]:
    """Give those of these ids that the catalog does not have.

    By all pages of the catalog, not by a question for each id: a hundredth of the requests.
    """
    left = set(ids)
    for products in pages_after(api, None):
        left -= {product["id"] for product in products}
    # No list has a deleted product whose deletion is on its way.
    return [name for name in sorted(left) if api.find(product_path(name, "/sync")) is None]


def goes_on(document: Json) -> bool:
    """Say whether a restore comes to its next halt by itself, in the mode that the catalog has."""
    restoring = document["mode"] == "restore"
    return document["state"] in (BEFORE_WRITES if restoring else AFTER_WRITES)


def is_at_its_end(document: Json) -> bool:
    """Say whether it has come as far as it can: lifted, and after that proved."""
    if document["mode"] == "restore":
        # One that is further is an earlier one.
        return bool(document["state"] == "lifted")
    return bool(document["proved"])
