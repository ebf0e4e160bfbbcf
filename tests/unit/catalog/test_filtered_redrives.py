"""A redrive of some of what has failed or is retried: when it failed, and with which error."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from chalicelib.domain.control import MOST_PORTIONS, Control
from chalicelib.domain.errors import RedriveUnderWayError
from chalicelib.domain.exact_json import Json
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.domain.times import rfc3339
from chalicelib.usecases import convergence, operations, reconcile
from tests.fakes import START, Pipeline, a_failed_state
from tests.unit.catalog.redriving import (
    CrashError,
    deliver,
    finish,
    killed,
    messages,
    progress,
    restarted,
)
from tests.unit.catalog.steps import faults

EXHAUSTED, REJECTED, RETRYING = SyncStatus.EXHAUSTED, SyncStatus.REJECTED, SyncStatus.RETRYING
FIRST, PAGE, READS = 3, 2, 5
"""What a request restarts itself, a page of reconcile, and what a page reads."""


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """The use cases, with small pages, ten hours after the beginning."""
    monkeypatch.setattr(reconcile.Reconcile, "page", PAGE)
    monkeypatch.setattr(operations.Operations, "redriven_at_once", FIRST)
    monkeypatch.setattr(convergence, "REDRIVE_READS", READS)
    made = Pipeline()
    made.clock.advance(10 * 3600)
    return made


def hour(number: int) -> datetime:
    return START + timedelta(hours=number)


def put(
    pipeline: Pipeline,
    number: int = 1,
    status: SyncStatus = EXHAUSTED,
    error: str = "HTTP 503",
    failed: int | None = 2,
) -> list[str]:
    """Store products, each a second younger than the one before; their ids."""
    state = replace(
        a_failed_state(status), last_error=error, failed_at=None if failed is None else hour(failed)
    )
    behind = [START + timedelta(seconds=n) for n in range(number)]
    return [pipeline.put(sync=replace(state, behind_since=since), outbox=()).id for since in behind]


def budgets(pipeline: Pipeline, ids: list[str]) -> list[int]:
    return [pipeline.product(item).sync.budget for item in ids]


def redrive(pipeline: Pipeline, **body: object) -> int:
    answer = pipeline.operations.redrive(body)
    assert answer["dryRun"] is body.get("dryRun", False)
    count: int = answer["count"]
    return count


# ---- which ----


def test_what_failed_with_one_kind_of_error_is_redriven_and_nothing_else(
    pipeline: Pipeline,
) -> None:
    others = put(pipeline, 9, error="HTTP 500")
    wanted = put(pipeline, 4) + put(pipeline, 4, REJECTED)
    retried = put(pipeline, 2, RETRYING)

    assert redrive(pipeline, errorKind="http-503") == 8
    finish(pipeline)

    assert budgets(pipeline, wanted) == [1] * 8
    assert budgets(pipeline, others + retried) == [0] * 11
    assert sorted(messages(pipeline)) == sorted(wanted)


@pytest.mark.parametrize(
    ("body", "failed"),
    [
        ({"since": hour(4)}, [4, 6, None]),
        ({"until": hour(4)}, [2, 4, None]),
        ({"since": hour(3), "until": hour(5)}, [4, None]),
        ({"since": hour(7)}, [None]),
    ],
)
def test_what_failed_within_a_time_is_redriven_and_what_failed_at_no_known_time(
    pipeline: Pipeline, body: dict[str, datetime], failed: list[int | None]
) -> None:
    ids = {each: put(pipeline, failed=each)[0] for each in (2, 4, 6, None)}

    times: dict[str, object] = {name: rfc3339(time) for name, time in body.items()}
    assert redrive(pipeline, **times) == len(failed)
    finish(pipeline)

    assert [each for each, name in ids.items() if pipeline.product(name).sync.budget] == failed


def test_of_what_is_retried_the_time_is_that_of_the_change(pipeline: Pipeline) -> None:
    old, young = put(pipeline, 2, RETRYING, failed=9)
    since = rfc3339(START + timedelta(seconds=1))

    assert redrive(pipeline, status="retrying", since=since) == 1
    finish(pipeline)

    assert budgets(pipeline, [old, young]) == [0, 1]


def test_a_redrive_passes_over_any_number_that_it_does_not_want(pipeline: Pipeline) -> None:
    put(pipeline, 4 * READS + 1, error="HTTP 500")
    (wanted,) = put(pipeline)
    pipeline.store.products[wanted] = replace(
        pipeline.product(wanted),
        sync=replace(pipeline.product(wanted).sync, behind_since=hour(1)),
    )

    assert redrive(pipeline, errorKind="http-503") == 1
    assert progress(pipeline) == {"startedAt": rfc3339(hour(10)), "count": 1, "done": 0}
    finish(pipeline)

    assert budgets(pipeline, [wanted]) == [1]
    assert restarted(pipeline) == 1


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("method", ["search", "apply", "save_control"])
def test_after_a_crash_what_is_wanted_is_redriven_once(
    pipeline: Pipeline, method: str, *, after: bool
) -> None:
    others, wanted = put(pipeline, 9, error="HTTP 500"), put(pipeline, 9)
    pipeline.supply_chain.answers = {item: [422] * 9 for item in wanted}
    redrive(pipeline, errorKind="http-503")
    killed(pipeline, "store", method, after=after)
    with pytest.raises(CrashError):
        pipeline.reconcile_once()
    pipeline.connect()
    deliver(pipeline)
    finish(pipeline)

    assert budgets(pipeline, wanted) == [1] * 9
    assert budgets(pipeline, others) == [0] * 9


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"since": "noon"}, "since"),
        ({"since": "2026-01-01T12:00:00"}, "since"),
        ({"until": 5}, "until"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "until"),
        ({"errorKind": "http"}, "errorKind"),
        ({"errorKind": "http-503\n"}, "errorKind"),
        ({"dryRun": "perhaps"}, "dryRun"),
        ({"dryRun": 1}, "dryRun"),
        ({"dryRun": None}, "dryRun"),
    ],
)
def test_a_filter_that_cannot_be_followed_is_refused(
    pipeline: Pipeline, body: Json, field: str
) -> None:
    ids = put(pipeline)

    assert list(faults(lambda: pipeline.operations.redrive(body))) == [field]
    assert budgets(pipeline, ids) == [0]


def test_the_filters_are_kept_with_the_act(pipeline: Pipeline) -> None:
    put(pipeline)

    redrive(pipeline, errorKind="http-503", until="2026-01-01T03:00:00+01:00", reason="repaired")

    (act,) = pipeline.store.kept_acts
    assert act.why == "repaired"
    assert act.details == {
        "errorKind": "http-503",
        "until": "2026-01-01T02:00:00Z",
        "count": 1,
    }


# ---- a dry run ----


@pytest.mark.parametrize(
    ("body", "count"),
    [({}, 5), ({"errorKind": "http-500"}, 2), ({"status": "rejected"}, 0), ({"since": None}, 5)],
)
def test_a_dry_run_counts_and_changes_nothing(pipeline: Pipeline, body: Json, count: int) -> None:
    put(pipeline, 3)
    put(pipeline, 2, error="HTTP 500")
    before = dict(pipeline.store.products)

    assert redrive(pipeline, dryRun=True, **body) == count

    assert pipeline.store.products == before
    assert pipeline.store.stored_control == Control()
    assert pipeline.queue.messages == []
    assert pipeline.store.kept_acts == []


def test_a_dry_run_beside_a_redrive_counts_and_leaves_it_alone(pipeline: Pipeline) -> None:
    put(pipeline, 9)
    redrive(pipeline, status="exhausted")
    before = pipeline.store.stored_control

    assert redrive(pipeline, dryRun=True, errorKind="http-503") == 9 - FIRST

    assert pipeline.store.stored_control == before


# ---- several at a time ----


def test_what_is_asked_for_last_comes_first_and_the_rest_of_the_other_follows(
    pipeline: Pipeline,
) -> None:
    many, few = put(pipeline, 9, error="HTTP 500"), put(pipeline, 2)
    redrive(pipeline, status="exhausted", errorKind="http-500")
    assert budgets(pipeline, few) == [0, 0]

    assert redrive(pipeline, status="exhausted", errorKind="http-503") == 2

    assert budgets(pipeline, few) == [1, 1]
    assert progress(pipeline) == {
        "startedAt": "2026-01-01T10:00:00.001Z",
        "count": 2 + 9 - FIRST,
        "done": 2,
    }
    finish(pipeline)
    assert budgets(pipeline, many) == [1] * 9


def test_no_redrive_restarts_more_than_it_was_asked_for_since_another_one_has_begun(
    pipeline: Pipeline,
) -> None:
    wanted, others = put(pipeline, 9), put(pipeline, 2, error="HTTP 500")
    redrive(pipeline, errorKind="http-503")

    redrive(pipeline, status="rejected")
    redrive(pipeline, errorKind="http-503", since=rfc3339(hour(1)))
    finish(pipeline)

    assert budgets(pipeline, wanted) == [1] * 9
    assert budgets(pipeline, others) == [0, 0]


def test_a_redrive_of_a_part_restarts_what_has_failed_again_since_a_redrive_of_all(
    pipeline: Pipeline,
) -> None:
    first, *rest = put(pipeline, 9)
    pipeline.supply_chain.answers = {first: [422]}
    redrive(pipeline)
    deliver(pipeline)
    pipeline.clock.advance(60)

    assert redrive(pipeline, errorKind="http-422") == 1
    finish(pipeline)

    assert budgets(pipeline, [first]) == [2]
    assert budgets(pipeline, rest) == [1] * 8


def test_the_same_redrive_asked_for_again_is_one(pipeline: Pipeline) -> None:
    put(pipeline, 9)
    for _ in range(3 * MOST_PORTIONS):
        redrive(pipeline, errorKind="http-503", status="exhausted")
        pipeline.clock.advance(-1)

    finish(pipeline)
    assert restarted(pipeline) == 9


def test_more_redrives_at_a_time_than_can_be_remembered_are_refused(pipeline: Pipeline) -> None:
    put(pipeline, 100)

    def ask(number: int) -> None:
        redrive(pipeline, status="exhausted", until=rfc3339(hour(2) + timedelta(seconds=number)))

    for number in range(MOST_PORTIONS):
        ask(number)
    before = pipeline.store.stored_control
    with pytest.raises(RedriveUnderWayError, match="20 redrives"):
        ask(MOST_PORTIONS)

    assert pipeline.store.stored_control == before
