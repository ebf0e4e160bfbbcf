"""What a scrape of all roles can contain."""

from __future__ import annotations

import re

from chalicelib.metrics import CONTAINER_METRICS, METRICS, PREFIX, Kind

BY_NAME = {metric.in_prometheus: metric for metric in (*METRICS.values(), *CONTAINER_METRICS)}


def series_names() -> set[str]:
    """Every name of a time series of ours."""
    names: set[str] = set()
    for name, metric in BY_NAME.items():
        ends = ("_bucket", "_sum", "_count") if metric.kind is Kind.SECONDS else ("",)
        names |= {name + end for end in ends}
    return names


def used_in(expression: str) -> set[str]:
    """The names of ours in an expression of PromQL."""
    return set(re.findall(rf"\b{PREFIX}\w+", expression))
