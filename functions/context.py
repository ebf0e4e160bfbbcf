"""The context of a run, from Lambda or from the container host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Context(Protocol):
    """Lambda's context object, as far as the handlers use it."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the run is cut off."""


def seconds_left(context: Context, reserve: float) -> Callable[[], float]:
    """Give the seconds that are left for new work; `reserve` seconds are kept for the last step."""
    return lambda: context.get_remaining_time_in_millis() / 1000 - reserve
