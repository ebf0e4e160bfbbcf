"""Times as the catalog stores and writes them: UTC, in milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

LONG_AGO = datetime.min.replace(tzinfo=UTC)
"""Earlier than every other time: of what has not happened yet."""
PRECISION = timedelta(milliseconds=1)
"""Of times as they are stored: that of BSON."""


def now_utc() -> datetime:
    """Give the current time in UTC, truncated to milliseconds, the precision of BSON."""
    return in_milliseconds(datetime.now(UTC))


def in_milliseconds(moment: datetime) -> datetime:
    """Cut off what BSON does."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def rfc3339(moment: datetime) -> str:
    """Write a UTC time with milliseconds: `2026-01-31T12:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rfc3339_or_none(moment: datetime | None) -> str | None:
    """Write a time that there may be."""
    return rfc3339(moment) if moment else None
