"""What Prometheus scrapes from real roles: each tells its own part of a delivery."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chalicelib.metrics import CONTAINER_METRICS, METRICS
from embedded.services import HOST, ROLES, local_session, metrics_ports
from tests.e2e.delivery.steps import PATIENCE, wait_for
from tests.support import RunningStack, eventually

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(stack: RunningStack, role: str) -> Values:
    """The value of each series, by its name and labels."""
    url = f"http://{HOST}:{metrics_ports(stack.environ)[role]}/metrics"
    with local_session() as session:
        answer = session.get(url, timeout=10)
    assert answer.ok, answer.text
    families = text_string_to_metric_families(answer.text)
    samples = [sample for family in families for sample in family.samples]
    return {(it.name, frozenset(it.labels.items())): it.value for it in samples}


def value(stack: RunningStack, role: str, name: str, **labels: str) -> float:
    return scrape(stack, role).get((f"catalog_{name}", frozenset(labels.items())), 0.0)


def test_a_delivery_is_counted_where_it_is_done(stack: RunningStack) -> None:
    created = {"operation": "createProduct", "status": "201"}
    written = value(stack, "api", "http_requests_total", **created)
    delivered = value(stack, "sync", "delivery_lag_seconds_count")

    product = stack.create()
    wait_for(stack, product["id"], "delivered")

    assert value(stack, "api", "http_requests_total", **created) == written + 1
    assert value(stack, "api", "http_request_seconds_count", operation="createProduct") > 0
    eventually(
        lambda: value(stack, "sync", "delivery_lag_seconds_count") > delivered,
        PATIENCE,
        "the delivery is counted",
    )
    lag = scrape(stack, "sync")[("catalog_delivery_lag_seconds_sum", frozenset())]
    assert lag > 0


def test_reconcile_tells_what_waits(stack: RunningStack) -> None:
    eventually(
        lambda: value(stack, "reconcile", "gauges_updated_timestamp_seconds"),
        PATIENCE,
        "the gauges are written",
    )
    found = scrape(stack, "reconcile")
    gauges = {name for name, labels in found if not labels}
    assert gauges >= {
        METRICS[name].in_prometheus
        for name in ("oldest_undelivered_seconds", "outbox_backlog", "products_delivered")
    }
    assert found[("catalog_breaker_open", frozenset())] in {0.0, 1.0}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_says_its_name_and_nothing_that_is_not_defined(
    stack: RunningStack, role: str
) -> None:
    found = scrape(stack, role)
    assert found[("catalog_role", frozenset({("role", role)}))] == 1
    defined = {metric.in_prometheus for metric in (*METRICS.values(), *CONTAINER_METRICS)}
    for name, _ in found:
        parts = {name, *(name.removesuffix(end) for end in ("_bucket", "_sum", "_count"))}
        assert name.startswith("process_") or parts & defined, name
