"""Every metric, defined once: what may be emitted, written for CloudWatch, and scraped.

On Lambda metrics are lines in CloudWatch's embedded metric format (`chalicelib.telemetry`); a
container with METRICS_PORT serves the same ones to Prometheus (`functions.exporter`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

PREFIX = "catalog_"
"""Of the names in Prometheus."""


class Kind(StrEnum):
    """What the values of a metric are."""

    COUNTER = "counter"
    GAUGE = "gauge"
    SECONDS = "seconds"
    """A distribution of durations."""


class Unit(StrEnum):
    """CloudWatch's units, as far as they are used."""

    COUNT = "Count"
    SECONDS = "Seconds"
    BYTES = "Bytes"


class Metric(NamedTuple):
    """A metric; `written` says when, `about` what it counts or measures.

    `labels` and `buckets` (upper ends, in seconds) are Prometheus's.
    """

    name: str
    kind: Kind
    unit: Unit
    written: str
    about: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def in_prometheus(self) -> str:
        """Give its name there: with the suffix for its kind, by Prometheus's conventions."""
        suffix = {Kind.COUNTER: "_total", Kind.SECONDS: "_seconds", Kind.GAUGE: ""}[self.kind]
        return PREFIX + self.name.removesuffix(suffix) + suffix


def _counters(written: str, **about: str) -> list[Metric]:
    return [Metric(name, Kind.COUNTER, Unit.COUNT, written, text) for name, text in about.items()]


def _gauges(unit: Unit = Unit.COUNT, **about: str) -> list[Metric]:
    written = "reconcile, once a minute"
    return [Metric(name, Kind.GAUGE, unit, written, text) for name, text in about.items()]


_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0

_DEFINED = (
    Metric(
        "delivery_lag",
        Kind.SECONDS,
        Unit.SECONDS,
        "sync, per batch",
        "from a change to its delivery, a value for each delivery",
        # From a delivery at once to one at the end of the usual schedule, 72 hours. The minute is
        # that of the delivery objective.
        buckets=(
            *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, _MINUTE),
            *(5 * _MINUTE, 15 * _MINUTE, _HOUR, 4 * _HOUR, 12 * _HOUR, _DAY, 3 * _DAY),
        ),
    ),
    *_counters(
        "sync, per batch",
        failed="attempts that failed",
        exhausted="products that failed for good: at their last attempt, or every worker crashed",
        rejected="products whose data the supply chain refused",
        objective_met="deliveries of a single change within 60 s, with no failed call and not held",
        objective_missed="those that took longer than 60 s",
        superseded="messages acknowledged without a call: there is a newer version",
        duplicate="messages acknowledged without a call: delivered, or carried by another",
        parked="messages whose product waits in the store until an outage or a pause has ended",
        unreadable="documents that could not be read",
    ),
    *_counters(
        "sync, reconcile: when it happens",
        store_behind="messages and answers of the supply chain that know a newer version",
    ),
    *_counters("when it happens", breaker_opened="how often the circuit breaker opened"),
    *_counters(
        "bridge, per pull",
        bridge_refused="events that the queue refused",
        poison="events that could not be parsed",
    ),
    *_counters(
        "reconcile, per run",
        relayed="events published from outboxes, since their writer could not",
        enqueued="products enqueued again, whose message was overdue",
        letters_sent="dead letters that were owed",
        dead_letters_settled="dead letters deleted, since their product needs none any more",
        brought_forward="products whose next attempt was made due after an outage or a pause",
        redriven="products that a redrive gave a fresh budget",
        tombstones_dropped="deleted products dropped after their deletion was confirmed",
        audited="products compared with what the supply chain holds",
        audit_differences="products that the supply chain held otherwise",
        audit_repaired="differences that an audit had delivered again",
        quarantined="poison letters moved from the dead-letter queue into the quarantine",
        republished="events of a republish that the stream has taken",
    ),
    *_counters(
        "when it happens",
        handler_failed="in containers: times that a handler, or a request to a queue, failed",
        authorizer_failed="tokens that could not be checked, whether good or bad",
        secrets_not_renewed="failed attempts to read rotated secrets; the old ones stay in use",
        previous_secrets_used="tokens of the previous secret; one a minute per process at most",
    ),
    *_gauges(
        Unit.SECONDS,
        oldest_undelivered_seconds="age of the oldest change pending or retrying; 0 if none",
        oldest_stuck_seconds="age of the oldest failure of a product that is stuck; 0 if none",
    ),
    *_gauges(
        products_pending="products that wait for their first attempt",
        products_retrying="products that wait for another attempt",
        products_delivered="products whose newest version the supply chain holds",
        products_exhausted="products that failed for good",
        products_rejected="products whose data the supply chain refused",
        products_unreadable="documents that cannot be read",
        outbox_backlog="products with an event that the stream lacks for longer than the grace",
        store_away="1 if MongoDB did not answer, else 0",
        stream_away="1 if NATS did not answer, else 0",
        queue_away="1 if SQS did not answer, else 0",
        breaker_open="1 while the circuit breaker is open, else 0",
        sync_paused="1 while an operator has paused the sync, else 0",
        dead_letters="messages of the dead-letter queue, also those in hand",
        poison_letters="messages in the quarantine, until an operator discards them",
        audit_differences_open="differences that audits found and that are not delivered again yet",
    ),
    *_gauges(
        Unit.BYTES,
        stream_bytes="size of the stream of events",
        stream_limit_bytes="its limit, where it has one",
    ),
)

METRICS = {metric.name: metric for metric in _DEFINED}
"""What the catalog emits, by name."""

HTTP_REQUESTS = Metric(
    "http_requests",
    Kind.COUNTER,
    Unit.COUNT,
    "api, per request",
    "requests answered, by operation and status",
    labels=("operation", "status"),
)
HTTP_SECONDS = Metric(
    "http_request",
    Kind.SECONDS,
    Unit.SECONDS,
    "api, per request",
    "from a request to its answer, by operation",
    labels=("operation",),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
)
ROLE = Metric(
    "role",
    Kind.GAUGE,
    Unit.COUNT,
    "from the start",
    "1, with the role of the process: without it the role does not run",
    labels=("role",),
)
GAUGED_AT = Metric(
    "gauges_updated_timestamp_seconds",
    Kind.GAUGE,
    Unit.SECONDS,
    "with the gauges",
    "when they were written, as Unix time: a gauge that nobody writes any more keeps its value",
)
CONTAINER_METRICS = (HTTP_REQUESTS, HTTP_SECONDS, ROLE, GAUGED_AT)
"""What only containers have: on AWS, API Gateway counts requests, and data can be missing."""


def defined(name: str, kind: Kind) -> Metric:
    """Give the metric with this name. Raises ValueError if there is none of this kind."""
    metric = METRICS.get(name)
    if metric is None or metric.kind is not kind:
        raise ValueError(f"{name} is not defined as a {kind} in chalicelib/metrics.py")
    return metric
