"""The schedule: 18 attempts, 17 waits, 72 hours; held for every other setting as well."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.retry import (
    JITTER,
    LONGEST_WAIT_SECONDS,
    SQS_MAX_VISIBILITY_SECONDS,
    VISIBILITY_MARGIN_SECONDS,
    NextAttempt,
    Schedule,
    visibility_timeout,
    waits,
)

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
DEFAULT = Schedule()
REAL_SQS_HOURS = 12
HOUR = 3600.0


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    attempts = draw(st.integers(2, 40))
    max_wait = draw(st.floats(0.1, LONGEST_WAIT_SECONDS))
    horizon = draw(st.floats(0.01, 1)) * (attempts - 1) * max_wait
    return Schedule(attempts, horizon, max_wait)


def test_the_default_is_17_waits_that_add_up_to_72_hours() -> None:
    assert len(DEFAULT.waits) == 17
    assert math.isclose(sum(DEFAULT.waits), 72 * 3600)


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


# ---- the way through a budget ----


@dataclass(frozen=True, slots=True)
class Step:
    """An attempt that failed, the wait's start, and what follows."""

    started: datetime
    base: datetime
    following: NextAttempt


def way(
    *,
    schedule: Schedule = DEFAULT,
    jitters: Iterable[float] = (),
    lateness: Iterable[float] = (),
    wishes: Iterable[float | None] = (),
) -> list[Step]:
    """Fail until nothing is left; how early, how late and after which wish each attempt comes.

    `lateness` counts from when the attempt is due, `wishes` are Retry-Afters from its start.
    """
    jitter, late, wish = (chain(given, repeat(None)) for given in (jitters, lateness, wishes))
    steps: list[Step] = []
    started, aim, ends = FIRST, None, None
    while True:
        asked = next(wish)
        following = schedule.next_attempt(
            failed=len(steps) + 1,
            started=started,
            aim=aim,
            ends=ends,
            jitter=next(jitter) or 0,
            retry_after=None if asked is None else started + seconds(asked),
        )
        if following is None:
            return steps
        steps.append(Step(started, max(started, aim or started), following))
        aim, ends = following.aim, following.ends
        started = following.due + seconds(next(late) or 0)


JITTERS = st.lists(st.floats(0, 1), max_size=18)
# A second early is what EARLY allows; days late is an outage of our own.
LATENESS = st.lists(
    st.one_of(st.just(-1.0), st.just(0.0), st.floats(0, 400), st.floats(0, 90 * HOUR)), max_size=18
)
WISHES = st.lists(st.one_of(st.none(), st.floats(0, 100 * HOUR)), max_size=18)
ROUNDING = seconds(0.001)


def test_the_durations_are_those_that_the_documentation_names() -> None:
    took = [(step.following.due - step.started).total_seconds() for step in way()]
    seconds_and_minutes = [round(wait / 15) * 15 for wait in took[:4]]
    assert seconds_and_minutes == [15, 30, 60, 120]
    assert [round(wait / 60) for wait in took[4:10]] == [4, 8, 16, 32, 64, 128]
    assert [round(wait / HOUR, 1) for wait in took[10:12]] == [4.3, 8.5]
    assert [round(wait / HOUR, 3) for wait in took[12:]] == [11] * 5


@given(schedules())
def test_a_budget_without_delays_is_spent_by_the_plan(schedule: Schedule) -> None:
    steps = way(schedule=schedule)
    assert len(steps) == schedule.attempts - 1
    for wait, step in zip(schedule.waits, steps, strict=True):
        assert abs(step.following.due - step.started - seconds(wait)) < ROUNDING


@given(JITTERS, LATENESS)
def test_without_retry_after_there_are_18_attempts_and_no_wait_is_below_the_plan(
    jitters: list[float], lateness: list[float]
) -> None:
    steps = way(jitters=jitters, lateness=lateness)
    assert len(steps) + 1 == 18
    for planned, step in zip(DEFAULT.waits, steps, strict=True):
        assert step.following.aim - step.base >= seconds(planned) - ROUNDING
        assert step.following.due - step.base >= seconds((1 - JITTER) * planned) - ROUNDING


@given(JITTERS, LATENESS)
def test_the_18th_attempt_is_due_at_72_hours_and_all_lateness(
    jitters: list[float], lateness: list[float]
) -> None:
    steps = way(jitters=jitters, lateness=lateness)
    aims = [FIRST, *(step.following.aim for step in steps)]
    late = sum(
        (max(step.started - aim, timedelta()) for step, aim in zip(steps, aims, strict=False)),
        timedelta(),
    )
    last = steps[-1].following
    assert abs(last.aim - (FIRST + seconds(72 * HOUR) + late)) < ROUNDING
    assert last.aim - last.due <= seconds(JITTER * DEFAULT.max_wait) + ROUNDING


@given(JITTERS, LATENESS, WISHES)
def test_no_wait_is_a_burst_nor_longer_than_the_cap_and_the_jitter_before_it(
    jitters: list[float], lateness: list[float], wishes: list[float | None]
) -> None:
    steps = way(jitters=jitters, lateness=lateness, wishes=wishes)
    assert len(steps) <= 17
    for step in steps:
        wait = step.following.due - step.started
        assert wait >= seconds(0.4 * DEFAULT.waits[0]) - ROUNDING
        assert wait <= seconds(13.2 * HOUR + 1)
        assert step.following.due <= step.following.aim <= step.following.ends + ROUNDING


@given(LATENESS, WISHES, st.floats(0, 1))
def test_jitter_moves_an_attempt_earlier_only_and_by_a_fifth_of_its_wait_at_most(
    lateness: list[float], wishes: list[float | None], jitter: float
) -> None:
    *_, (started, base, plain) = (
        (step.started, step.base, step.following) for step in way(lateness=lateness, wishes=wishes)
    )
    moved = DEFAULT.next_attempt(
        failed=17, started=started, aim=base, ends=plain.ends, jitter=jitter
    )
    if moved is not None:
        assert moved.ends == plain.ends
        assert timedelta() <= moved.aim - moved.due <= JITTER * (moved.aim - base) + ROUNDING


@given(JITTERS, LATENESS, st.floats(0, 1), st.floats(0, 100 * HOUR))
def test_retry_after_moves_an_attempt_later_by_the_cap_and_to_the_end_at_most(
    jitters: list[float], lateness: list[float], jitter: float, wish: float
) -> None:
    for failed, step in enumerate(way(jitters=jitters, lateness=lateness), 1):
        known = {"failed": failed, "started": step.started, "aim": step.base, "jitter": jitter}
        ends, asked = step.following.ends, step.started + seconds(wish)
        plain = DEFAULT.next_attempt(ends=ends, **known)  # type: ignore[arg-type]  # by name
        moved = DEFAULT.next_attempt(ends=ends, retry_after=asked, **known)  # type: ignore[arg-type]  # by name
        assert plain is not None
        assert moved is not None
        latest = min(step.base + seconds(DEFAULT.max_wait), ends)
        assert plain.due <= moved.due <= latest + ROUNDING
        assert moved.ends == ends
        assert moved.due >= min(asked, latest)


def test_retry_after_uses_the_horizon_up() -> None:
    steps = way(wishes=[20 * HOUR] * 18)
    waits_in_hours = [round((s.following.due - s.started).total_seconds() / HOUR) for s in steps]
    assert waits_in_hours == [11, 11, 11, 11, 11, 11, 6]
    assert steps[-1].following.due == FIRST + seconds(72 * HOUR)


def test_retry_after_does_not_move_an_attempt_earlier() -> None:
    assert way(wishes=[1.0])[0] == way()[0]


def test_lateness_moves_the_end_of_the_horizon_by_as_much() -> None:
    steps = way(lateness=[10 * HOUR])
    assert steps[0].following.ends == FIRST + seconds(72 * HOUR)
    assert steps[1].following.ends == FIRST + seconds(82 * HOUR)


def test_an_attempt_that_jitter_brought_forward_is_no_gift() -> None:
    first, second, *_ = way(jitters=[1.0])
    assert second.started < first.following.aim == second.base


def test_a_single_attempt_is_followed_by_none() -> None:
    assert way(schedule=Schedule(1, 0)) == []


@given(schedules())
def test_the_budget_ends_with_the_last_attempt(schedule: Schedule) -> None:
    given_up = schedule.next_attempt(
        failed=schedule.attempts, started=FIRST, aim=None, ends=None, jitter=0
    )
    assert given_up is None


# ---- visibility timeouts ----


def test_a_wait_of_13_hours_takes_two_visibility_timeouts_of_sqs() -> None:
    until = FIRST + seconds(13.2 * HOUR)
    first = visibility_timeout(until, FIRST, received=FIRST)
    then = FIRST + seconds(first)
    assert first < REAL_SQS_HOURS * HOUR
    assert then + seconds(visibility_timeout(until, then, received=then)) == until


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
