"""Lambda, every minute: forward events from the stream to the sync queue until the time is up."""

from __future__ import annotations

from dataclasses import asdict
from typing import Protocol

from chalicelib.bootstrap import container

RESERVE_SECONDS = 8.0
"""Left for what is in hand when the draining ends: one pull, one batch to SQS, its acks."""


class Context(Protocol):
    """What Lambda tells a handler about its run."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the run is cut off."""


def handler(event: object, context: Context) -> dict[str, int]:  # noqa: ARG001 - Lambda's
    """Drain; how many events were forwarded, refused by the queue, and poison."""

    def seconds_left() -> float:
        return context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS

    return asdict(container().bridge.drain(seconds_left))
