"""The state of the sync as a whole: breaker, pause, and what follows when they end."""

from __future__ import annotations

from datetime import timedelta

from chalicelib.domain.breaker import Admission, Breaker, BreakerPolicy, BreakerState, Report
from chalicelib.domain.control import CatchUp, Control, Pause
from tests.fakes import START

POLICY = BreakerPolicy(successes=1)
HOUR = timedelta(hours=1)
OPEN = Control(Breaker(BreakerState.OPEN, START, "HTTP 503", START))


def test_a_pause_stops_all_calls_also_probes() -> None:
    for control in (Control(), OPEN):
        paused = control.paused(Pause(START))

        assert paused.admit(5, START, POLICY) == (Admission(0, again=None), paused)
        assert paused.held_by(START) == "paused"


def test_a_second_pause_keeps_the_beginning_of_the_first() -> None:
    paused = Control().paused(Pause(START, "first")).paused(Pause(START + HOUR, "second"))

    assert paused.pause == Pause(START, "second")


def test_a_pause_after_one_that_has_ended_begins_anew() -> None:
    paused = Control().paused(Pause(START, until=START + HOUR))

    assert paused.paused(Pause(START + HOUR)).pause == Pause(START + HOUR)


def test_what_waits_is_brought_forward_when_an_operator_resumes_and_the_ramp_begins() -> None:
    resumed = Control().paused(Pause(START)).resumed(START + HOUR)

    assert resumed.pause is None
    assert resumed.catch_up == CatchUp(START + HOUR)
    assert resumed.breaker.limit(START + HOUR, POLICY) == POLICY.ramp_rate


def test_resuming_what_is_not_paused_changes_nothing() -> None:
    assert Control().resumed(START) == Control()


def test_resuming_does_not_close_the_breaker() -> None:
    resumed = OPEN.paused(Pause(START)).resumed(START)

    assert resumed.breaker == OPEN.breaker


def test_a_pause_ends_by_itself_as_if_an_operator_had_resumed() -> None:
    paused = Control().paused(Pause(START, until=START + HOUR))
    just_before = START + HOUR - timedelta(milliseconds=1)

    assert paused.settled(just_before) is paused
    assert paused.settled(START + HOUR) == paused.resumed(START + HOUR)


def test_the_first_call_after_the_end_of_a_pause_ends_it_for_all() -> None:
    paused = Control().paused(Pause(START, until=START + HOUR))

    admission, after = paused.admit(1, START + HOUR, POLICY)

    assert admission.granted == 1
    assert (after.pause, after.catch_up) == (None, CatchUp(START + HOUR))


def test_what_waits_is_brought_forward_when_the_breaker_closes() -> None:
    assert OPEN.held_by(START)

    closed = OPEN.probed(Report(1), START + HOUR, POLICY)

    assert closed.held_by(START + HOUR) is None
    assert closed.catch_up == CatchUp(START + HOUR)


def test_a_probe_that_fails_brings_nothing_forward() -> None:
    down = Report(1, 1, frozenset("a"))

    assert OPEN.probed(down, START, POLICY).catch_up is None


def test_calls_are_admitted_without_a_change_while_all_is_well() -> None:
    control = Control()

    assert control.admit(5, START, POLICY) == (Admission(5), control)
    assert control.admit(5, START, POLICY)[1] is control
