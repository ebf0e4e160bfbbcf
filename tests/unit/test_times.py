"""Times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from chalicelib.domain.times import now_utc, rfc3339


def test_the_time_is_in_utc_and_whole_milliseconds() -> None:
    now = now_utc()

    assert now.tzinfo is UTC
    assert now.microsecond % 1000 == 0
    assert abs(datetime.now(UTC) - now) < timedelta(seconds=5)


def test_a_time_of_another_zone_is_written_in_utc() -> None:
    moment = datetime(2026, 1, 1, 1, 0, tzinfo=timezone(timedelta(hours=1)))

    assert rfc3339(moment) == "2026-01-01T00:00:00.000Z"
