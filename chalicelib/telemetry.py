"""Logs, metrics, traces, and what a host may know of a batch. Writes to stdout and opens nothing.

Logs are JSON lines; metrics are CloudWatch's embedded metric format on the same stdout, one line
for each invocation, unless a host has an exporter for them; traces are X-Ray subsegments, only
where there is an X-Ray daemon.
"""

from __future__ import annotations

import json
import logging
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from chalicelib.metrics import Kind, Metric, defined

NAMESPACE = "ProductCatalog"
_SERVICE = "product-catalog"
_VALUES_PER_LINE = 100
"""Values that CloudWatch takes for one metric in one line."""

Sample = tuple[Metric, float]
"""A value of a metric."""

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
_export: Callable[[Sequence[Sample]], None] | None = None
_refused: set[str] = set()
strict = False
"""Whether a metric that is not defined is an error, as in tests. Else it is logged, once."""
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


def export_to(export: Callable[[Sequence[Sample]], None] | None) -> None:
    """Give the metrics to an exporter from now on; None: write them as lines again."""
    global _export  # noqa: PLW0603 - one process, one telemetry
    _export = export


def count(**metrics: int) -> None:
    """Emit counters, except those that are zero."""
    _emit(Kind.COUNTER, {name: value for name, value in metrics.items() if value})


def start(*counters: str) -> None:
    """Write these counters as zero: metric math can add nothing to one that was never written."""
    _emit(Kind.COUNTER, dict.fromkeys(counters, 0))


def gauge(**metrics: float) -> None:
    """Emit gauges, also those that are zero: an alarm must see that a backlog has ended."""
    _emit(Kind.GAUGE, metrics)


def measure_seconds(**metrics: float) -> None:
    """Emit durations in seconds."""
    _emit(Kind.SECONDS, metrics)


def _emit(kind: Kind, metrics: Mapping[str, float]) -> None:
    samples = [
        (metric, value)
        for name, value in metrics.items()
        if (metric := _definition(name, kind)) is not None
    ]
    collected = _collected.get()
    if collected is None:
        _write_metrics(samples)
    else:
        collected += samples


def _definition(name: str, kind: Kind) -> Metric | None:
    try:
        return defined(name, kind)
    except ValueError as error:
        if strict:
            raise
        if name not in _refused:
            _refused.add(name)
            log.exception("a metric is left out", reason=str(error))
        return None


def _write_metrics(samples: Sequence[Sample]) -> None:
    if not samples or not _metrics:
        return
    if _export is None:
        _write_line(samples)
    else:
        _export(samples)


def _write_line(samples: Sequence[Sample]) -> None:
    """Write one line; counts are added up, of a gauge the last value counts, durations are a list.

    A second line follows for the durations that CloudWatch would not take in the first one.
    """
    values: dict[Metric, list[float]] = {metric: [] for metric, _ in samples}
    left: list[Sample] = []
    for metric, value in samples:
        before = values[metric]
        if metric.kind is Kind.COUNTER:
            values[metric] = [sum(before) + value]
        elif metric.kind is Kind.GAUGE:
            values[metric] = [value]
        elif len(before) < _VALUES_PER_LINE:
            before.append(value)
        else:
            left.append((metric, value))
    described = {
        "Namespace": _namespace,
        "Dimensions": [["service"]],
        "Metrics": [{"Name": metric.name, "Unit": metric.unit} for metric in values],
    }
    about = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [described]}
    given = {metric.name: them[0] if len(them) == 1 else them for metric, them in values.items()}
    _write(_json({"_aws": about, "service": _SERVICE, **given}))
    if left:
        _write_line(left)


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


while_waiting: ContextVar[Callable[[], AbstractContextManager[None]]] = ContextVar(
    "while_waiting", default=nullcontext
)
"""Makes what encloses each `waiting`. A host sets it, to know which batches only wait."""


def waiting() -> AbstractContextManager[None]:
    """Enclose a wait for the supply chain or the stream: more work at a time does not slow it."""
    return while_waiting.get()()


def new_trace() -> str:
    """Create an X-Ray trace header for a request that has none."""
    return f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)}"
