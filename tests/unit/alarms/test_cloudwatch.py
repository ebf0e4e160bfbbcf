"""How alarms are evaluated here: as CloudWatch describes it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.alarms.cloudwatch import Value, Watch, calculated


def alarm(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any field
    metrics = {"value": {"metric": "value", "statistic": "Maximum"}}
    return {"severity": "page", "metrics": metrics, "above": 0, "periods": 1, **changes}


def told(alarms: dict[str, Any], **metrics: list[Value]) -> list[tuple[int, str]]:
    """When who was notified of what."""
    minutes = len(next(iter(metrics.values())))
    return [(minute, name) for minute, _, name in Watch(alarms).replay(metrics, minutes).told]


# ---- metric math ----


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("two + two * 3 - 1", 7),
        ("two / none", None),
        ("two / 0", None),
        ("FILL(none, 5) / two", 2.5),
        ("FILL(two, 5)", 2),
        ("IF(two > 1 AND two < 3, 1, 0)", 1),
        ("IF(two >= 3, 1, 0)", 0),
        ("IF(none > 1, 1, 0)", None),
        ("IF(two > 1, 1, none)", None),
    ],
)
def test_metric_math(expression: str, value: Value) -> None:
    assert calculated(expression, {"two": 2.0, "none": None}) == value


def test_what_is_not_known_of_metric_math_is_an_error() -> None:
    with pytest.raises(ValueError, match="not of the metric math"):
        calculated("RATE(two)", {"two": 2.0})


# ---- periods ----


def test_an_alarm_notifies_once_when_it_is_raised_and_again_after_its_end() -> None:
    assert told({"a": alarm()}, value=[0, 1, 1, 0, 1]) == [(1, "a"), (4, "a")]


def test_so_many_of_the_last_periods_must_be_breached() -> None:
    assert told({"a": alarm(periods=2, of=4)}, value=[1, 0, 0, 0, 1, 0, 1, 0]) == [(6, "a")]


def test_a_value_may_be_too_low() -> None:
    low = alarm(below=1)
    del low["above"]
    assert told({"a": low}, value=[1, 0]) == [(1, "a")]


def test_a_period_ends_with_each_minute() -> None:
    metrics = {"value": {"metric": "value", "statistic": "Sum"}}
    long = alarm(metrics=metrics, above=2, seconds=180)
    assert told({"a": long}, value=[1, 1, 0, 1, 1, 1]) == [(5, "a")]


def test_each_window_must_be_breached() -> None:
    metrics = {"value": {"metric": "value", "statistic": "Sum"}}
    both = alarm(metrics=metrics, above=2, windows=[300, 60])
    assert told({"a": both}, value=[2, 2, 0, 3]) == [(3, "a")]


# ---- missing data ----


@pytest.mark.parametrize(
    ("missing", "minutes"), [("notBreaching", []), ("breaching", [0]), ("ignore", [])]
)
def test_a_period_without_data_at_first(missing: str, minutes: list[int]) -> None:
    assert told({"a": alarm(missing=missing)}, value=[None]) == [(at, "a") for at in minutes]


@pytest.mark.parametrize(
    ("missing", "times"), [("notBreaching", 2), ("breaching", 1), ("ignore", 1)]
)
def test_a_period_without_data_while_an_alarm_is_raised(missing: str, times: int) -> None:
    assert len(told({"a": alarm(missing=missing)}, value=[1, None, 1])) == times


def test_nothing_is_counted_where_there_is_no_data() -> None:
    metrics = {"value": {"metric": "value", "statistic": "SampleCount"}}
    silent = alarm(metrics=metrics, below=1, missing="breaching")
    del silent["above"]
    assert told({"a": silent}, value=[0, None]) == [(1, "a")]


# ---- causes and consequences ----


def test_an_alarm_is_silent_while_its_cause_is_raised_and_for_an_hour_after() -> None:
    metrics = {"other": {"metric": "other", "statistic": "Maximum"}}
    alarms = {"cause": alarm(), "effect": alarm(metrics=metrics, unless=["cause"])}
    value: list[Value] = [1, *[0] * 100]
    other: list[Value] = [0, *[1] * 100]

    assert told(alarms, value=value, other=other) == [(0, "cause"), (61, "effect")]


def test_breaches_of_a_cause_that_was_not_raised_silence_nothing() -> None:
    metrics = {"other": {"metric": "other", "statistic": "Maximum"}}
    alarms = {"cause": alarm(periods=3), "effect": alarm(metrics=metrics, unless=["cause"])}
    value: list[Value] = [1, 1, 0] * 30
    other: list[Value] = [*[0] * 80, *[1] * 10]

    assert told(alarms, value=value, other=other) == [(80, "effect")]


def test_an_alarm_of_no_severity_tells_nobody() -> None:
    assert told({"a": alarm(severity="none")}, value=[1]) == []
