"""The container host's metrics: `/metrics` for Prometheus, by the catalog's own definitions.

A role of one process answers from a thread. The API's worker processes keep their values in files
of a shared folder, and each of them answers for all. Imported only where METRICS_PORT is set.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    make_wsgi_app,
    start_http_server,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.values import MultiProcessValue

from chalicelib import telemetry
from chalicelib.http.wsgi import OPERATION
from chalicelib.metrics import GAUGED_AT, HTTP_REQUESTS, HTTP_SECONDS, METRICS, ROLE, Kind, Metric

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# A time series more for each counter, which nothing here asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no types there


class Exporter:
    """Takes metrics from the telemetry, and keeps their values for the next scrape.

    Counters and distributions are there from the start, at zero: to Prometheus the first value of
    a series is no increase. A gauge is there once this process has written it.
    """

    def __init__(self, role: str, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._gauges: dict[Metric, Gauge] = {}
        every = METRICS.values()
        self._counters = {it: self.counter(it) for it in every if it.kind is Kind.COUNTER}
        self._histograms = {it: self.histogram(it) for it in every if it.kind is Kind.SECONDS}
        self._gauge(ROLE).labels(role).set(1)

    def __call__(self, samples: Sequence[telemetry.Sample]) -> None:
        for metric, value in samples:
            if metric.kind is Kind.COUNTER:
                self._counters[metric].inc(value)
            elif metric.kind is Kind.SECONDS:
                self._histograms[metric].observe(value)
            else:
                self._gauge(metric).set(value)
                self._gauge(GAUGED_AT).set(time.time())

    def counter(self, metric: Metric) -> Counter:
        """Make a counter by its definition."""
        name, about = metric.in_prometheus, metric.about
        return Counter(name, about, metric.labels, registry=self._registry)

    def histogram(self, metric: Metric) -> Histogram:
        """Make a distribution by its definition."""
        name, about, buckets = metric.in_prometheus, metric.about, metric.buckets
        return Histogram(name, about, metric.labels, registry=self._registry, buckets=buckets)

    def _gauge(self, metric: Metric) -> Gauge:
        # Several threads may write the first value.
        with self._lock:
            if metric not in self._gauges:
                self._gauges[metric] = Gauge(
                    metric.in_prometheus,
                    metric.about,
                    metric.labels,
                    registry=self._registry,
                    # Of the API's workers, the one that has written last.
                    multiprocess_mode="mostrecent",
                )
            return self._gauges[metric]


def serve(role: str, host: str, port: int) -> Callable[[], None]:
    """Serve the metrics of this process from now on; give what ends that.

    Raises OSError if the port is taken.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    exporter = Exporter(role, registry)
    server, thread = start_http_server(port, host, registry)
    telemetry.export_to(exporter)

    def end() -> None:
        telemetry.export_to(None)
        server.shutdown()
        server.server_close()
        thread.join()

    return end


class Measured:
    """A WSGI application around the API: measures it, and answers all requests of a port itself."""

    def __init__(self, api: WSGIApplication, exporter: Exporter) -> None:
        self._api = api
        self._requests = exporter.counter(HTTP_REQUESTS)
        self._seconds = exporter.histogram(HTTP_SECONDS)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        begun = time.perf_counter()

        def started(status: str, *rest: Any) -> Any:  # noqa: ANN401 - the signature of WSGI
            operation = environ[OPERATION]
            self._requests.labels(operation, status.partition(" ")[0]).inc()
            self._seconds.labels(operation).observe(time.perf_counter() - begun)
            return start_response(status, *rest)

        return self._api(environ, started)


def measured(api: WSGIApplication, folder: Path, port: int, slot: int) -> WSGIApplication:
    """Measure the API in this worker process; requests of this port are for the metrics of all.

    The files of a worker have the number of its slot, so that the one that replaces it goes on
    with them: with the process's id, as by default, files would be left of each that has ended.
    """
    values.ValueClass = MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]  # as above
    exporter = Exporter("api", CollectorRegistry())
    telemetry.export_to(exporter)
    own = Measured(api, exporter)
    together = CollectorRegistry()
    MultiProcessCollector(together, str(folder))  # type: ignore[no-untyped-call]  # as above
    metrics = make_wsgi_app(together)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # The port of the listening socket, whatever the Host header says.
        wanted = metrics if environ["SERVER_PORT"] == str(port) else own
        return wanted(environ, start_response)

    return answer
