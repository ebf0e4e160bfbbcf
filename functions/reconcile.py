"""Lambda, every minute: relay left-behind outboxes, ring for overdue products, clear up."""

from __future__ import annotations

from dataclasses import asdict

from chalicelib.bootstrap import container


def handler(event: object, context: object) -> dict[str, int]:  # noqa: ARG001 - Lambda's
    """Do one bounded run; how much was done."""
    return asdict(container().reconcile.run())
