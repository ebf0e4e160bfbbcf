"""The console on the embedded stack: an operator's work, from what is wrong to what is proved."""

from __future__ import annotations

import os
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from embedded.stack import Stack
from tests.browser.browsing import Console
from tests.e2e.conftest import SETTINGS
from tests.e2e.delivery.steps import holds, wait_for, wait_until_held
from tests.support import RunningStack, eventually, stack_environment, stopped_for_sure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

AUDIT_PATIENCE = 60_000
"""Milliseconds: reconcile goes on with an audit when its turn comes."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack of its own: a full audit compares all that it has.

    Without the audit that reconcile makes: it would repair what the operator is to find.
    """
    settings = {**SETTINGS, "AUDIT_MAX_RATE": "100", "AUDIT_SAMPLE": "0"}
    own = Stack(tmp_path_factory.mktemp("stack"), stack_environment(os.environ, settings))
    with stopped_for_sure(own):
        yield RunningStack(own)


@pytest.fixture(scope="module")
def operators_tab(browser: Browser, stack: RunningStack) -> Console:
    return Console(browser, stack.settings["api"])


@pytest.fixture
def operator(operators_tab: Console, stack: RunningStack) -> Iterator[Console]:
    """An operator who has followed the link of `make up`."""
    with operators_tab.watched():
        operators_tab.log_in(token=stack.settings["token"])
        yield operators_tab
    stack.supply_chain.set(rejectIds=[])


def test_an_operator_finds_a_failed_product_sees_why_and_replays_it(
    operator: Console, stack: RunningStack
) -> None:
    product = stack.create(name="Refused lamp")
    wait_for(stack, product["id"], "delivered")
    stack.supply_chain.set(rejectIds=[product["id"]])
    stack.api.patch(f"/products/{product['id']}", {"price": Decimal("24.90")})
    operator.link("Show what is stuck").click()
    operator.link("Refused lamp").click()
    line = operator.region("What happened, and what comes next")
    expect(line.get_by_text("Attempt failed")).to_be_visible()
    expect(operator.region("State")).to_contain_text("HTTP 422")
    expect(operator.region("Data")).to_contain_text("24.90")
    # Somebody mends the cause, and the operator replays the product.
    stack.supply_chain.set(rejectIds=[])
    operator.button("Replay …").click()
    operator.page.get_by_label("Reason").fill("they know the lamp now")
    operator.button("Replay").click()
    expect(operator.page.locator(".subtitle")).to_contain_text("delivered")
    operator.link("Acts").click()
    expect(operator.rows().first).to_contain_text("they know the lamp now")


def test_an_audit_repairs_what_was_changed_behind_our_back_and_the_next_one_proves_it(
    operator: Console, stack: RunningStack
) -> None:
    product = stack.create(name="Altered lamp")
    wait_for(stack, product["id"], "delivered")
    held = stack.supply_chain.products()[product["id"]]
    stack.supply_chain.deliver({**held, "price": float(held["price"]), "quantity": 99})
    operator.link("Audit").first.click()
    operator.button("Start an audit …").click()
    operator.button("Start").click()
    row = operator.rows().filter(has_text=product["id"])
    expect(row).to_contain_text("quantity", timeout=AUDIT_PATIENCE)
    expect(row).to_contain_text("repaired", timeout=AUDIT_PATIENCE)

    def repaired() -> bool:
        held = stack.supply_chain.products()[product["id"]]
        return held["quantity"] == product["quantity"] and holds(stack, product)

    eventually(repaired, 30, "the supply chain holds the catalog's quantity again")
    wait_for(stack, product["id"], "delivered")
    operator.button("Start an audit …").click()
    operator.button("Start").click()
    proved = operator.region("Proved")
    expect(proved).to_contain_text("held the newest version of", timeout=AUDIT_PATIENCE)


# The last one: for some time after a pause calls are limited, and an audit waits.
def test_a_pause_holds_the_deliveries_until_it_is_resumed(
    operator: Console, stack: RunningStack
) -> None:
    operator.button("Pause …").click()
    operator.page.get_by_label("Reason").fill("their release")
    operator.button("Pause").click()
    expect(operator.region("The sync is paused")).to_contain_text("Why: their release.")
    product = stack.create(name="Waiting lamp")
    operator.link("Products behind").click()
    expect(operator.rows().filter(has_text="Waiting lamp")).to_contain_text("paused: their release")
    operator.link("Overview").click()
    operator.button("Resume …").click()
    operator.button("Resume").click()
    wait_until_held(stack, [product])
    operator.link("Products behind").click()
    expect(operator.rows().filter(has_text="Waiting lamp")).to_have_count(0)
