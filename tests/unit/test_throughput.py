"""Rates of the last minutes, and when the rest will be delivered."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from chalicelib.domain.breaker import RAMP_STEPS, Breaker, BreakerPolicy, BreakerState
from chalicelib.domain.control import Control, Pause
from chalicelib.domain.throughput import (
    MINUTE,
    Minute,
    Throughput,
    minute_of,
    seconds_to_converge,
    shown_minutes,
)
from tests.fakes import START

NOW = START + timedelta(hours=2, seconds=30)
CURRENT = minute_of(NOW)
POLICY = BreakerPolicy(ramp_rate=20, ramp_step=5)


def lately(*delivered: int, now: datetime = NOW) -> Throughput:
    """So many deliveries in the last minutes, the current one last."""
    minutes = [
        Minute(minute_of(now) - number * MINUTE, count)
        for number, count in enumerate(reversed(delivered))
    ]
    return Throughput.of(minutes, now)


# ---- the minutes ----


def test_the_last_sixty_minutes_are_shown_oldest_first() -> None:
    minutes = shown_minutes(NOW)

    assert (len(minutes), minutes[0], minutes[-1]) == (60, CURRENT - 59 * MINUTE, CURRENT)


def test_no_minute_is_left_out() -> None:
    shown = lately(7, 0, 5).to_json()["minutes"]

    assert [minute["at"] for minute in shown[-3:]] == [
        "2026-01-01T01:58:00.000Z",
        "2026-01-01T01:59:00.000Z",
        "2026-01-01T02:00:00.000Z",
    ]
    assert [minute["delivered"] for minute in shown] == [*[0] * 57, 7, 0, 5]


def test_minutes_that_are_not_shown_are_left_out() -> None:
    old = Throughput.of([Minute(CURRENT - 60 * MINUTE, 9), Minute(CURRENT + MINUTE, 9)], NOW)

    assert sum(minute.delivered for minute in old.minutes) == 0


def test_the_rate_is_the_mean_of_five_whole_minutes_and_the_current_one() -> None:
    # 5.5 minutes; what was before does not count.
    assert lately(1000, 10, 10, 10, 10, 10, 5).to_json()["deliveredPerMinute"] == 10.0


def test_failures_have_a_rate_too() -> None:
    counted = Throughput.of([Minute(CURRENT - MINUTE, failed=11)], NOW)

    assert counted.to_json()["failedPerMinute"] == 2.0


def test_the_kinds_are_those_of_fifteen_minutes_most_frequent_first() -> None:
    minutes = [
        Minute(CURRENT - 15 * MINUTE, failed=9, kinds={"worker": 9}),
        Minute(CURRENT - 14 * MINUTE, failed=1, kinds={"timeout": 1}),
        Minute(CURRENT, failed=5, kinds={"timeout": 2, "http-503": 4}),
    ]

    kinds = Throughput.of(minutes, NOW).to_json()["failureKinds"]

    assert list(kinds.items()) == [("http-503", 4), ("timeout", 3)]


# ---- the estimate ----


def estimate(waiting: int, rates: Throughput, control: Control | None = None) -> float | None:
    return seconds_to_converge(waiting, rates, control or Control(), POLICY)


ONE_A_SECOND = lately(60, 60, 60, 60, 60, 30)


def test_what_waits_is_delivered_at_the_rate_of_the_last_minutes() -> None:
    assert estimate(300, ONE_A_SECOND) == 300.0


def test_after_a_rest_what_is_delivered_now_counts() -> None:
    assert estimate(300, lately(0, 0, 0, 0, 0, 60)) == 150.0
    assert estimate(300, lately(0, 0, 0, 0, 60, 90)) == 100.0


def test_an_estimate_is_never_zero_while_something_waits() -> None:
    assert estimate(1, lately(60_000, 60_000, 60_000, 60_000, 60_000, 30_000)) == 0.1


@pytest.mark.parametrize(
    "control",
    [Control(), Control(pause=Pause(START)), Control(Breaker(BreakerState.OPEN))],
    ids=["all is well", "paused", "breaker open"],
)
def test_if_nothing_waits_it_has_converged(control: Control) -> None:
    assert estimate(0, lately(0), control) == 0.0


@pytest.mark.parametrize(
    "control",
    [
        Control(pause=Pause(START)),
        Control(Breaker(BreakerState.OPEN)),
        Control(Breaker(BreakerState.HALF_OPEN)),
    ],
    ids=["paused", "breaker open", "half open"],
)
def test_nobody_knows_while_no_calls_are_made(control: Control) -> None:
    assert estimate(300, ONE_A_SECOND, control) is None


def test_nobody_knows_if_nothing_was_delivered_lately() -> None:
    assert estimate(300, lately(1000, 0, 0, 0, 0, 0, 0)) is None


def test_a_limit_that_was_lowered_since_counts() -> None:
    policy = replace(POLICY, max_rate=0.5)

    assert seconds_to_converge(300, ONE_A_SECOND, Control(), policy) == 600.0


def test_a_limit_above_the_rate_changes_nothing() -> None:
    policy = replace(POLICY, max_rate=100)

    assert seconds_to_converge(300, ONE_A_SECOND, Control(), policy) == 300.0


def test_a_cooldown_is_waited_for() -> None:
    cooling = Control(Breaker(cooldown_until=NOW + timedelta(seconds=20)))

    assert estimate(300, ONE_A_SECOND, cooling) == 320.0


def ramp(seconds: float) -> Control:
    """The ramp began so many seconds ago."""
    return Control(Breaker(ramp_since=NOW - timedelta(seconds=seconds)))


def test_after_an_outage_only_the_time_since_counts_and_the_rate_doubles_with_the_ramp() -> None:
    # 10 s: 20 in the current minute, 2 a second. 5 s at 2, 5 s at 4, 5 s at 8, then 16 a second.
    assert estimate(70 + 32, lately(0, 0, 0, 0, 0, 20), ramp(10)) == 17.0


def test_the_ramp_may_end_before_its_next_step() -> None:
    assert estimate(5, lately(0, 0, 0, 0, 0, 20), ramp(10)) == 2.5


def test_the_rate_does_not_exceed_the_limit_of_the_ramp() -> None:
    # 400 in one second: the limit is 20 a second for 4 s more, then 40.
    assert estimate(80 + 40, lately(0, 0, 0, 0, 0, 400), ramp(1)) == 5.0


def test_after_its_last_step_the_ramp_does_not_count() -> None:
    over = ramp(RAMP_STEPS * POLICY.ramp_step)

    # 60 in the 30 s of this minute.
    assert estimate(120, lately(0, 0, 0, 0, 0, 60), over) == 60.0


def test_a_ramp_long_ago_does_not_lengthen_the_time_that_is_looked_at() -> None:
    assert estimate(300, ONE_A_SECOND, ramp(3600)) == 300.0


def test_a_ramp_that_began_by_a_clock_that_is_ahead_is_at_its_first_step() -> None:
    # Its minute has 10, as of one second; 5 + 5 s until the second step.
    assert estimate(100, lately(0, 0, 0, 0, 0, 10), ramp(-5)) == 10.0
