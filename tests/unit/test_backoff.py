"""The schedule: 18 attempts, 17 waits, 72 hours; held for every other setting as well."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.retry import (
    JITTER,
    LONGEST_STEP_SECONDS,
    SQS_MAX_VISIBILITY_SECONDS,
    VISIBILITY_MARGIN_SECONDS,
    Schedule,
    visibility_timeout,
    waits,
)

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
DEFAULT = Schedule()
REAL_SQS_HOURS = 12


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    attempts = draw(st.integers(2, 40))
    max_wait = draw(st.floats(0.1, LONGEST_STEP_SECONDS))
    horizon = draw(st.floats(0.01, 1)) * (attempts - 1) * max_wait
    return Schedule(attempts, horizon, max_wait)


def test_the_default_is_17_waits_that_add_up_to_72_hours() -> None:
    assert len(DEFAULT.waits) == 17
    assert math.isclose(sum(DEFAULT.waits), 72 * 3600)


def test_the_default_starts_with_15_seconds_and_ends_with_five_times_11_hours() -> None:
    assert [round(wait) for wait in DEFAULT.waits[:4]] == [15, 30, 60, 120]
    assert DEFAULT.waits[-5:] == (39_600,) * 5
    assert DEFAULT.waits[-6] < 39_600


def test_every_default_wait_fits_into_a_visibility_timeout_of_sqs() -> None:
    assert max(DEFAULT.waits) < REAL_SQS_HOURS * 3600


@given(schedules())
def test_the_waits_of_any_schedule_add_up_to_its_horizon(schedule: Schedule) -> None:
    assert math.isclose(sum(schedule.waits), schedule.horizon, rel_tol=1e-9)


@given(schedules())
def test_the_waits_of_any_schedule_double_until_the_cap(schedule: Schedule) -> None:
    for wait, following in zip(schedule.waits, schedule.waits[1:], strict=False):
        assert math.isclose(following, min(2 * wait, schedule.max_wait), rel_tol=1e-9)


def test_waits_that_cannot_span_the_horizon_are_refused() -> None:
    with pytest.raises(ValueError, match="17 waits of at most 10 s cannot span 200 s"):
        waits(18, 200, 10)


def test_a_single_attempt_has_no_waits() -> None:
    assert waits(1, 100, 10) == ()


@given(schedules(), st.data())
def test_an_attempt_is_aimed_at_the_sum_of_the_waits_before_it(
    schedule: Schedule, data: st.DataObject
) -> None:
    failed = data.draw(st.integers(1, schedule.attempts - 1))
    # Each attempt took place when it was due: the only delays are the waits themselves.
    due = FIRST + seconds(sum(schedule.waits[: failed - 1]))
    aim = schedule.next_attempt(failed=failed, first=FIRST, now=due, jitter=0)
    assert aim is not None
    expected = FIRST + seconds(sum(schedule.waits[:failed]))
    assert abs(aim - expected) < seconds(0.001)


@given(schedules(), st.data(), st.floats(0, 1))
def test_jitter_moves_an_attempt_at_most_a_fifth_of_its_wait_earlier_and_never_later(
    schedule: Schedule, data: st.DataObject, jitter: float
) -> None:
    failed = data.draw(
        st.integers(2, schedule.attempts - 1) if schedule.attempts > 2 else st.just(1)
    )
    due = FIRST + seconds(sum(schedule.waits[: failed - 1]))
    plain = schedule.next_attempt(failed=failed, first=FIRST, now=due, jitter=0)
    moved = schedule.next_attempt(failed=failed, first=FIRST, now=due, jitter=jitter)
    assert plain is not None
    assert moved is not None
    assert seconds(-0.001) <= plain - moved <= seconds(JITTER * schedule.waits[failed - 1] + 0.001)


@given(schedules(), st.data(), st.floats(0, 1), st.floats(0, 500_000), st.floats(0, 500_000))
def test_an_attempt_is_never_in_the_past_nor_past_the_horizon(
    schedule: Schedule, data: st.DataObject, jitter: float, late: float, retry_after: float
) -> None:
    failed = data.draw(st.integers(1, schedule.attempts - 1))
    now = FIRST + seconds(late)
    end = FIRST + seconds(schedule.horizon)
    due = schedule.next_attempt(
        failed=failed,
        first=FIRST,
        now=now,
        jitter=jitter,
        retry_after=now + seconds(retry_after),
    )
    if now >= end:
        assert due is None
    else:
        assert due is not None
        assert now <= due <= end


@given(st.lists(st.floats(0, 1), min_size=17, max_size=17))
def test_no_step_is_longer_than_a_visibility_timeout_of_sqs_whatever_the_jitter(
    jitters: list[float],
) -> None:
    now = FIRST
    for failed, jitter in enumerate(jitters, 1):
        # A call takes its time too.
        asked = now + seconds(60)
        due = DEFAULT.next_attempt(failed=failed, first=FIRST, now=asked, jitter=jitter)
        assert due is not None
        assert visibility_timeout(due, asked, received=now) >= (due - asked).total_seconds()
        now = due
    assert seconds(69 * 3600) < now - FIRST <= seconds(72 * 3600)


@given(schedules())
def test_the_budget_ends_with_the_last_attempt(schedule: Schedule) -> None:
    given_up = schedule.next_attempt(failed=schedule.attempts, first=FIRST, now=FIRST, jitter=0)
    assert given_up is None


def test_after_an_outage_of_our_own_the_attempts_are_not_burnt_in_one_go() -> None:
    now = FIRST + timedelta(hours=10)
    due = DEFAULT.next_attempt(failed=3, first=FIRST, now=now, jitter=1)
    assert due == now + seconds(DEFAULT.waits[0])


def test_retry_after_moves_an_attempt_later() -> None:
    wish = FIRST + timedelta(hours=1)
    due = DEFAULT.next_attempt(failed=1, first=FIRST, now=FIRST, jitter=0, retry_after=wish)
    assert due == wish


def test_retry_after_does_not_move_an_attempt_earlier() -> None:
    due = DEFAULT.next_attempt(failed=1, first=FIRST, now=FIRST, jitter=0, retry_after=FIRST)
    assert due == FIRST + seconds(DEFAULT.waits[0])


def test_retry_after_is_cut_to_a_visibility_timeout_of_sqs() -> None:
    wish = FIRST + timedelta(days=2)
    due = DEFAULT.next_attempt(failed=1, first=FIRST, now=FIRST, jitter=0, retry_after=wish)
    assert due == FIRST + seconds(DEFAULT.max_wait)


@given(
    wanted=st.floats(-100_000, 1_000_000),
    elapsed=st.floats(0, SQS_MAX_VISIBILITY_SECONDS),
)
def test_a_visibility_timeout_never_exceeds_what_sqs_allows_for_the_receipt(
    wanted: float, elapsed: float
) -> None:
    now = FIRST + seconds(elapsed)
    timeout = visibility_timeout(now + seconds(wanted), now, received=FIRST)
    assert timeout >= 0
    assert (
        timeout == 0
        or elapsed + timeout <= SQS_MAX_VISIBILITY_SECONDS - VISIBILITY_MARGIN_SECONDS + 1
    )


@given(wanted=st.floats(0, 39_600))
def test_a_visibility_timeout_lasts_at_least_as_long_as_wanted(wanted: float) -> None:
    until = FIRST + seconds(wanted)
    assert visibility_timeout(until, FIRST, received=FIRST) >= (until - FIRST).total_seconds()


@given(schedules(), st.integers(0, 100))
def test_the_stateless_wait_follows_the_schedule_by_the_receive_count(
    schedule: Schedule, receives: int
) -> None:
    index = min(max(receives, 1), len(schedule.waits)) - 1
    assert schedule.stateless_wait(receives) == max(1.0, schedule.waits[index])


def test_a_schedule_without_waits_has_no_stateless_wait() -> None:
    assert Schedule(1, 10, 10).stateless_wait(3) == 0
