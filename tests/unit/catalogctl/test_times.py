"""Times as an operator types them and reads them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from catalogctl import times
from tests.unit.catalogctl.conftest import NOON


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("90s", timedelta(seconds=90)),
        ("2h", timedelta(hours=2)),
        ("1d12h30m", timedelta(days=1, hours=12, minutes=30)),
        ("11:30", timedelta(minutes=30)),
        ("12:00", timedelta()),
        ("13:00", timedelta(hours=23)),
        ("2026-11-29T11:00:00Z", timedelta(hours=1)),
        ("2026-11-29T11:00:00+02:00", timedelta(hours=3)),
    ],
)
def test_a_time_that_has_been(text: str, ago: timedelta) -> None:
    assert times.past(text, NOON) == NOON - ago


@pytest.mark.parametrize(
    ("text", "ahead"),
    [("2h", timedelta(hours=2)), ("13:00", timedelta(hours=1)), ("9:00", timedelta(hours=21))],
)
def test_a_time_to_come(text: str, ahead: timedelta) -> None:
    assert times.coming(text, NOON) == NOON + ahead


def test_the_clock_is_the_local_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "EST5")
    time.tzset()
    assert times.past("06:00", NOON) == datetime(2026, 11, 29, 11, tzinfo=UTC)
    assert times.clock(NOON, NOON) == "07:00:00"


@pytest.mark.parametrize("text", ["", "soon", "2", "h", "25:00", "12:60", "2 h", "2026-11-31"])
def test_what_is_no_time_is_answered_with_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match="must be RFC 3339 with a time zone, a span such as"):
        times.past(text, NOON)


def test_a_time_without_a_zone_is_none() -> None:
    with pytest.raises(ValueError, match="2026-11-29T11:00 has no time zone"):
        times.past("2026-11-29T11:00", NOON)


@pytest.mark.parametrize("text", ["9999999h", "2h3", "x"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a span such as"):
        times.duration(text)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (86400, "1 d"),
        (90000, "1 d 1 h"),
    ],
)
def test_a_span_has_two_units_at_most(seconds: float, shown: str) -> None:
    assert times.span(seconds) == shown


def test_a_time_is_shown_absolute_and_relative() -> None:
    assert times.both(NOON - timedelta(minutes=3), NOON) == "11:57:00 (3 min ago)"
    assert times.both(NOON + timedelta(hours=2), NOON) == "14:00:00 (in 2 h)"
    assert times.both(NOON - timedelta(days=1), NOON) == "11-28 12:00 (1 d ago)"
