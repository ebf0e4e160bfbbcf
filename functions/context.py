"""What a Lambda handler knows of its own run; the container host gives the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Context(Protocol):
    """Lambda's context object, as far as the handlers use it."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the run is cut off."""


def seconds_left(context: Context, reserve: float) -> Callable[[], float]:
    """Give the seconds that are left for new work; `reserve` seconds are kept to end in order."""
    return lambda: context.get_remaining_time_in_millis() / 1000 - reserve
