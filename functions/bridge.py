"""Lambda, every minute: forward events from the stream to the sync queue until the time is up.

A run takes longer than the minute until the next one starts. Two runs at a time are safe: the
stream gives each event to one of them.
"""

from __future__ import annotations

from dataclasses import asdict

from chalicelib.bootstrap import container
from functions.context import Context, seconds_left

RESERVE_SECONDS = 8.0
"""Seconds for the last round: one pull, one batch to SQS, its acknowledgements."""


def handler(event: object, context: Context) -> dict[str, int]:  # noqa: ARG001 - Lambda's
    """Forward events; give the numbers of those forwarded, refused by the queue, and poison."""
    return asdict(container().bridge.drain(seconds_left(context, RESERVE_SECONDS)))
