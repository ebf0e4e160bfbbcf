"""Probes of an open breaker: what closes it, and what does not keep it open."""

from __future__ import annotations

from datetime import timedelta

from chalicelib.domain.breaker import Breaker, BreakerPolicy, BreakerState, Report
from chalicelib.domain.control import CatchUp, Control
from tests.unit.delivery.steps import NOW

POLICY = BreakerPolicy(successes=3)
OPEN = Breaker(BreakerState.OPEN, since=NOW, probe_at=NOW)
ANSWERED = Report(1)


def failure_of(product: str) -> Report:
    return Report(1, 1, frozenset({product}), "HTTP 503")


def after(*reports: Report) -> Breaker:
    breaker = OPEN
    for number, report in enumerate(reports):
        breaker = breaker.probed(report, NOW + timedelta(seconds=number), POLICY)
    return breaker


def test_several_answered_probes_close_the_breaker() -> None:
    assert not after(ANSWERED, ANSWERED).is_closed
    assert after(ANSWERED, ANSWERED, ANSWERED).is_closed


def test_one_product_that_always_fails_does_not_keep_the_breaker_open() -> None:
    poison = failure_of("poison")
    assert after(ANSWERED, poison, ANSWERED, poison, ANSWERED).is_closed


def test_failures_of_two_products_begin_the_count_again() -> None:
    down = (failure_of("one"), failure_of("another"))
    assert not after(ANSWERED, ANSWERED, *down, ANSWERED, ANSWERED).is_closed
    assert after(ANSWERED, *down, ANSWERED, ANSWERED, ANSWERED).is_closed


def test_the_breaker_closes_where_no_other_product_is_left_to_ask_with() -> None:
    assert after(ANSWERED, failure_of("poison")).starved(NOW).is_closed


def test_the_breaker_stays_open_without_any_answered_probe() -> None:
    breaker = after(failure_of("only"), failure_of("only"))
    assert breaker.starved(NOW) is breaker


def test_what_waits_is_brought_forward_when_no_product_is_left_to_ask_with() -> None:
    assert Control(after(ANSWERED)).starved(NOW).catch_up == CatchUp(NOW)
