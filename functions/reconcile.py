"""Lambda, every minute: ring for overdue products, clear up, relay left-behind outboxes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Protocol

from chalicelib.bootstrap import container

RESERVE_SECONDS = 20.0
"""Left for the page that is in hand when the time is up, on a stream that is slow."""


class Context(Protocol):
    """What Lambda tells a handler about its run."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the run is cut off."""


def handler(event: object, context: Context) -> dict[str, int]:  # noqa: ARG001 - Lambda's
    """Do one bounded run; how much was done."""

    def seconds_left() -> float:
        return context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS

    return asdict(container().reconcile.run(seconds_left))
