"""Times as they are typed and shown: RFC 3339, `2h`, or `12:00` of the local day."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_DURATION = re.compile(r"(?:(\d{1,6})([dhms]))+")
_PART = re.compile(r"(\d+)([dhms])")
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_DAY = timedelta(days=1)
FORMS = "must be RFC 3339 with a time zone, a span such as 90s, 30m, 2h, 1d12h, or 12:00"


def duration(text: str) -> timedelta:
    """Parse `1h30m`. Raises ValueError."""
    if not _DURATION.fullmatch(text):
        raise ValueError("must be a span such as 90s, 30m, 2h, 1d12h")
    parts = ((int(number), _UNITS[unit]) for number, unit in _PART.findall(text))
    return sum((timedelta(**{unit: number}) for number, unit in parts), timedelta())


def past(text: str, now: datetime) -> datetime:
    """Parse a time that has been: `2h` is two hours ago, `12:00` the last noon."""
    return _parsed(text, now, -1)


def coming(text: str, now: datetime) -> datetime:
    """Parse a time to come: `2h` is in two hours, `12:00` the next noon."""
    return _parsed(text, now, 1)


def _parsed(text: str, now: datetime, direction: int) -> datetime:
    """Raises ValueError, with the forms that are understood."""
    if _DURATION.fullmatch(text):
        return now + direction * duration(text)
    if clock := _CLOCK.fullmatch(text):
        return _on_the_clock(int(clock[1]), int(clock[2]), now, direction)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(FORMS) from None
    if moment.tzinfo is None:
        raise ValueError(f"{FORMS}; {text} has no time zone")
    return moment


def _on_the_clock(hour: int, minute: int, now: datetime, direction: int) -> datetime:
    """Give the nearest such time of the local clock before or after `now`."""
    local = now.astimezone()
    found = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if (found - local) * direction < timedelta():
        found += direction * _DAY
    return found


def span(seconds: float) -> str:
    """Show a length of time with its two largest units at most: `2 h 5 min`."""
    whole = int(abs(seconds))
    days, hours, minutes = whole // 86400, whole % 86400 // 3600, whole % 3600 // 60
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{whole} s"


def clock(moment: datetime, now: datetime) -> str:
    """Show a time of the local day, with its date if that is not today."""
    local, today = moment.astimezone(), now.astimezone()
    return f"{local:%H:%M:%S}" if local.date() == today.date() else f"{local:%m-%d %H:%M}"


def distance(moment: datetime, now: datetime) -> str:
    """Show how far away a time is: `3 min ago`, `in 2 h`."""
    seconds = (moment - now).total_seconds()
    return f"in {span(seconds)}" if seconds > 0 else f"{span(seconds)} ago"


def both(moment: datetime, now: datetime) -> str:
    """Show a time absolute and relative: `14:02:11 (3 min ago)`."""
    return f"{clock(moment, now)} ({distance(moment, now)})"
