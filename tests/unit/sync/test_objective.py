"""The counters of the delivery objective, as deliveries write them."""

from __future__ import annotations

import json

import pytest

from tests.fakes import Pipeline
from tests.unit.outages.steps import a_pipeline, an_outage, converge, end_of_outage
from tests.unit.sync.steps import failing, spend


def counted(capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    """What was counted since the last look."""
    found = dict.fromkeys(("objective_met", "objective_missed"), 0)
    for line in capsys.readouterr().out.splitlines():
        metrics = json.loads(line) if "_aws" in line else {}
        found = {name: found[name] + metrics.get(name, 0) for name in found}
    return found


def test_a_delivery_within_a_minute_meets_the_objective(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.create()
    pipeline.clock.advance(60)
    pipeline.pass_on()

    assert counted(capsys) == {"objective_met": 1, "objective_missed": 0}


def test_a_later_one_misses_it(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.create()
    pipeline.clock.advance(61)
    pipeline.pass_on()

    assert counted(capsys) == {"objective_met": 0, "objective_missed": 1}


def test_a_delivery_after_a_failed_call_does_not_count(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(pipeline, 503)
    spend(pipeline)

    assert counted(capsys) == {"objective_met": 0, "objective_missed": 0}


def test_a_delivery_that_is_not_recorded_does_not_count(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    product_id = pipeline.create()
    pipeline.supply_chain.during = lambda _: pipeline.update(product_id, quantity=1)
    pipeline.pass_on()

    assert counted(capsys) == {"objective_met": 0, "objective_missed": 0}


def test_what_was_changed_during_an_outage_does_not_count(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pipeline = a_pipeline()
    an_outage(pipeline)
    pipeline.create()
    pipeline.pass_on()
    pipeline.clock.advance(3600)
    end_of_outage(pipeline)
    converge(pipeline)

    assert not pipeline.queue.messages
    assert counted(capsys) == {"objective_met": 0, "objective_missed": 0}


def test_after_an_outage_changes_count_again(capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = a_pipeline()
    an_outage(pipeline)
    end_of_outage(pipeline)
    converge(pipeline)
    pipeline.create()
    pipeline.pass_on()

    assert counted(capsys) == {"objective_met": 1, "objective_missed": 0}
