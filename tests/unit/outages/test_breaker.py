"""The state machine of the circuit breaker."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain.breaker import (
    LONGEST_COOLDOWN,
    LONGEST_QUEUE,
    RAMP_STEPS,
    Admission,
    Breaker,
    BreakerPolicy,
    BreakerState,
    Report,
)
from tests.fakes import START

POLICY = BreakerPolicy()
BAD = Report(10, 10, frozenset("abcde"), "HTTP 503")
"""Just enough to open it."""
GOOD = Report(1)
DOWN = Report(1, 1, frozenset("a"), "HTTP 500")


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def opened() -> Breaker:
    """A breaker that has opened at START."""
    return Breaker().reported(BAD, START, POLICY)


def probing(breaker: Breaker, after: float) -> Breaker:
    """The breaker while the probe is made that begins so many seconds after START."""
    admission, probing = breaker.admit(3, START + seconds(after), POLICY)
    assert admission == Admission(1, probe=True, again=None)
    return probing


def closed() -> Breaker:
    """A breaker that has closed again, 10 s after START."""
    breaker = opened()
    for _ in range(POLICY.successes):
        breaker = probing(breaker, 10).probed(GOOD, START + seconds(10), POLICY)
    return breaker


# ---- opening ----


def test_a_new_breaker_admits_every_call_and_does_not_change() -> None:
    breaker = Breaker()

    admission, after = breaker.admit(1000, START, POLICY)

    assert admission == Admission(1000)
    assert after is breaker


def test_it_opens_when_most_calls_for_many_products_fail() -> None:
    breaker = opened()

    assert (breaker.state, breaker.since, breaker.reason) == (BreakerState.OPEN, START, "HTTP 503")


def test_one_product_that_always_fails_does_not_open_it() -> None:
    report = Report(100, 100, frozenset("a"))

    assert Breaker().reported(report, START, POLICY).is_closed


def test_few_failures_do_not_open_it() -> None:
    report = Report(9, 9, frozenset("abcdefghi"))

    assert Breaker().reported(report, START, POLICY).is_closed


def test_random_errors_do_not_open_it_however_many() -> None:
    report = Report(100, 79, frozenset("abcdefghi"))

    assert Breaker().reported(report, START, POLICY).is_closed


def test_products_that_always_fail_do_not_open_it_while_others_are_answered() -> None:
    repeated = Report(100, 100, frozenset("abcdefghi"), repeated=100)

    assert Breaker().reported(repeated.plus(GOOD), START, POLICY).is_closed


def test_it_opens_if_all_fail_though_all_have_failed_before() -> None:
    repeated = Report(10, 10, frozenset("abcde"), repeated=10)

    assert not Breaker().reported(repeated, START, POLICY).is_closed


def test_new_failures_open_it_among_products_that_always_fail() -> None:
    mixed = Report(112, 110, frozenset("abcde"), repeated=100)

    assert not Breaker().reported(mixed, START, POLICY).is_closed


def test_failures_of_several_workers_add_up() -> None:
    breaker = Breaker()
    for number in range(10):
        assert breaker.is_closed
        report = Report(1, 1, frozenset(str(number)))
        breaker = breaker.reported(report, START + seconds(number), POLICY)

    assert breaker.state is BreakerState.OPEN


def test_failures_from_before_the_window_do_not_count() -> None:
    half = Report(5, 5, frozenset("abcde"))

    breaker = Breaker().reported(half, START, POLICY)
    breaker = breaker.reported(half, START + seconds(POLICY.window), POLICY)

    assert breaker.is_closed


def test_nothing_is_remembered_while_nothing_fails() -> None:
    assert Breaker().reported(Report(100), START, POLICY) == Breaker()


def test_the_failures_are_forgotten_with_the_window() -> None:
    breaker = Breaker().reported(DOWN, START, POLICY)

    assert breaker.tallies
    assert not breaker.reported(GOOD, START + seconds(31), POLICY).tallies


def test_no_more_products_are_remembered_than_decide() -> None:
    breaker = Breaker()
    for number in range(50):
        report = Report(10, 1, frozenset({f"product {number}"}))
        breaker = breaker.reported(report, START + seconds(number / 100), POLICY)

    assert [len(tally.products) for tally in breaker.tallies] == [POLICY.products]


# ---- probes ----


def test_an_open_breaker_admits_nothing_before_the_probe_is_due() -> None:
    breaker = opened()

    admission, after = breaker.admit(5, START + seconds(1.9), POLICY)

    assert admission == Admission(0, again=None)
    assert after is breaker


def test_one_probe_is_admitted_at_a_time() -> None:
    breaker = probing(opened(), 2)

    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.admit(5, START + seconds(2), POLICY)[0] == Admission(0, again=None)


def test_a_probe_that_fails_is_followed_by_another_a_little_later() -> None:
    breaker = probing(opened(), 2).probed(DOWN, START + seconds(3), POLICY)

    assert (breaker.state, breaker.since) == (BreakerState.OPEN, START)
    assert not breaker.is_due(START + seconds(4.9))
    assert breaker.is_due(START + seconds(5))


def test_a_probe_whose_worker_died_is_followed_by_another() -> None:
    breaker = probing(opened(), 2)

    assert not breaker.is_due(START + seconds(41))
    assert breaker.is_due(START + seconds(42))


def test_a_probe_that_was_not_made_leaves_its_place_to_another() -> None:
    breaker = probing(opened(), 2).probed(None, START + seconds(2), POLICY)

    assert breaker.is_due(START + seconds(2))


def test_a_late_word_of_a_probe_that_was_not_made_changes_nothing() -> None:
    failed = probing(opened(), 2).probed(DOWN, START + seconds(3), POLICY)

    assert failed.probed(None, START + seconds(4), POLICY) == failed


def test_it_closes_after_several_answers_in_a_row() -> None:
    breaker = opened()
    for number in range(POLICY.successes):
        assert not breaker.is_closed
        breaker = probing(breaker, 10 + number).probed(GOOD, START + seconds(10), POLICY)

    assert (breaker.state, breaker.since) == (BreakerState.CLOSED, START + seconds(10))
    assert breaker.reason is None


def test_calls_that_were_under_way_when_it_opened_neither_close_nor_change_it() -> None:
    assert opened().reported(GOOD, START + seconds(1), POLICY) == opened()
    assert opened().reported(BAD, START + seconds(1), POLICY) == opened()


def test_a_late_probe_does_not_open_a_breaker_that_has_closed() -> None:
    assert closed().probed(DOWN, START + seconds(11), POLICY) == closed()


# ---- Retry-After ----


def wish(after: float) -> Report:
    return Report(1, 1, frozenset("a"), "HTTP 429", START + seconds(after))


def test_a_short_retry_after_stops_all_calls_until_then() -> None:
    breaker = Breaker().reported(wish(3), START, POLICY)

    assert breaker.is_closed
    assert breaker.admit(2, START + seconds(2.9), POLICY)[0].granted == 0
    assert breaker.admit(2, START + seconds(3), POLICY)[0].granted == 2


def test_equal_retry_afters_are_spread() -> None:
    breaker = Breaker().reported(wish(3), START, POLICY)

    first, breaker = breaker.admit(2, START, POLICY)
    second, _ = breaker.admit(1, START, POLICY)

    again = [3.05, 3.1, 3.15]
    assert [*(first.again or ()), *(second.again or ())] == [START + seconds(t) for t in again]


def test_a_shorter_retry_after_does_not_shorten_an_earlier_one() -> None:
    breaker = Breaker().reported(wish(4), START, POLICY).reported(wish(1), START, POLICY)

    assert breaker.cooldown_until == START + seconds(4)


def test_nobody_waits_long_for_the_end_of_a_short_retry_after_however_many_are_refused() -> None:
    breaker = Breaker()
    for number in range(5):
        breaker = breaker.reported(wish(10 * number + 3), START + seconds(10 * number), POLICY)
        for _ in range(100):
            admission, breaker = breaker.admit(10, START + seconds(10 * number), POLICY)
            assert max(admission.again or ()) <= START + seconds(10 * number + 3 + 10)


def test_a_long_retry_after_opens_it_and_no_probe_begins_before() -> None:
    breaker = Breaker().reported(wish(60), START, POLICY)

    assert (breaker.state, breaker.reason) == (BreakerState.OPEN, "HTTP 429")
    assert not breaker.is_due(START + seconds(59))
    assert breaker.is_due(START + seconds(60))


def test_the_retry_after_of_a_probe_is_honoured() -> None:
    breaker = probing(opened(), 2).probed(wish(100), START + seconds(3), POLICY)

    assert not breaker.is_due(START + seconds(99))
    assert breaker.is_due(START + seconds(100))


def test_the_retry_after_of_a_call_that_was_under_way_is_honoured() -> None:
    breaker = opened().reported(wish(100), START + seconds(1), POLICY)

    assert not breaker.is_due(START + seconds(99))


def test_the_retry_after_of_another_call_holds_though_the_probe_fails_meanwhile() -> None:
    breaker = probing(opened(), 2).reported(wish(100), START + seconds(3), POLICY)

    breaker = breaker.probed(DOWN, START + seconds(4), POLICY)

    assert not breaker.is_due(START + seconds(99))
    assert breaker.is_due(START + seconds(100))


def test_the_retry_after_of_another_call_holds_though_a_probe_closes_the_breaker() -> None:
    breaker = closed().reported(wish(14), START + seconds(10), POLICY)
    policy = BreakerPolicy(successes=1)
    half_open = probing(opened(), 2).reported(wish(14), START + seconds(3), POLICY)

    for after in (breaker, half_open.probed(GOOD, START + seconds(4), policy)):
        assert after.is_closed
        assert granted(after, POLICY, 13.9) == 0
        assert granted(after, POLICY, 14) > 0


def test_a_retry_after_among_the_failures_that_open_it_holds() -> None:
    breaker = Breaker().reported(BAD.plus(wish(4)), START, POLICY)

    assert not breaker.is_due(START + seconds(3.9))
    assert breaker.is_due(START + seconds(4))


def test_no_retry_after_stops_all_calls_for_longer_than_an_hour() -> None:
    breaker = Breaker().reported(wish(100_000), START, POLICY)

    assert breaker.is_due(START + LONGEST_COOLDOWN)


def test_a_retry_after_that_is_over_does_nothing() -> None:
    assert Breaker().reported(wish(0), START, POLICY).cooldown_until is None


# ---- limits ----


def granted(breaker: Breaker, policy: BreakerPolicy, at: float, wanted: int = 1000) -> int:
    return breaker.admit(wanted, START + seconds(at), policy)[0].granted


def test_a_breaker_that_has_closed_raises_the_rate_step_by_step() -> None:
    rates = [closed().limit(START + seconds(10 + step * 5), POLICY) for step in range(4)]

    assert rates == [20, 40, 80, 160]


def test_at_the_end_of_the_ramp_there_is_no_limit() -> None:
    assert closed().limit(START + seconds(10 + RAMP_STEPS * 5), POLICY) is None


def test_the_permits_of_a_second_are_used_up_once() -> None:
    policy = BreakerPolicy(max_rate=10)

    first, breaker = Breaker().admit(7, START, policy)
    second, breaker = breaker.admit(7, START, policy)

    assert (first.granted, second.granted) == (7, 3)
    assert granted(breaker, policy, 0) == 0
    assert granted(breaker, policy, 0.5) == 5


def test_unused_permits_are_kept_for_a_second_only() -> None:
    assert granted(Breaker(spent_until=START), BreakerPolicy(max_rate=10), 3600) == 10


def test_a_rate_below_one_per_second_grants_one_call_at_a_time() -> None:
    policy = BreakerPolicy(max_rate=0.5)
    first, breaker = Breaker().admit(2, START, policy)

    assert first.granted == 1
    assert granted(breaker, policy, 1.9) == 0
    assert granted(breaker, policy, 2) == 1


def test_permits_that_a_clock_ahead_has_used_up_are_not_granted_again() -> None:
    policy = BreakerPolicy(max_rate=2)
    admission, breaker = Breaker(spent_until=START + seconds(1)).admit(3, START, policy)

    assert admission.granted == 0
    assert admission.again is not None
    assert len(admission.again) == 3
    assert breaker.spent_until == START + seconds(1)


def test_in_the_long_run_the_rate_is_the_limit() -> None:
    policy, breaker, calls = BreakerPolicy(max_rate=7), Breaker(), 0
    for tick in range(3000):
        admission, breaker = breaker.admit(3, START + seconds(tick / 10), policy)
        calls += admission.granted

    assert calls == 7 * 300 + 6


def test_refused_calls_ask_again_one_after_another() -> None:
    policy = BreakerPolicy(max_rate=10)
    first, breaker = Breaker().admit(12, START, policy)
    second, _ = breaker.admit(2, START, policy)

    assert first.again == (START + seconds(0.1), START + seconds(0.2))
    assert second.again == (START + seconds(0.3), START + seconds(0.4))


@pytest.mark.parametrize("behind", [0.001, 0.1, 0.5])
def test_a_worker_whose_clock_is_behind_gets_no_permit_and_gives_none_back(behind: float) -> None:
    policy = BreakerPolicy(max_rate=20)
    _, used_up = Breaker().admit(20, START, policy)

    admission, after = used_up.admit(10, START - seconds(behind), policy)

    assert admission.granted == 0
    assert admission.again is not None
    assert len(admission.again) == 10
    assert after.spent_until == used_up.spent_until


def test_a_clock_that_was_wrong_by_an_hour_does_not_stop_the_calls() -> None:
    policy = BreakerPolicy(max_rate=20)
    _, wrong = Breaker().admit(20, START + seconds(3600), policy)

    assert granted(wrong, policy, 0) == 20


def test_nobody_waits_for_a_permit_for_hours_however_many_are_refused() -> None:
    policy, breaker = BreakerPolicy(max_rate=1), Breaker()
    for _ in range(200):
        admission, breaker = breaker.admit(10, START, policy)
        assert max(admission.again or ()) <= START + LONGEST_QUEUE


def test_in_the_ramp_nobody_waits_as_long_as_at_its_first_rate() -> None:
    admission, _ = closed().admit(1000, START + seconds(10), POLICY)

    assert admission.granted == 20
    assert max(admission.again or ()) == START + seconds(20)


def test_a_refusal_in_the_ramp_changes_nothing() -> None:
    _, used = closed().admit(1000, START + seconds(10), POLICY)

    assert used.admit(5, START + seconds(10), POLICY)[1] is used


def test_the_lower_limit_counts() -> None:
    policy = BreakerPolicy(max_rate=30)

    assert closed().limit(START + seconds(10), policy) == 20
    assert closed().limit(START + seconds(20), policy) == 30
    assert closed().limit(START + seconds(2000), policy) == 30


def test_reports_add_up() -> None:
    both = BAD.plus(wish(5))

    assert both == Report(11, 11, frozenset("abcde"), "HTTP 429", START + seconds(5))
