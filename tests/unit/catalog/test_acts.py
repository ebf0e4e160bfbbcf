"""Each act of an operator is kept before it takes effect, with who, when and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.acts import Act, ActKind
from chalicelib.domain.control import Control, Pause
from chalicelib.domain.errors import (
    InvalidRequestError,
    ProductNotFoundError,
    StoreUnavailableError,
)
from chalicelib.domain.poison import PoisonLetter
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.usecases.catalog import Origin
from tests.fakes import START, Pipeline, a_failed_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support import Json

JANE = Origin("jane")
WHY = "they have mended it"
UNTIL = "2026-01-01T02:00:00.000Z"


def a_stuck_product(pipeline: Pipeline) -> str:
    return pipeline.put(sync=a_failed_state(SyncStatus.EXHAUSTED), outbox=()).id


def replay(pipeline: Pipeline) -> object:
    return pipeline.operations.replay(a_stuck_product(pipeline), {"reason": WHY}, JANE)


def redrive(pipeline: Pipeline) -> object:
    a_stuck_product(pipeline)
    body = {"status": "exhausted", "reason": WHY}
    return pipeline.operations.redrive(body, JANE)


def pause(pipeline: Pipeline) -> object:
    body = {"paused": True, "reason": WHY, "until": UNTIL}
    return pipeline.operations.control(body, JANE)


def resume(pipeline: Pipeline) -> object:
    return pipeline.operations.control({"paused": False, "reason": WHY}, JANE)


def audit(pipeline: Pipeline) -> object:
    return pipeline.audits.start({"reason": WHY, "repair": False}, JANE)


def republish(pipeline: Pipeline) -> None:
    pipeline.republishes.start({"reason": WHY, "maxRate": 7}, JANE)


def discard(pipeline: Pipeline) -> None:
    pipeline.store.quarantine([PoisonLetter("a", "not JSON", "{", START)])
    pipeline.quarantine.discard({"reason": "json", "why": WHY}, JANE)


ACTS: dict[ActKind, Callable[[Pipeline], object]] = {
    ActKind.REPLAY: replay,
    ActKind.REDRIVE: redrive,
    ActKind.PAUSE: pause,
    ActKind.RESUME: resume,
    ActKind.AUDIT: audit,
    ActKind.REPUBLISH: republish,
    ActKind.DISCARD: discard,
}
DETAILS: dict[ActKind, Json] = {
    ActKind.REPLAY: {"version": 0},
    ActKind.REDRIVE: {"status": "exhausted", "count": 1},
    ActKind.PAUSE: {"until": UNTIL},
    ActKind.RESUME: {},
    ActKind.AUDIT: {"repair": False},
    ActKind.REPUBLISH: {"maxRate": 7.0},
    ActKind.DISCARD: {"reason": "json", "until": "2026-01-01T00:00:00.000Z", "count": 1},
}


@pytest.mark.parametrize("what", ACTS)
def test_an_act_is_kept_with_who_when_why_and_what(pipeline: Pipeline, what: ActKind) -> None:
    ACTS[what](pipeline)

    (act,) = pipeline.store.kept_acts
    product_id = next(iter(pipeline.store.products)) if what is ActKind.REPLAY else None
    assert act == Act(act.id, START, "jane", what, WHY, product_id, DETAILS[what])


@pytest.mark.parametrize("what", ACTS)
def test_an_act_that_cannot_be_kept_has_no_effect(pipeline: Pipeline, what: ActKind) -> None:
    pipeline.operations.control({"paused": True})
    before = pipeline.store.stored_control
    pipeline.store.broken = {"add_act"}

    with pytest.raises(StoreUnavailableError):
        ACTS[what](pipeline)

    assert pipeline.store.stored_control == before
    assert pipeline.store.stored_republish.run is None
    assert all(item.sync.budget == 0 for item in pipeline.store.products.values())
    assert pipeline.queue.messages == []


@pytest.mark.parametrize("what", ACTS)
def test_it_is_kept_before_it_takes_effect(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, what: ActKind
) -> None:
    monkeypatch.setattr(pipeline.store, "save_sync", lambda *_, **__: pytest.fail("an effect"))
    monkeypatch.setattr(pipeline.store, "save_control", lambda *_, **__: pytest.fail("an effect"))
    for effect in ("save_audit", "save_republish", "discard"):
        monkeypatch.setattr(pipeline.store, effect, lambda *_, **__: pytest.fail("an effect"))
    pipeline.store.stored_control = Control(pause=Pause(START))

    with pytest.raises(pytest.fail.Exception, match="an effect"):
        ACTS[what](pipeline)

    assert [act.what for act in pipeline.store.kept_acts] == [what]


def test_a_replay_that_meets_other_writers_is_kept_once(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    product_id, save, tries = a_stuck_product(pipeline), pipeline.store.save_sync, [False, True]

    def save_second(*arguments: object, **options: object) -> bool:
        return tries.pop(0) and save(*arguments, **options)  # type: ignore[arg-type]  # as it is called

    monkeypatch.setattr(pipeline.store, "save_sync", save_second)

    assert pipeline.operations.replay(product_id)["status"] == "pending"
    assert len(pipeline.store.kept_acts) == 1


REFUSED: dict[str, Callable[[Pipeline], object]] = {
    "a replay of what is not there": lambda it: it.operations.replay("0" * 24),
    "a replay for something else": lambda it: it.operations.replay(a_stuck_product(it), {"x": 1}),
    "a redrive of what is delivered": lambda it: it.operations.redrive({"status": "delivered"}),
    "a pause that has ended": lambda it: it.operations.control(
        {"paused": True, "until": "2025-01-01T00:00:00Z"}
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_is_no_act(pipeline: Pipeline, what: str) -> None:
    with pytest.raises((InvalidRequestError, ProductNotFoundError)):
        REFUSED[what](pipeline)

    assert pipeline.store.kept_acts == []


def test_who_acts_without_a_name_is_unknown(pipeline: Pipeline) -> None:
    pipeline.operations.control({"paused": False})

    (act,) = pipeline.store.kept_acts
    assert (act.who, act.why) == ("unknown", None)


# ---- the list ----


def test_acts_are_listed_newest_first_page_by_page(pipeline: Pipeline) -> None:
    for number in range(5):
        pipeline.operations.control({"paused": True, "reason": f"{number}"})

    first = pipeline.acts.page({"limit": "2"})
    second = pipeline.acts.page({"limit": "2", "cursor": first["nextCursor"]})
    third = pipeline.acts.page({"limit": "2", "cursor": second["nextCursor"]})

    pages = [[act["why"] for act in page["items"]] for page in (first, second, third)]
    assert pages == [["4", "3"], ["2", "1"], ["0"]]
    assert third["nextCursor"] is None


def test_the_last_page_may_be_full(pipeline: Pipeline) -> None:
    for _ in range(2):
        pipeline.operations.control({"paused": False})

    assert pipeline.acts.page({"limit": "2"})["nextCursor"] is None


def test_other_use_cases_keep_their_acts_too(pipeline: Pipeline) -> None:
    pipeline.acts.record(ActKind.AUDIT, JANE, why=WHY, repair=True)

    (act,) = pipeline.acts.page({})["items"]
    assert act == {
        "id": act["id"],
        "at": "2026-01-01T00:00:00.000Z",
        "who": "jane",
        "what": "audit",
        "why": WHY,
        "productId": None,
        "details": {"repair": True},
    }


def test_an_audit_that_runs_already_is_not_begun_again_and_so_no_act(pipeline: Pipeline) -> None:
    audit(pipeline)
    audit(pipeline)
    assert [act.what for act in pipeline.store.kept_acts] == [ActKind.AUDIT]


def test_an_audit_that_is_stopped_is_an_act_too(pipeline: Pipeline) -> None:
    audit(pipeline)
    pipeline.audits.stop(JANE)
    pipeline.audits.stop(JANE)
    _, act = pipeline.store.kept_acts
    assert (act.who, act.what, act.details) == ("jane", ActKind.AUDIT, {"stopped": True})


def test_a_stop_that_cannot_be_kept_has_no_effect(pipeline: Pipeline) -> None:
    audit(pipeline)
    pipeline.store.broken = {"add_act"}
    with pytest.raises(StoreUnavailableError):
        pipeline.audits.stop(JANE)
    assert pipeline.audits.show()["state"] == "running"


def test_a_replay_is_told_in_the_time_line_of_its_product(pipeline: Pipeline) -> None:
    replay(pipeline)
    (product_id,) = pipeline.store.products
    told = pipeline.operations.timeline(product_id)["entries"]
    assert [entry["text"] for entry in told if entry["kind"] == "act"] == [f"replay by jane: {WHY}"]
