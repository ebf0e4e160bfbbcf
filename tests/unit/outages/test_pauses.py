"""An operator's pause: nothing is called, nothing is lost, and everything follows afterwards."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.control import Control
from chalicelib.domain.errors import InvalidRequestError, StoreUnavailableError
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.domain.times import rfc3339
from tests.fakes import START, Pipeline
from tests.unit.outages.steps import a_pipeline, calls, converge, is_parked

PAUSE = {"paused": True, "reason": "maintenance of the supply chain"}
RESUME = {"paused": False}


@pytest.fixture
def pipeline() -> Pipeline:
    return a_pipeline()


def test_nothing_is_called_while_an_operator_has_paused(pipeline: Pipeline) -> None:
    pipeline.operations.control(PAUSE)
    product_id = pipeline.create()

    pipeline.pass_on()
    pipeline.clock.advance(24 * 3600)
    pipeline.reconcile_once()
    pipeline.sync_once()

    assert calls(pipeline) == 0
    assert is_parked(pipeline.product(product_id))


def test_a_pause_reaches_a_worker_within_a_second(pipeline: Pipeline) -> None:
    pipeline.create()
    pipeline.pass_on()
    pipeline.operations.control(PAUSE)
    pipeline.create()
    pipeline.clock.advance(1)

    pipeline.pass_on()

    assert calls(pipeline) == 1


def test_everything_is_delivered_soon_after_an_operator_has_resumed(pipeline: Pipeline) -> None:
    pipeline.operations.control(PAUSE)
    ids = [pipeline.create() for _ in range(30)]
    while pipeline.pass_on():
        pass
    pipeline.clock.advance(3600)

    pipeline.operations.control(RESUME)
    converge(pipeline, seconds=5)

    assert {pipeline.product(product_id).sync.status for product_id in ids} == {
        SyncStatus.DELIVERED
    }


def test_a_pause_ends_by_itself(pipeline: Pipeline) -> None:
    until = START + timedelta(hours=2)
    pipeline.operations.control({**PAUSE, "until": rfc3339(until)})
    product_id = pipeline.create()
    pipeline.pass_on()
    pipeline.clock.now = until

    converge(pipeline, seconds=5)

    assert pipeline.product(product_id).sync.status is SyncStatus.DELIVERED
    assert pipeline.store.stored_control.pause is None


def test_the_end_of_the_horizon_moves_by_the_time_of_a_pause(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [500, 500]
    pipeline.pass_on()
    before = pipeline.product(product_id).sync
    pipeline.operations.control(PAUSE)
    pipeline.clock.advance(24 * 3600)
    pipeline.sync_once()
    pipeline.operations.control(RESUME)
    converge(pipeline, seconds=3)

    after = pipeline.product(product_id).sync
    assert before.ends_at is not None
    assert after.ends_at is not None
    assert after.attempts == 2
    assert after.ends_at - before.ends_at > timedelta(hours=23.9)


def test_a_pause_and_its_end_are_shown(pipeline: Pipeline) -> None:
    paused = {**PAUSE, "until": None, "since": rfc3339(START)}

    assert pipeline.operations.control(PAUSE) == paused
    assert pipeline.operations.summary()["control"] == paused

    nothing = {"paused": False, "reason": None, "until": None, "since": None}
    assert pipeline.operations.control(RESUME) == nothing
    assert pipeline.operations.summary()["control"] == nothing


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**PAUSE, "until": rfc3339(START)}, "until"),
        ({**RESUME, "until": rfc3339(START + timedelta(hours=1))}, "until"),
        ({**PAUSE, "until": "2030-01-01T00:00:00"}, "until"),
        ({"paused": "yes"}, "paused"),
        ({}, "paused"),
        ({**PAUSE, "reason": "x" * 501}, "reason"),
        ({**PAUSE, "because": "x"}, "because"),
    ],
)
def test_a_pause_that_makes_no_sense_is_refused(
    pipeline: Pipeline, body: object, field: str
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        pipeline.operations.control(body)

    assert [error.field for error in refused.value.errors] == [field]
    assert pipeline.store.stored_control.pause is None


def test_a_pause_that_is_not_stored_is_not_answered(pipeline: Pipeline) -> None:
    pipeline.store.broken.add("save_control")

    with pytest.raises(StoreUnavailableError):
        pipeline.operations.control(PAUSE)


def test_a_pause_comes_through_while_many_workers_change_the_state(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, others = pipeline.store.save_control, iter(range(100))

    def save_late(control: Control, *, expected_revision: int) -> bool:
        if next(others, None) is None:
            return save(control, expected_revision=expected_revision)
        stored = pipeline.store.stored_control
        pipeline.store.stored_control = replace(stored, revision=stored.revision + 1)
        return False

    monkeypatch.setattr(pipeline.store, "save_control", save_late)
    pipeline.operations.control(PAUSE)

    assert pipeline.store.stored_control.pause is not None


def test_a_state_is_as_old_as_the_question(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = pipeline.store.control

    def before_a_pause() -> Control:
        """The host stops the process before it has the answer, and an operator pauses."""
        answer = read()
        pipeline.clock.advance(10)
        return answer

    monkeypatch.setattr(pipeline.store, "control", before_a_pause)
    pipeline.admissions.admit(1)
    monkeypatch.undo()
    pipeline.operations.control(PAUSE)

    assert pipeline.admissions.admit(1).granted == 0
