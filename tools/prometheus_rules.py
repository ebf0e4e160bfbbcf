"""Prometheus rules that are equal to the CloudWatch alarms: both come from the same alarms.yaml.

    python -m tools.prometheus_rules [--check]

Writes monitoring/prometheus/rules.yaml, and the same as a PrometheusRule for the Prometheus
operator; with --check it says whether they are up to date, and writes nothing.

Each alarm has a recording rule: once a minute, as CloudWatch does, it records whether the alarm is
breached. The alert counts these minutes. For a cause (`unless`) another rule records whether it is
raised, which its consequences read. Where CloudWatch keeps the state of an alarm without data
(`missing: ignore`), a scraped gauge keeps its value.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from chalicelib.metrics import GAUGED_AT, HTTP_REQUESTS, HTTP_SECONDS, METRICS, ROLE

ROOT = Path(__file__).parents[1]
ALARMS = ROOT / "terraform/modules/catalog/alarms.yaml"
RULES = ROOT / "monitoring" / "prometheus" / "rules.yaml"
OPERATOR_RULES = ROOT / "kubernetes" / "components" / "prometheus-operator" / "rules.yaml"
HEAD = (
    "# Written by `make rules` from terraform/modules/catalog/alarms.yaml: change that, not this.\n"
)
BREACHED = "catalog:alarm:breached"
RAISED = "catalog:alarm:raised"
MINUTE = 60
LOOK_BACK = 90
"""Seconds of a counter that are looked at each minute, so that no increase falls between two looks.
It holds for a scrape interval of 30 seconds or less."""
LATELY = 60
"""Minutes that an alarm silences others after its end."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Counterpart:
    """What an alarm on AWS's own metrics watches in containers; threshold and periods stay.

    `value` stands for the alarm's metric or expression; `unless` are further causes.
    """

    value: str
    summary: str | None = None
    unless: tuple[str, ...] = ()


def _sum(counter: str, seconds: int = MINUTE) -> str:
    """Give the increase of a counter, of all processes together."""
    if seconds == MINUTE:
        return f"{MINUTE} * sum(rate({counter}[{LOOK_BACK}s]))"
    return f"sum(increase({counter}[{seconds}s]))"


def _minutes(records: int) -> int:
    """Give the seconds in which there are so many records, one a minute."""
    # Half a minute less, or a further record might lie exactly on the edge.
    return records * MINUTE - MINUTE // 2


def _running(role: str) -> str:
    return f'count({ROLE.in_prometheus}{{role="{role}"}})'


COUNTERPARTS = {
    "bridge-stopped": Counterpart(_running("bridge")),
    "sync-not-invoked": Counterpart(
        f"1 - ({_running('sync')} > bool 0 or vector(0))",
        "No process of the role sync runs.",
        # Nothing may be scraped at all, which is one page.
        unless=("reconcile-silent",),
    ),
    "api-errors": Counterpart(_sum(f'{HTTP_REQUESTS.in_prometheus}{{status=~"5.."}}')),
    # In milliseconds, as the threshold.
    "api-slow": Counterpart(
        "1000 * histogram_quantile(0.99, "
        f"sum by (le) (rate({HTTP_SECONDS.in_prometheus}_bucket[{LOOK_BACK}s])))"
    ),
    **{
        f"{role}-errors": Counterpart(
            f"{MINUTE} * sum(rate({METRICS['handler_failed'].in_prometheus}[{LOOK_BACK}s])"
            f' * on (job, instance) {ROLE.in_prometheus}{{role="{role}"}})',
            f"A handler of the role {role}, or a request to its queue, fails.",
        )
        for role in ("bridge", "sync", "reconcile")
    },
}
ON_AWS_ONLY = {
    "bulk-not-received": "the processes that receive single messages receive bulk messages too",
    "function-throttles": "nobody limits how many processes run",
}


# ---- metric math → PromQL ----


class _Promql(ast.NodeVisitor):
    """Writes an expression of CloudWatch's metric math as PromQL."""

    SIGNS: Mapping[type[ast.AST], str] = {
        ast.Add: "+",
        ast.Sub: "-",
        ast.Mult: "*",
        ast.Div: "/",
        ast.Gt: "> bool",
        ast.GtE: ">= bool",
        ast.Lt: "< bool",
        ast.LtE: "<= bool",
    }

    def __init__(self, metrics: Mapping[str, str]) -> None:
        self._metrics = metrics

    def visit_Expression(self, node: ast.Expression) -> str:
        return str(self.visit(node.body))

    def visit_Name(self, node: ast.Name) -> str:
        return self._metrics[node.id]

    def visit_Constant(self, node: ast.Constant) -> str:
        return str(node.value)

    def visit_BinOp(self, node: ast.BinOp) -> str:
        return f"({self.visit(node.left)} {self.SIGNS[type(node.op)]} {self.visit(node.right)})"

    def visit_Compare(self, node: ast.Compare) -> str:
        (operator,), (right,) = node.ops, node.comparators
        return f"({self.visit(node.left)} {self.SIGNS[type(operator)]} {self.visit(right)})"

    def visit_BoolOp(self, node: ast.BoolOp) -> str:
        # AND is the only one here. Each value is 0 or 1.
        return f"({' * '.join(map(self.visit, node.values))})"

    def visit_Call(self, node: ast.Call) -> str:
        match node:
            case ast.Call(func=ast.Name("FILL"), args=[filled, ast.Constant(value=0)]):
                return f"({self.visit(filled)} or vector(0))"
            case ast.Call(func=ast.Name("IF"), args=[condition, then, ast.Constant(value=0)]):
                return f"({self.visit(condition)} * {self.visit(then)})"
        return self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> str:
        raise ValueError(f"no PromQL is known for {ast.unparse(node)}")


def promql(expression: str, metrics: Mapping[str, str]) -> str:
    """Translate metric math. Raises ValueError for what is not known here."""
    # Python's grammar, but for the names of the operators.
    text = re.sub(r"\bAND\b", "and", expression)
    return str(_Promql(metrics).visit(ast.parse(text, mode="eval")))


def series(metric: Json, seconds: int) -> str:
    """Give the value of one of our metrics over a period. Raises ValueError for AWS's own."""
    match metric:
        case {"aws": service}:
            raise ValueError(f"{service} has no metric in containers")
        case {"metric": name, "statistic": "Sum"}:
            return _sum(METRICS[name].in_prometheus, seconds)
        case {"metric": name, "statistic": "Maximum" | "Minimum" as statistic}:
            return f"{statistic[:3].lower()}({METRICS[name].in_prometheus})"
    raise ValueError(f"no PromQL is known for {metric}")


# ---- alarms → rules ----


class Alarm:
    """An alarm, as Prometheus watches it."""

    def __init__(self, name: str, about: Json) -> None:
        self.name = name
        self._about = about
        other = COUNTERPARTS.get(name)
        self._value = other.value if other else None
        self.summary = other.summary if other and other.summary else about["summary"]
        self.severity: str = about["severity"]
        self.unless: list[str] = [*about.get("unless", []), *(other.unless if other else ())]
        periods: int = about["periods"]
        self._periods = periods
        self._of: int = about.get("of", periods)
        if self._of > 1 and about.get("seconds", MINUTE) != MINUTE:
            raise ValueError(f"{name}: what is recorded each minute counts no longer periods")

    @property
    def breached(self) -> str:
        """Give what is recorded each minute: 1 if it is breached, else 0."""
        if self._counts_runs:
            return self._silent()
        lengths = self._about.get("windows", [self._about.get("seconds", MINUTE)])
        first, *others = [self._compared(seconds) for seconds in lengths]
        each = " * ".join(f"({it})" for it in (first, *others)) if others else first
        return f"{each} or vector(1)" if self._about.get("missing") == "breaching" else each

    def raised(self, comparison: str = ">=") -> str:
        """Say that enough of the last minutes were breached; `>= bool` gives 1 or 0."""
        periods, of = (1, 1) if self._counts_runs else (self._periods, self._of)
        breaches = f'{BREACHED}{{alarm="{self.name}"}}[{_minutes(of)}s]'
        return f"sum_over_time({breaches}) {comparison} {periods}"

    @property
    def silences(self) -> str:
        """Say that the alarm is raised, or was within the last hour."""
        return f'max_over_time({RAISED}{{alarm="{self.name}"}}[{_minutes(LATELY + 1)}s]) > 0'

    def _compared(self, seconds: int) -> str:
        sign, limit = (
            ("<", self._about["below"]) if "below" in self._about else (">", self._about["above"])
        )
        return f"{self._watched(seconds)} {sign} bool {limit}"

    def _watched(self, seconds: int) -> str:
        if self._value is not None:
            return self._value
        metrics = {key: series(it, seconds) for key, it in self._about["metrics"].items()}
        (first, *_) = metrics
        return promql(self._about.get("expression", first), metrics)

    @property
    def _counts_runs(self) -> bool:
        return any(it["statistic"] == "SampleCount" for it in self._about["metrics"].values())

    def _silent(self) -> str:
        # Of a gauge that is written once a minute, the time of the last one says more than how
        # often it has changed between scrapes.
        seconds = self._periods * MINUTE
        written = f"max(last_over_time({GAUGED_AT.in_prometheus}[{seconds}s]))"
        return f"time() - {written} > bool {seconds} or vector(1)"


def alarms() -> dict[str, Alarm]:
    """Read the alarms that there are in Prometheus."""
    content: dict[str, Json] = yaml.safe_load(ALARMS.read_text())
    return {name: Alarm(name, it) for name, it in content.items() if name not in ON_AWS_ONLY}


def groups(found: Mapping[str, Alarm]) -> list[Json]:
    """Give the rules: what is breached, which causes are raised, and the alerts."""
    causes = {cause for alarm in found.values() for cause in alarm.unless}
    breached = [
        {"record": BREACHED, "labels": {"alarm": alarm.name}, "expr": alarm.breached}
        for alarm in found.values()
    ]
    raised = [
        {"record": RAISED, "labels": {"alarm": alarm.name}, "expr": alarm.raised(">= bool")}
        for alarm in found.values()
        if alarm.name in causes
    ]
    alerts = [_alert(alarm, found) for alarm in found.values() if alarm.severity != "none"]
    return [
        {"name": "product-catalog", "interval": f"{MINUTE}s", "rules": breached + raised + alerts}
    ]


def _alert(alarm: Alarm, found: Mapping[str, Alarm]) -> Json:
    causes = [found[name].silences for name in alarm.unless if name in found]
    either = "\n  or ".join(causes)
    silenced = f"\nunless on() (\n  {either}\n)" if causes else ""
    return {
        "alert": "".join(word.capitalize() for word in alarm.name.split("-")),
        "expr": alarm.raised() + silenced,
        "labels": {"severity": alarm.severity},
        "annotations": {
            "summary": alarm.summary,
            "runbook": f"docs/operations.md#{alarm.name}",
        },
    }


# ---- files ----


class _Dumper(yaml.SafeDumper):
    """Writes expressions of several lines as they are."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def files() -> dict[Path, str]:
    """Give what the files are to contain."""
    rules: Json = {"groups": groups(alarms())}
    operator: Json = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "product-catalog"},
        "spec": rules,
    }
    wanted = {RULES: rules, OPERATOR_RULES: operator}
    return {path: HEAD + _yaml(content) for path, content in wanted.items()}


def _yaml(content: Json) -> str:
    text: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)
    return text


def main() -> int:
    """Write the files; with --check, give 1 if one of them would change."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = [p for p, text in files().items() if not p.exists() or p.read_text() != text]
    for path in stale:
        print(f"{'stale' if check else 'written'}: {path.relative_to(ROOT)}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files()[path])
    return 1 if stale and check else 0


if __name__ == "__main__":
    raise SystemExit(main())
