"""Somebody changes what the supply chain holds; an audit finds it, and repairs it."""

from __future__ import annotations

import pytest

from tests.e2e.delivery.steps import AUDITED, PATIENCE, holds, wait_for
from tests.support import Json, RunningStack, eventually


@pytest.mark.timeout(400)
def test_an_audit_repairs_what_was_changed_behind_our_back(stack: RunningStack) -> None:
    lost, other, newer = (stack.create() for _ in range(3))
    for product in (lost, other, newer):
        wait_for(stack, product["id"], "delivered")
    stack.supply_chain.tamper(lost["id"], lose=True)
    stack.supply_chain.tamper(other["id"], price=1)
    stack.supply_chain.tamper(newer["id"], version=7)

    assert stack.api.post("/sync/audit", {"reason": "a test"}).status_code == 202

    def found() -> dict[str, Json]:
        audit = stack.get("/sync/audit")
        examples = {item["id"]: item for item in audit["examples"]}
        return examples if audit["state"] == "done" else {}

    examples = eventually(found, AUDITED, "the audit is done")
    found_as = [examples[product["id"]]["difference"] for product in (lost, other, newer)]
    assert found_as == ["missing", "different", "newer"]
    eventually(lambda: holds(stack, lost) and holds(stack, other), PATIENCE, "they are held again")
    lifted = eventually(
        lambda: stack.get(f"/products/{newer['id']}") if holds_newest(stack, newer) else None,
        PATIENCE,
        "a version above that of the supply chain is held",
    )
    assert (lifted["version"], lifted["price"]) == (8, newer["price"])


def holds_newest(stack: RunningStack, product: Json) -> bool:
    return holds(stack, stack.get(f"/products/{product['id']}"))
