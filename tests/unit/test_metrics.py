"""Each metric is documented, and the Grafana dashboard shows it."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from chalicelib.metrics import CONTAINER_METRICS, METRICS, Kind, defined
from tests.unit.scraped import BY_NAME, series_names, used_in

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "metrics.md"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "monitoring/grafana/dashboard.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]


def expressions(panel: dict[str, Any]) -> list[str]:
    return [target["expr"] for target in panel["targets"]]


def test_the_page_lists_each_metric_as_it_is_defined() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{metric.name}` | `{metric.in_prometheus}` | {metric.kind} | {metric.written} "
        f"| {metric.about} |"
        for metric in METRICS.values()
    ]


def test_the_page_names_what_only_containers_have() -> None:
    text = PAGE.read_text()
    assert [m.in_prometheus for m in CONTAINER_METRICS if f"`{m.in_prometheus}`" not in text] == []


def test_no_two_metrics_have_one_name() -> None:
    assert len(BY_NAME) == len(METRICS) + len(CONTAINER_METRICS)
    assert all(re.fullmatch("[a-z][a-z_]+", name) for name in METRICS)


def test_a_distribution_has_buckets_and_nothing_else_has() -> None:
    for metric in BY_NAME.values():
        assert bool(metric.buckets) == (metric.kind is Kind.SECONDS), metric
        assert list(metric.buckets) == sorted(metric.buckets)


@pytest.mark.parametrize(("name", "kind"), [("nothing", Kind.COUNTER), ("failed", Kind.GAUGE)])
def test_a_metric_is_found_by_its_name_and_its_kind_alone(name: str, kind: Kind) -> None:
    with pytest.raises(ValueError, match=f"{name} is not defined as a {kind}"):
        defined(name, kind)


# ---- the Grafana dashboard ----


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_shows_metrics_that_are_scraped(panel: dict[str, Any]) -> None:
    used = set().union(*map(used_in, expressions(panel)))
    assert used or any("ALERTS" in it for it in expressions(panel))
    assert used <= series_names()


def test_each_metric_is_on_a_panel() -> None:
    used = {name for panel in PANELS for it in expressions(panel) for name in used_in(it)}
    shown = {name for name in BY_NAME if any(it.startswith(name) for it in used)}
    assert set(BY_NAME) - shown == set()


def test_the_panels_have_ids_of_their_own_and_do_not_lie_upon_each_other() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    places = [panel["gridPos"] for panel in PANELS]
    for a, b in itertools.combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        below = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or below, (a, b)
    assert all(place["x"] + place["w"] <= 24 for place in places)


def test_the_dashboard_works_with_any_prometheus_that_grafana_knows() -> None:
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    sources = [panel["datasource"] for panel in PANELS]
    sources += [target["datasource"] for panel in PANELS for target in panel["targets"]]
    assert all(it == {"type": "prometheus", "uid": "${datasource}"} for it in sources)
