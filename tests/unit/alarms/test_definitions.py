"""The alarms as they are written: complete, and each with its section in the runbook."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.alarms.cloudwatch import ALARMS, LATELY, STATISTICS
from tests.unit.test_documents import anchors

ROOT = Path(__file__).parents[3]
RUNBOOK = ROOT / "docs" / "operations.md"
TERRAFORM = (ROOT / "terraform/modules/catalog/alarms.tf").read_text()
NEEDED = {"severity", "summary", "metrics", "periods"}
FIELDS = NEEDED | {"expression", "above", "below", "of", "seconds", "windows", "missing", "unless"}
EACH = pytest.mark.parametrize("name", ALARMS)
SOMEBODY_IS_TOLD = [name for name, alarm in ALARMS.items() if alarm["severity"] != "none"]


@EACH
def test_an_alarm_has_the_fields_that_its_file_explains(name: str) -> None:
    alarm = ALARMS[name]
    assert alarm.keys() >= NEEDED
    assert alarm.keys() <= FIELDS
    assert len(alarm.keys() & {"above", "below"}) == 1
    assert alarm["severity"] in {"page", "ticket", "none"}
    assert {metric["statistic"] for metric in alarm["metrics"].values()} <= STATISTICS.keys()
    assert "expression" in alarm or len(alarm["metrics"]) == 1


@EACH
def test_cloudwatch_evaluates_no_more_than_a_day(name: str) -> None:
    alarm = ALARMS[name]
    for seconds in alarm.get("windows", [alarm.get("seconds", 60)]):
        assert seconds * alarm.get("of", alarm["periods"]) <= 86_400


def causes() -> set[str]:
    return {cause for alarm in ALARMS.values() for cause in alarm.get("unless", ())}


def test_a_cause_is_an_alarm_of_minutes() -> None:
    for cause in causes():
        assert not ALARMS[cause].keys() & {"windows", "seconds"}


def test_nothing_is_silenced_but_by_what_somebody_was_told_or_has_done() -> None:
    assert {ALARMS[cause]["severity"] for cause in causes() - {"held-by-operator"}} == {"page"}


@pytest.mark.parametrize("name", SOMEBODY_IS_TOLD)
def test_each_alarm_has_its_section_in_the_runbook(name: str) -> None:
    assert name in anchors(RUNBOOK)


def test_each_section_about_an_alarm_has_its_alarm() -> None:
    chapter = RUNBOOK.read_text().partition("\n## The alarms\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^### (.+)$", chapter, re.MULTILINE)) == set(SOMEBODY_IS_TOLD)


def test_the_description_of_an_alarm_names_its_section() -> None:
    assert "${alarm.summary} What to do: docs/operations.md#${name}" in TERRAFORM


def described() -> dict[str, tuple[str, str]]:
    """Severity and summary of each section, from the runbook's own table."""
    rows = re.findall(
        r"^\| \[([\w-]+)\]\(#([\w-]+)\) \| (\w+) \|", RUNBOOK.read_text(), re.MULTILINE
    )
    return {name: (anchor, severity) for name, anchor, severity in rows}


def test_the_runbooks_table_has_each_alarm_and_its_severity() -> None:
    expected: dict[str, Any] = {name: (name, ALARMS[name]["severity"]) for name in SOMEBODY_IS_TOLD}
    assert described() == expected


def test_terraform_makes_alarms_of_the_same_file_and_waits_as_long() -> None:
    assert 'file("${path.module}/alarms.yaml")' in TERRAFORM
    assert re.findall(r"extension_period += (\d+)", TERRAFORM) == [str(60 * LATELY)]
