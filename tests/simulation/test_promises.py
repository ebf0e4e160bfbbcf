"""The promises hold in the simulation: on random courses, and on those that once broke them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chalicelib.domain.breaker import BreakerPolicy
from simulation.long_outage import NEVER, LongOutage
from simulation.scenarios import SCENARIOS
from simulation.world import judged

SEEDS = 1
"""Runs of each scenario; `make simulate` has more, and CI runs hundreds."""
ROOT = Path(__file__).parents[2]


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as `make simulate` does; it starts itself anew with a fixed hash seed."""
    return subprocess.run(
        [sys.executable, "-m", "simulation", *arguments],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )


def test_random_runs_keep_every_promise() -> None:
    # Few, for the time that all tests may take; CI runs hundreds. Three of these have outages, in
    # any combination: the scenario of that name, which is left out below.
    done = simulate("--first", "8", "--seeds", "10")
    assert done.returncode == 0, done.stdout
    assert "10 seeds, 0 broken" in done.stdout


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("scenario", sorted(SCENARIOS.keys() - {"random", "outages", "three-days"}))
def test_a_course_that_once_broke_a_promise_keeps_it(scenario: str) -> None:
    worlds = (judged(SCENARIOS[scenario](seed)) for seed in range(SEEDS))
    assert [world.broken for world in worlds] == [None] * SEEDS


@pytest.mark.usefixtures("quiet")
def test_three_days_of_failures_end_with_the_eighteenth_attempt_after_72_hours() -> None:
    world = judged(SCENARIOS["three-days"](0))
    assert world.broken is None
    first, last = world.supply_chain.calls[0], world.supply_chain.calls[-1]
    assert {product.sync.attempts for product in world.store.products.values()} == {18}
    assert 0.93 * 72 < (last.start - first.start) / 3600 <= 72.1


@pytest.mark.usefixtures("quiet")
def test_a_message_that_crashes_each_worker_exhausts_its_product_and_no_other() -> None:
    world = judged(SCENARIOS["deadly-message"](0))
    states = {int(item.fields.price): item.sync for item in world.store.products.values()}
    assert (states[1].status, states[1].last_error) == (
        "exhausted",
        "every worker that tried it has crashed",
    )
    assert states[2].status == "delivered"


def test_the_same_seed_gives_the_same_run() -> None:
    first, again = (simulate("--seeds", "1", "--first", "7", "--show", "400") for _ in range(2))
    assert len(first.stdout.splitlines()) > 20
    assert first.stdout.splitlines()[:-1] == again.stdout.splitlines()[:-1]


def test_an_outage_costs_one_call_in_two_seconds_and_ends_within_minutes() -> None:
    half_hour = 1800
    figures = LongOutage(20_000, half_hour, BreakerPolicy()).run()
    assert figures.calls < half_hour / 2 + 100
    assert figures.attempts <= 2
    assert figures.converged < 120
    assert figures.in_flight < 2000
    without = LongOutage(20_000, half_hour, NEVER).run()
    assert without.calls > 50 * figures.calls
    assert without.converged > half_hour / 2
