"""The Prometheus rules are made of the alarms, and watch metrics that there are."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.unit.scraped import series_names, used_in
from tools import prometheus_rules
from tools.prometheus_rules import (
    ALARMS,
    BREACHED,
    COUNTERPARTS,
    ON_AWS_ONLY,
    OPERATOR_RULES,
    RAISED,
    ROOT,
    RULES,
    Alarm,
    promql,
    series,
)

if TYPE_CHECKING:
    from pathlib import Path

Json = dict[str, Any]
IN_CLOUDWATCH: dict[str, Json] = yaml.safe_load(ALARMS.read_text())


def rules(kind: str) -> list[Json]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for rule in group["rules"] if kind in rule]


@pytest.mark.parametrize("path", [RULES, OPERATOR_RULES], ids=lambda path: path.parent.name)
def test_the_rules_are_those_of_the_alarms(path: Path) -> None:
    assert path.read_text() == prometheus_rules.files()[path], "make rules"


def test_each_alarm_has_an_alert_of_its_severity_or_a_reason_for_none() -> None:
    told = {
        rule["annotations"]["runbook"].partition("#")[2]: rule["labels"]["severity"]
        for rule in rules("alert")
    }
    wanted = {name: alarm["severity"] for name, alarm in IN_CLOUDWATCH.items()}
    silent = {name for name, severity in wanted.items() if severity == "none"}
    assert set(wanted) >= {*ON_AWS_ONLY, *COUNTERPARTS}
    assert told == {
        name: severity
        for name, severity in wanted.items()
        if name not in silent and name not in ON_AWS_ONLY
    }


def records(name: str) -> list[Json]:
    return [rule for rule in rules("record") if rule["record"] == name]


def test_each_metric_of_the_rules_is_one_that_is_scraped() -> None:
    for rule in records(BREACHED):
        used = used_in(rule["expr"])
        assert used, rule
        assert used <= series_names(), rule


def test_each_alert_reads_what_is_recorded() -> None:
    for rule in rules("alert"):
        (own,) = read(BREACHED, rule)
        assert own in recorded(BREACHED)
        assert read(RAISED, rule) <= recorded(RAISED), rule


def test_a_cause_is_raised_by_the_rule_of_its_own_alert() -> None:
    own = {
        rule["annotations"]["runbook"].partition("#")[2]: rule["expr"].partition("\nunless")[0]
        for rule in rules("alert")
    }
    for rule in records(RAISED):
        name = rule["labels"]["alarm"]
        if name in own:
            assert rule["expr"].replace(" bool", "") == own[name]


def recorded(name: str) -> set[str]:
    return {rule["labels"]["alarm"] for rule in records(name)}


def read(name: str, rule: Json) -> set[str]:
    return set(re.findall(rf'{name}\{{alarm="([^"]+)"}}', rule["expr"]))


def test_what_is_recorded_has_a_length_that_rates_have_enough_scrapes_for() -> None:
    # Two scrapes at 30 seconds, also when one is late.
    found = [re.findall(r"\[(\d+)s]", rule["expr"]) for rule in records(BREACHED)]
    lengths = [int(it) for each in found for it in each]
    assert min(lengths) >= 90


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a", "A"),
        ("a - b / 2", "(A - (B / 2))"),
        ("FILL(a, 0) + b", "((A or vector(0)) + B)"),
        ("IF(a >= 5, b, 0)", "((A >= bool 5) * B)"),
        ("IF(a > 0 AND b < 1, 1, 0)", "(((A > bool 0) * (B < bool 1)) * 1)"),
    ],
)
def test_metric_math_is_written_as_promql(expression: str, expected: str) -> None:
    assert promql(expression, {"a": "A", "b": "B"}) == expected


@pytest.mark.parametrize("expression", ["RATE(a)", "IF(a, 1, 2)", "FILL(a, REPEAT)", "-a"])
def test_metric_math_that_is_not_known_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="no PromQL is known for"):
        promql(expression, {"a": "A"})


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        ({"aws": "Lambda", "metric": "Errors", "statistic": "Sum"}, "Lambda has no metric"),
        ({"metric": "outbox_backlog", "statistic": "p99"}, "no PromQL is known"),
    ],
)
def test_a_metric_that_containers_do_not_have_is_refused(metric: Json, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        series(metric, 60)


def an_alarm(**changes: object) -> Alarm:
    metrics = {"it": {"metric": "failed", "statistic": "Sum"}}
    about = {"severity": "page", "summary": "", "metrics": metrics, "above": 0, "periods": 1}
    return Alarm("an-alarm", about | changes)


def test_periods_of_another_length_than_a_minute_are_not_counted() -> None:
    with pytest.raises(ValueError, match="an-alarm"):
        an_alarm(seconds=300, periods=2)


def test_missing_data_that_breaches_is_recorded_so() -> None:
    assert an_alarm(missing="breaching").breached.endswith("> bool 0 or vector(1)")
    assert "vector" not in an_alarm().breached


def test_a_check_says_what_is_stale_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rules.yaml"
    monkeypatch.setattr(prometheus_rules, "ROOT", tmp_path)
    monkeypatch.setattr(prometheus_rules, "files", lambda: {path: "new"})
    monkeypatch.setattr(sys, "argv", ["prometheus_rules", "--check"])
    assert prometheus_rules.main() == 1
    assert not path.exists()
    monkeypatch.setattr(sys, "argv", ["prometheus_rules"])
    assert prometheus_rules.main() == 0
    assert path.read_text() == "new"
    assert capsys.readouterr().out.splitlines() == ["stale: rules.yaml", "written: rules.yaml"]


def test_the_rules_are_beside_their_tests() -> None:
    assert (RULES.parent / "rules_test.yaml").is_relative_to(ROOT)
    assert yaml.safe_load((RULES.parent / "rules_test.yaml").read_text())["rule_files"] == [
        RULES.name
    ]
