"""What Prometheus scrapes: the metrics of the telemetry, and those of the API's requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
import requests
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from chalicelib import telemetry
from chalicelib.domain.objective import WITHIN
from chalicelib.http.wsgi import Gateway
from chalicelib.metrics import METRICS, Kind, Metric, Unit
from embedded.processes import free_port
from functions.exporter import Exporter, Measured, serve
from tests.http import WsgiClient
from tests.unit.test_wsgi import an_app

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from prometheus_client.core import Metric as Family

    from tests.unit.conftest import World


class Scraped:
    """An exporter, and what a scrape of it gives."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.exporter = Exporter("sync", self.registry)
        telemetry.export_to(self.exporter)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def families(self) -> dict[str, Family]:
        text = generate_latest(self.registry).decode()
        return {family.name: family for family in text_string_to_metric_families(text)}


@pytest.fixture
def scraped() -> Scraped:
    return Scraped()


def test_counts_are_added_up(scraped: Scraped) -> None:
    telemetry.count(failed=1, parked=2)
    telemetry.count(failed=2)
    assert scraped.value("catalog_failed_total") == 3
    assert scraped.value("catalog_parked_total") == 2


def test_a_counter_is_there_before_its_first_count(scraped: Scraped) -> None:
    assert scraped.value("catalog_exhausted_total") == 0


def test_a_gauge_has_its_last_value(scraped: Scraped) -> None:
    telemetry.gauge(outbox_backlog=7)
    telemetry.gauge(outbox_backlog=5)
    assert scraped.value("catalog_outbox_backlog") == 5


def test_a_gauge_that_this_process_does_not_write_is_not_there(scraped: Scraped) -> None:
    assert scraped.value("catalog_breaker_open") is None


def test_the_time_of_the_gauges_tells_when_nobody_writes_them_any_more(scraped: Scraped) -> None:
    assert scraped.value("catalog_gauges_updated_timestamp_seconds") is None
    telemetry.gauge(outbox_backlog=0)
    assert (scraped.value("catalog_gauges_updated_timestamp_seconds") or 0) > 1e9


def test_deliveries_within_the_objective_have_a_bucket(scraped: Scraped) -> None:
    with telemetry.batch():
        telemetry.measure_seconds(delivery_lag=59.9)
        telemetry.measure_seconds(delivery_lag=60.1)
    name = "catalog_delivery_lag_seconds"
    assert scraped.value(f"{name}_bucket", le=str(WITHIN.total_seconds())) == 1
    assert (scraped.value(f"{name}_count"), scraped.value(f"{name}_sum")) == (2, 120)


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_each_metric_is_scraped_as_it_is_defined(scraped: Scraped, metric: Metric) -> None:
    emit = {
        Kind.COUNTER: telemetry.count,
        Kind.GAUGE: telemetry.gauge,
        Kind.SECONDS: telemetry.measure_seconds,
    }[metric.kind]
    emit(**{metric.name: 3})
    # The parser names a counter without its suffix.
    family = scraped.families()[metric.in_prometheus.removesuffix("_total")]
    kinds = {Kind.COUNTER: "counter", Kind.GAUGE: "gauge", Kind.SECONDS: "histogram"}
    assert (family.type, family.documentation) == (kinds[metric.kind], metric.about)


def test_nothing_is_scraped_but_what_is_defined(scraped: Scraped) -> None:
    assert set(scraped.families()) == {
        metric.in_prometheus.removesuffix("_total")
        for metric in METRICS.values()
        if metric.kind is not Kind.GAUGE
    } | {"catalog_role"}


def test_a_process_says_which_role_it_is(scraped: Scraped) -> None:
    assert scraped.value("catalog_role", role="sync") == 1


def test_seconds_and_bytes_say_so_at_the_end_of_their_names() -> None:
    for metric in METRICS.values():
        name = metric.in_prometheus
        assert name.endswith("_seconds") == (metric.unit is Unit.SECONDS), name
        assert name.endswith("_bytes") == (metric.unit is Unit.BYTES), name


def measured(api: WSGIApplication) -> tuple[WsgiClient, Scraped]:
    scraped = Scraped()
    return WsgiClient(Measured(api, scraped.exporter), base=""), scraped


def test_a_request_is_counted_by_its_operation_and_its_status(world: World) -> None:
    client, scraped = measured(world.gateway)
    client.get("/api/products/6b05e78b3969dfca0964608b")
    client.request("HEAD", "/api/health")
    client.get("/api/health")
    count = "catalog_http_requests_total"
    assert scraped.value(count, operation="getProduct", status="401") == 1
    assert scraped.value(count, operation="getHealth", status="200") == 2
    assert scraped.value("catalog_http_request_seconds_count", operation="getHealth") == 2


@pytest.mark.parametrize("path", ["/api/nothing-here", "/metrics", "/api/echo"])
def test_a_request_for_no_operation_is_counted_as_none_of_them(path: str) -> None:
    client, scraped = measured(cast("WSGIApplication", Gateway(an_app())))
    status = client.get(path).status
    labels = {"operation": "none", "status": str(status)}
    assert scraped.value("catalog_http_requests_total", **labels) == 1


def test_metrics_are_served_until_told_to_end(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    end = serve("sync", "127.0.0.1", port)
    try:
        telemetry.count(failed=1)
        text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
        with pytest.raises(OSError, match="in use"):
            serve("sync", "127.0.0.1", port)
    finally:
        end()
    assert "catalog_failed_total 1.0" in text
    assert "process_cpu_seconds_total" in text
    assert capsys.readouterr().out == ""
    telemetry.count(failed=1)
    assert '"_aws"' in capsys.readouterr().out
