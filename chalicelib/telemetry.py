"""Logs, metrics and traces. Writes to stdout and opens nothing.

Logs are JSON lines; metrics are CloudWatch's embedded metric format on the same stdout, one line
for each invocation; traces are X-Ray subsegments, only where there is an X-Ray daemon.
"""

from __future__ import annotations

import json
import logging
import secrets
import sys
import time
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

NAMESPACE = "ProductCatalog"
_SERVICE = "product-catalog"
_COUNT, _SECONDS = "Count", "Seconds"
_VALUES_PER_LINE = 100
"""Values that CloudWatch takes for one metric in one line."""

Sample = tuple[str, str, float]
"""Name, unit and value of a metric."""

# ASCII only, since a line must be readable whatever the encoding of stdout, also with a lone
# surrogate in it.
_json = json.JSONEncoder(separators=(",", ":"), default=str).encode


class _Formatter(logging.Formatter):
    """One JSON object per line: level, time, message, then the fields that have a value."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "level": record.levelname,
            # CloudWatch needs RFC 3339 to read the level of a line.
            "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "message": record.getMessage(),
        }
        fields: dict[str, object] = getattr(record, "fields", {})
        line |= {name: value for name, value in fields.items() if value is not None}
        if record.exc_info and record.exc_info[0]:
            line["exception_name"] = record.exc_info[0].__name__
            line["exception"] = self.formatException(record.exc_info)
        return _json(line)


class _Stdout(logging.Handler):
    """Writes to the stdout of the moment; a StreamHandler keeps that of its creation."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            _write(self.format(record))
        except Exception:  # noqa: BLE001 - told on stderr; a line that cannot be written stops no work
            self.handleError(record)


class _Log(logging.LoggerAdapter[logging.Logger]):
    """Takes the fields of a line as keywords."""

    def process(
        self,
        msg: Any,  # noqa: ANN401 - the signature of logging
        kwargs: MutableMapping[str, Any],
    ) -> tuple[Any, MutableMapping[str, Any]]:
        options = {"exc_info": kwargs.pop("exc_info", None), "extra": {"fields": dict(kwargs)}}
        return msg, options


def _logger() -> logging.Logger:
    logger = logging.getLogger(_SERVICE)
    handler = _Stdout()
    handler.setFormatter(_Formatter())
    logger.handlers = [handler]
    # Lambda's runtime has a handler of its own at the root.
    logger.propagate = False
    logger.setLevel(logging.INFO)
    return logger


log = _Log(_logger())
# Lambda sets the level of all loggers to ours. At DEBUG botocore would log answers with secrets.
for _library in ("boto3", "botocore", "nats", "pymongo", "urllib3"):
    logging.getLogger(_library).setLevel(logging.INFO)
_tracing = False
_metrics = True
_namespace = NAMESPACE
_collected: ContextVar[list[Sample] | None] = ContextVar("collected", default=None)


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


def is_verbose() -> bool:
    """Say whether the level is DEBUG, at which the lines about successes have all fields."""
    return log.isEnabledFor(logging.DEBUG)


@contextmanager
def batch() -> Iterator[None]:
    """Collect the metrics of one invocation; write them as one line when it ends or raises.

    Those that another thread emits meanwhile are written at once, as they are outside of a batch.
    """
    samples: list[Sample] = []
    token = _collected.set(samples)
    try:
        yield
    finally:
        _collected.reset(token)
        _write_metrics(samples)


def count(**metrics: int) -> None:
    """Emit counters, except those that are zero."""
    _emit([(name, _COUNT, value) for name, value in metrics.items() if value])


def start(*counters: str) -> None:
    """Write these counters as zero: metric math can add nothing to one that was never written."""
    _emit([(name, _COUNT, 0) for name in counters])


def gauge(**metrics: float) -> None:
    """Emit gauges, also those that are zero: an alarm must see that a backlog has ended."""
    _emit([(name, _COUNT, value) for name, value in metrics.items()])


def measure_seconds(**metrics: float) -> None:
    """Emit durations in seconds."""
    _emit([(name, _SECONDS, value) for name, value in metrics.items()])


def _emit(samples: list[Sample]) -> None:
    collected = _collected.get()
    if collected is None:
        _write_metrics(samples)
    else:
        collected += samples


def _write_metrics(samples: Sequence[Sample]) -> None:
    """Write one line; counts of one name are added up, durations are kept as a list."""
    if not samples or not _metrics:
        return
    units = {name: unit for name, unit, _ in samples}
    values: dict[str, list[float]] = {name: [] for name in units}
    left: list[Sample] = []
    for sample in samples:
        name, unit, value = sample
        if unit == _COUNT:
            values[name] = [sum([*values[name], value])]
        elif len(values[name]) < _VALUES_PER_LINE:
            values[name].append(value)
        else:
            left.append(sample)
    described = {
        "Namespace": _namespace,
        "Dimensions": [["service"]],
        "Metrics": [{"Name": name, "Unit": unit} for name, unit in units.items()],
    }
    about = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [described]}
    given = {name: them[0] if len(them) == 1 else them for name, them in values.items()}
    _write(_json({"_aws": about, "service": _SERVICE, **given}))
    _write_metrics(left)


def _write(line: str) -> None:
    # In one write with its newline, so that lines of parallel threads do not mix.
    sys.stdout.write(line + "\n")
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
