"""Which deliveries count for the objective, and which of them were in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from chalicelib.domain.breaker import Breaker, BreakerPolicy, BreakerState
from chalicelib.domain.control import Control, Pause
from chalicelib.domain.objective import WITHIN, in_time
from chalicelib.domain.sync_state import Attempt, SyncState
from chalicelib.domain.times import LONG_AGO
from tests.fakes import START, a_product

CHANGED = SyncState(behind_since=START)
SOON = START + timedelta(seconds=1)


def judged(
    sync: SyncState,
    delivered_at: datetime = SOON,
    accepting_since: datetime | None = LONG_AGO,
    *,
    parked: bool = False,
) -> bool | None:
    claimed = a_product(sync=sync)
    before = replace(claimed, sync=replace(sync, parked=parked))
    return in_time(before, claimed, delivered_at, accepting_since)


def an_attempt(at: datetime, error: str | None = "HTTP 500") -> Attempt:
    return Attempt(at, 0, 500, 0.1, error)


@pytest.mark.parametrize(("late", "met"), [(timedelta(), True), (timedelta(seconds=1), False)])
def test_a_delivery_is_in_time_within_a_minute_of_the_change(late: timedelta, met: bool) -> None:
    assert judged(CHANGED, START + WITHIN + late) is met


@pytest.mark.parametrize(
    "sync",
    [
        replace(CHANGED, last_error="HTTP 503"),
        replace(CHANGED, history=(an_attempt(START),)),
        replace(CHANGED, bulk=True),
        replace(CHANGED, budget=1),
        SyncState(),
    ],
    ids=["a failed call", "a failed call for a version since", "bulk", "a replay", "not behind"],
)
def test_these_deliveries_do_not_count(sync: SyncState) -> None:
    assert judged(sync) is None


def test_what_failed_before_the_change_does_not_matter() -> None:
    before = an_attempt(START - timedelta(seconds=1))
    answered = an_attempt(START, error=None)

    assert judged(replace(CHANGED, history=(before, answered))) is True


def test_a_product_that_was_parked_does_not_count() -> None:
    assert judged(CHANGED, parked=True) is None


def test_a_change_of_before_the_supply_chain_accepted_does_not_count() -> None:
    assert judged(CHANGED, accepting_since=SOON) is None
    assert judged(CHANGED, accepting_since=START) is True


def test_a_delivery_while_calls_are_held_does_not_count() -> None:
    assert judged(CHANGED, accepting_since=None) is None


# ---- since when the supply chain accepts ----


def accepting_since(control: Control, now: datetime) -> datetime | None:
    return control.accepting_since(now, BreakerPolicy(ramp_step=5))


def test_without_an_outage_the_supply_chain_has_always_accepted() -> None:
    assert accepting_since(Control(), START) == LONG_AGO


def test_after_an_outage_it_accepts_from_the_end_of_the_ramp_on() -> None:
    control = Control(Breaker(ramp_since=START))
    end = START + timedelta(seconds=50)

    assert accepting_since(control, end - timedelta(seconds=1)) is None
    assert accepting_since(control, end) == end


@pytest.mark.parametrize(
    "control", [Control(Breaker(BreakerState.OPEN)), Control(pause=Pause(START))]
)
def test_it_does_not_accept_while_calls_are_held(control: Control) -> None:
    assert accepting_since(control, START) is None
