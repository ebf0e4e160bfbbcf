"""Days as their metrics show them, a value for each minute."""

from __future__ import annotations

from collections.abc import Callable

from tests.unit.alarms.cloudwatch import ALARMS, Value, Watch, key

GAUGES: dict[str, Value] = {
    "store_away": 0,
    "stream_away": 0,
    "queue_away": 0,
    "breaker_open": 0,
    "sync_paused": 0,
    "oldest_undelivered_seconds": 2,
    "oldest_stuck_seconds": 0,
    "outbox_backlog": 0,
    "products_exhausted": 0,
    "products_rejected": 0,
    "products_unreadable": 0,
    "dead_letters": 0,
    "stream_bytes": 100e6,
    "stream_limit_bytes": 1e9,
    "audit_differences_open": 0,
    # With the gauges, reconcile starts these counters.
    "exhausted": 0,
    "rejected": 0,
    "quarantined": 0,
}
"""What reconcile writes in each of its runs."""
QUIET: dict[str, Value] = GAUGES | {
    "objective_met": 60,
    "objective_missed": 0,
    "Lambda Invocations bridge": 1,
    "Lambda Invocations sync": 60,
    "SQS ApproximateNumberOfMessagesVisible single": 0,
    # A queue that is not used has no metrics.
    "SQS ApproximateNumberOfMessagesVisible bulk": None,
    "SQS NumberOfMessagesReceived bulk": None,
    "ApiGateway 5XXError": 0,
    "ApiGateway Latency": 90,
    "audit_differences": None,
    "authorizer_failed": None,
    "secrets_not_renewed": None,
    "store_behind": None,
}
"""A minute in which all is well."""

At = Callable[[int], Value] | Value
"""A value, or one that depends on the minutes since the beginning of what happens."""


class Day:
    """The metrics of some hours, which begin and go on well."""

    def __init__(self, hours: float = 4) -> None:
        self.minutes = int(hours * 60)
        used = {key(metric) for alarm in ALARMS.values() for metric in alarm["metrics"].values()}
        # Errors and throttles of functions are zero.
        self.metrics: dict[str, list[Value]] = {
            name: [QUIET.get(name, 0.0)] * self.minutes for name in used | QUIET.keys()
        }

    def happens(self, begin: int, end: int | None = None, /, **changes: At) -> Day:
        """Change metrics from the minute `begin` to `end`; a space in a name is written `__`."""
        for name, change in changes.items():
            values = self.metrics[name.replace("__", " ")]
            for minute in range(begin, self.minutes if end is None else end):
                values[minute] = change(minute - begin) if callable(change) else change
        return self

    def silence(self, begin: int, end: int, *names: str) -> Day:
        """Leave these without data."""
        return self.happens(begin, end, **dict.fromkeys(names))

    def watched(self, *, fills_empty: bool = True) -> Watch:
        """Evaluate all alarms, every minute."""
        watch = Watch(fills_empty=fills_empty)
        return watch.replay(self.metrics, self.minutes)
