"""A pause with an end: no call is made before it, and nobody needs to resume."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.times import rfc3339
from chalicelib.usecases.admission import FRESH
from tests.e2e.delivery.steps import wait_for, wait_until_held
from tests.support import Json, RunningStack, exact_json

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def resumed(stack: RunningStack) -> Iterator[RunningStack]:
    """The shared stack, whose sync is resumed after the test."""
    yield stack
    control(stack, paused=False)


def control(stack: RunningStack, **body: object) -> Json:
    answer = stack.api.put("/sync/control", body)
    assert answer.status_code == 200, answer.text
    state: Json = exact_json(answer)
    # A worker may still call for this long, and nothing shows which of them knows of the pause yet:
    # a call after that time is what the test is about.
    time.sleep(FRESH.total_seconds())
    return state


def test_products_written_during_a_pause_are_delivered_after_its_end(
    resumed: RunningStack,
) -> None:
    until = rfc3339(datetime.now(UTC) + timedelta(seconds=6))
    told = control(resumed, paused=True, reason="their release", until=until)
    assert resumed.get("/sync")["control"] == told

    products = [resumed.create() for _ in range(5)]
    assert resumed.get(f"/products/{products[0]['id']}/sync")["held"] == "paused: their release"

    wait_until_held(resumed, products)
    for product in products:
        state = wait_for(resumed, product["id"], "delivered")
        assert [attempt["time"] >= until for attempt in state["history"]] == [True]
    assert resumed.get("/sync")["control"]["paused"] is False
