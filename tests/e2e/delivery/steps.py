"""What the tests of the delivery wait for."""

from __future__ import annotations

from tests.support import Json, RunningStack, eventually

PATIENCE = 60.0
"""Seconds; far more than the horizon of 30, since the machines that run this are slow."""
AUDITED = 120
"""Seconds until an audit is done: it begins when the limit after an outage, which another test has
made, is over. That takes 50."""


def status(stack: RunningStack, product_id: str) -> str:
    return str(stack.get(f"/products/{product_id}/sync")["status"])


def wait_for(stack: RunningStack, product_id: str, wanted: str) -> Json:
    eventually(lambda: status(stack, product_id) == wanted, PATIENCE, f"{product_id} is {wanted}")
    return stack.get(f"/products/{product_id}/sync")


def holds(stack: RunningStack, product: Json) -> bool:
    """Whether the supply chain holds this very version, with its exact price."""
    held = stack.supply_chain.products().get(product["id"], {})
    return (held.get("version"), held.get("price")) == (product["version"], product["price"])


def wait_until_held(stack: RunningStack, products: list[Json]) -> None:
    newest = {product["id"]: product["version"] for product in products}

    def missing() -> list[str]:
        held = stack.supply_chain.products()
        return [key for key in newest if held.get(key, {}).get("version") != newest[key]]

    eventually(lambda: not missing(), PATIENCE, f"{len(newest)} products are held")


def answered_calls(stack: RunningStack, product_id: str) -> list[Json]:
    return [call for call in stack.supply_chain.calls(product_id) if call["method"] == "POST"]
