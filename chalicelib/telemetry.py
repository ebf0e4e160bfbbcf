"""Logs, metrics and traces. Writes to stdout and opens nothing.

Logs are JSON lines (Powertools); metrics are CloudWatch's embedded metric format on the same
stdout; traces are X-Ray subsegments, only where there is an X-Ray daemon.
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

# CloudWatch needs this date format to read the level of a line.
log = Logger(service=_SERVICE, use_rfc3339=True)
# Lambda sets the level of all loggers to ours. At DEBUG botocore would log answers with secrets.
for _library in ("boto3", "botocore", "nats", "pymongo", "urllib3"):
    logging.getLogger(_library).setLevel(logging.INFO)
_tracing = False
_metrics = True
_namespace = NAMESPACE


def configure(
    *, level: str, tracing: bool, namespace: str = NAMESPACE, metrics: bool = True
) -> None:
    """Set the log level; `tracing` says whether there is an X-Ray daemon to send segments to.

    `namespace` is that of the metrics; each deployment in an account needs its own. `metrics` False
    writes no metrics, as in the simulation.
    """
    global _tracing, _namespace, _metrics  # noqa: PLW0603 - one process, one telemetry
    log.setLevel(level)
    _tracing = tracing
    _namespace = namespace
    _metrics = metrics


def count(**metrics: int) -> None:
    """Emit counters, except those that are zero."""
    _emit(MetricUnit.Count, {name: value for name, value in metrics.items() if value})


def gauge(**metrics: float) -> None:
    """Emit gauges, also those that are zero: an alarm must see that a backlog has ended."""
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
    # In one write with its newline, so that lines of parallel threads do not mix.
    sys.stdout.write(json.dumps(line.serialize_metric_set()) + "\n")
    sys.stdout.flush()


@contextmanager
def segment(name: str) -> Iterator[None]:
    """Trace a step as an X-Ray subsegment."""
    if not _tracing:
        yield
        return
    # Imported only where it is used: it costs a third of a second of every cold start.
    from aws_xray_sdk.core import xray_recorder  # noqa: PLC0415

    with xray_recorder.in_subsegment(name):
        yield


def new_trace() -> str:
    """Create an X-Ray trace header for a request that has none."""
    return f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)}"
