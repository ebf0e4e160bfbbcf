"""The arithmetic of what a delivery costs, and the reading of the processes' CPU time."""

from __future__ import annotations

import threading
import time

import pytest

from embedded.delivery_cost import LOGS, OURS, Cost, cost, percentile, send, table


def made(waits: list[float], used: dict[str, float], *, steady: bool = True) -> Cost:
    return Cost(2.0, waits, used, steady)


def lines_of(ours: Cost, base: Cost) -> dict[str, list[str]]:
    """The columns of each line of the table, by its label."""
    return {line[:38].strip(): line[38:].split() for line in table("", (ours, base))}


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (0.001, 1), (1, 100)]
)
def test_a_percentile_is_the_value_that_this_share_does_not_exceed(
    share: float, expected: int
) -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert percentile(values, share) == expected


def test_a_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7.0], 0.99) == 7.0


def test_a_delivery_lasts_from_its_write_to_its_first_arrival() -> None:
    calls = [
        {"id": "a", "time": "1970-01-01T00:00:11.500Z"},
        {"id": "b", "time": "1970-01-01T00:00:13.000Z"},
        {"id": "a", "time": "1970-01-01T00:00:19.000Z"},
    ]
    found = cost({"a": 10.0, "b": 12.0}, calls, {}, steady=True)
    assert (found.seconds, found.waits) == (3.0, [1500.0, 1000.0])


def test_costs_of_two_rounds_add_up() -> None:
    both = made([1.0], {"api": 2.0}) + made([3.0], {"api": 4.0})
    assert both == Cost(4.0, [1.0, 3.0], {"api": 6.0}, steady=True)


def test_the_table_gives_both_sides_and_their_ratio() -> None:
    lines = lines_of(made([30.0, 30.0], {"mongodb": 0.04}), made([5.0, 5.0], {"mongodb": 0.01}))
    assert lines["ms until delivered, p99"] == ["30.00", "5.00", "6.00"]
    assert lines["mongodb"] == ["20.00", "5.00", "4.00"]


def test_what_the_baseline_does_not_have_has_no_ratio() -> None:
    used = {**dict.fromkeys(OURS, 0.001), "clients": 0.01, LOGS: 4000}
    lines = lines_of(made([1.0, 1.0], used), made([1.0, 1.0], {"mongodb": 0.001}))
    assert lines["api"] == ["0.50"]
    assert lines["the catalog and its servers"] == ["3.50"]
    assert lines["log bytes per product"] == ["2,000"]


def test_a_burst_has_no_time_until_delivered() -> None:
    burst = made([1.0], {}, steady=False)
    assert "ms until delivered, p50" not in lines_of(burst, burst)


def test_every_product_is_written_once() -> None:
    written: list[int] = []

    def write(number: int) -> str:
        written.append(number)
        return str(number)

    began = send(lambda: write, range(5, 25), None)
    assert sorted(written) == list(range(5, 25))
    assert set(began) == {str(number) for number in written}


def test_at_a_rate_a_late_write_counts_from_when_it_was_due() -> None:
    turn = threading.Lock()

    def write(number: int) -> str:
        # One at a time, so that each is later than the one before.
        with turn:
            time.sleep(0.01)
        return str(number)

    began = send(lambda: write, range(10), 1000.0)
    assert began["9"] - began["0"] == pytest.approx(0.009, abs=1e-5)
