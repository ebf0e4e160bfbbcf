"""Lambda, every minute: enqueue overdue products, delete settled dead letters, relay outboxes."""

from __future__ import annotations

from dataclasses import asdict

from chalicelib.bootstrap import container
from functions.context import Context, seconds_left

RESERVE_SECONDS = 20.0
"""For the page that is being worked on when the time is up, on a stream that is slow."""


def handler(event: object, context: Context) -> dict[str, int]:  # noqa: ARG001 - Lambda's
    """Do one bounded run; how much was done."""
    return asdict(container().reconcile.run(seconds_left(context, RESERVE_SECONDS)))
