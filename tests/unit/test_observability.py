"""What operators look at is there: dashboard and alarms name metrics that the code emits."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import yaml

from chalicelib.domain.sync_state import SyncStatus
from chalicelib.metrics import METRICS

ROOT = Path(__file__).parents[2]
EMITTERS = {"count", "gauge", "measure_seconds"}


def emitted() -> set[str]:
    """The metrics by the keywords of the calls that emit them."""
    names: set[str] = set()
    for path in [*(ROOT / "chalicelib").rglob("*.py"), *(ROOT / "functions").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                # A message's reason is the metric that counts it.
                case ast.Call(
                    func=ast.Name("Acknowledge"), args=[ast.Constant(value=str() as reason)]
                ):
                    names.add(reason)
                case ast.Call(func=ast.Attribute(value=ast.Name("telemetry"), attr=emitter)) if (
                    emitter in EMITTERS
                ):
                    for keyword in node.keywords:
                        if keyword.arg:
                            names.add(keyword.arg)
                        elif "products_{" in ast.unparse(keyword.value):
                            names |= {f"products_{status}" for status in SyncStatus}
    return names


OWN = r"local\.metrics_namespace, "
ONE = re.compile(OWN + r'(?:metric = )?"(\w+)"')
SEVERAL = re.compile(r"for (\w+) in \[([^]]+)\] : \[" + OWN + r'(?:\1|"([^"]*)\$\{\1\}"),')


def watched() -> set[str]:
    """The metrics of our own namespace in dashboard and alarms."""
    alarms = yaml.safe_load((ROOT / "terraform/modules/catalog/alarms.yaml").read_text())
    metrics = [metric for alarm in alarms.values() for metric in alarm["metrics"].values()]
    return on_the_dashboard() | {metric["metric"] for metric in metrics if "aws" not in metric}


def on_the_dashboard() -> set[str]:
    text = (ROOT / "terraform/modules/catalog/observability.tf").read_text()
    single, loops = ONE.findall(text), SEVERAL.findall(text)
    # A new way to write it would be overlooked.
    assert text.count("local.metrics_namespace") == len(single) + len(loops)
    return {*single} | {
        prefix + value for _, values, prefix in loops for value in re.findall(r'"(\w+)"', values)
    }


def test_each_metric_of_dashboard_and_alarms_is_one_that_the_code_emits() -> None:
    assert watched() - emitted() == set()


def test_each_metric_that_the_code_emits_is_defined() -> None:
    assert emitted() - set(METRICS) == set()


def test_each_status_has_a_gauge() -> None:
    assert {f"products_{status}" for status in SyncStatus} <= set(METRICS)


def test_the_search_finds_metrics_of_each_way_to_write_them() -> None:
    some = {"delivery_lag", "outbox_backlog", "products_pending", "failed", "parked"}
    assert watched() >= {*some, "store_away", "objective_missed"}
    assert on_the_dashboard() >= some
    assert emitted() >= some
