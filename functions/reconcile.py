"""Lambda, every minute: enqueue overdue products, keep the dead letters right, relay outboxes."""

from __future__ import annotations

from dataclasses import asdict

from chalicelib.bootstrap import container
from functions.context import Context, seconds_left

RESERVE_SECONDS = 20.0
"""Seconds for the page that is in progress when the time is up, with a slow stream."""


def handler(event: object, context: Context) -> dict[str, int]:  # noqa: ARG001 - Lambda's
    """Do one bounded run; give its counts."""
    return asdict(container().reconcile.run(seconds_left(context, RESERVE_SECONDS)))
