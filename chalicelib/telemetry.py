"""Logs, metrics and traces. Writes to stdout and opens nothing.

Logs are JSON lines (Powertools); metrics are CloudWatch's embedded metric format on the same
stdout; traces are X-Ray subsegments where X-Ray is there, and nothing elsewhere.
"""

from __future__ import annotations

import json
import logging
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

NAMESPACE = "ProductCatalog"
_SERVICE = "product-catalog"

# What CloudWatch reads the level of a line from: its own date format would count as none.
log = Logger(service=_SERVICE, use_rfc3339=True)
# Lambda sets the level of all loggers to ours: at DEBUG, botocore logs each answer, secrets too.
for _library in ("boto3", "botocore", "nats", "pymongo", "urllib3"):
    logging.getLogger(_library).setLevel(logging.INFO)
_tracing = False
_metrics = True
_namespace = NAMESPACE


def configure(
    *, level: str, tracing: bool, namespace: str = NAMESPACE, metrics: bool = True
) -> None:
    """Set the log level; `tracing` says whether there is an X-Ray daemon to send segments to.

    `namespace` is that of the metrics: two deployments in one account need two. `metrics` False
    writes none: a simulation has nobody to read them.
    """
    global _tracing, _namespace, _metrics  # noqa: PLW0603 - one process, one telemetry
    log.setLevel(level)
    _tracing = tracing
    _namespace = namespace
    _metrics = metrics


def count(**metrics: int) -> None:
    """Emit counters, zeroes left out."""
    _emit(MetricUnit.Count, {name: value for name, value in metrics.items() if value})


def gauge(**metrics: float) -> None:
    """Emit levels, zeroes included: an alarm needs to see that a backlog has gone."""
    _emit(MetricUnit.Count, metrics)


def measure_seconds(**metrics: float) -> None:
    """Emit durations in seconds."""
    _emit(MetricUnit.Seconds, metrics)


def _emit(unit: MetricUnit, metrics: dict[str, float] | dict[str, int]) -> None:
    if not metrics or not _metrics:
        return
    # One object per line rather than Powertools' shared one: requests run in parallel threads.
    line = EphemeralMetrics(namespace=_namespace, service=_SERVICE)
    for name, value in metrics.items():
        line.add_metric(name, unit, value)
    # In one write, newline included: the lines of parallel threads must not run into each other.
    sys.stdout.write(json.dumps(line.serialize_metric_set()) + "\n")
    sys.stdout.flush()


@contextmanager
def segment(name: str) -> Iterator[None]:
    """Trace a part of the work as an X-Ray subsegment."""
    if not _tracing:
        yield
        return
    # Imported only where it is used: it costs a third of a second of every cold start.
    from aws_xray_sdk.core import xray_recorder  # noqa: PLC0415

    with xray_recorder.in_subsegment(name):
        yield


def new_trace() -> str:
    """Make an X-Ray trace header for work that arrived without one."""
    return f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)}"
