"""The republish: the whole catalog as events again, page by page, at a rate, and after crashes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.errors import InvalidRequestError, StoreUnavailableError
from chalicelib.domain.events import Event
from chalicelib.domain.republish import TRIES, Page, RepublishState, Run, republished
from chalicelib.usecases.catalog import Precondition
from chalicelib.usecases.ports import Found, StreamUsage
from chalicelib.usecases.republish import PAGE, held_by
from tests.fakes import START, Pipeline
from tests.support import Json
from tests.unit.catalog.steps import SOMEBODY

RUN = Run(START, "jane", 100.0, 5000)
LATER = START + timedelta(minutes=1)


def heard(pipeline: Pipeline) -> list[Json]:
    """The events of republishes, in the order of the stream."""
    found = [item for item in pipeline.stream.log if item.subject == "product.republished"]
    return [json.loads(item.data) for item in found]


def a_catalog(pipeline: Pipeline, count: int) -> list[str]:
    return sorted(pipeline.create() for _ in range(count))


def shown(pipeline: Pipeline, **expected: object) -> bool:
    state = pipeline.republishes.show()
    return {name: state[name] for name in expected} == expected


# ---- what is published ----


def test_every_product_that_is_not_deleted_is_published_at_its_present_version(
    pipeline: Pipeline,
) -> None:
    changed, deleted, other = a_catalog(pipeline, 3)
    pipeline.update(changed, price=3)
    pipeline.catalog.delete(deleted, Precondition(), SOMEBODY)
    pipeline.republishes.start({}, SOMEBODY)

    assert pipeline.reconcile_once().republished == 2

    assert [
        (it["subject"], it["data"]["version"], it["data"]["price"]) for it in heard(pipeline)
    ] == [
        (changed, 1, 3),
        (other, 0, 12.5),
    ]
    assert shown(pipeline, state="done", checked=3, published=2, refused=0, held=None)


def test_what_a_failover_may_take_back_is_not_published(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_catalog(pipeline, 1)
    asked: list[object] = []
    real = pipeline.store.walk

    def walk(after: str | None, limit: int, *, majority: bool = False) -> Found:
        asked.append(majority)
        return real(after, limit)

    monkeypatch.setattr(pipeline.store, "walk", walk)
    pipeline.republishes.start({})
    pipeline.reconcile_once()
    assert asked == [True]


def test_its_events_have_a_type_of_their_own_and_name_their_run(pipeline: Pipeline) -> None:
    product = pipeline.put()
    event = republished(product, START, LATER)

    assert event.id == f"{product.id}:0:product:republished"
    assert event.headers["Nats-Msg-Id"] == f"{event.id}:2026-01-01T00:00:00.000Z"
    written = json.loads(event.to_cloudevent())
    assert (written["type"], written["run"], written["time"], written["bulk"]) == (
        "product:republished",
        "2026-01-01T00:00:00.000Z",
        "2026-01-01T00:01:00.000Z",
        True,
    )


def test_the_bridge_takes_none_of_them(pipeline: Pipeline) -> None:
    a_catalog(pipeline, 3)
    pipeline.pass_on()
    pipeline.republishes.start({})
    pipeline.reconcile_once()

    assert len(heard(pipeline)) == 3
    assert pipeline.bridge_once().forwarded == 0
    assert pipeline.queue.messages == []


def test_each_of_two_republishes_reaches_the_stream(pipeline: Pipeline) -> None:
    a_catalog(pipeline, 2)
    for _ in range(2):
        pipeline.republishes.start({})
        pipeline.reconcile_once()

    assert len(heard(pipeline)) == 4
    assert len({event["run"] for event in heard(pipeline)}) == 2


def test_a_product_that_changes_meanwhile_is_published_once_more_by_its_change(
    pipeline: Pipeline,
) -> None:
    first, *_ = a_catalog(pipeline, PAGE + 1)
    pipeline.republishes.start({"maxRate": 100_000})
    pipeline.clock.advance(1)
    pipeline.republisher.step()
    pipeline.update(first, price=3)
    pipeline.reconcile_once()

    of_first = [
        it
        for it in map(json.loads, (m.data for m in pipeline.stream.log))
        if it["subject"] == first
    ]
    assert [(it["type"], it["data"]["version"]) for it in of_first] == [
        ("product:created", 0),
        ("product:republished", 0),
        ("product:updated", 1),
    ]


def test_a_document_that_cannot_be_read_is_counted_and_has_no_event(pipeline: Pipeline) -> None:
    first, _ = a_catalog(pipeline, 2)
    pipeline.store.unreadable = {first}
    pipeline.republishes.start({})
    pipeline.reconcile_once()

    assert shown(pipeline, state="done", checked=2, published=1, unreadable=1)


# ---- how it goes on ----


def test_it_keeps_to_its_rate(pipeline: Pipeline) -> None:
    a_catalog(pipeline, 50)
    pipeline.republishes.start({"maxRate": 5})

    pipeline.reconcile_once(seconds=4)

    assert len(heard(pipeline)) <= 5 * 5
    assert shown(pipeline, state="running")
    pipeline.reconcile_once(seconds=30)
    assert shown(pipeline, state="done", published=50)


def test_after_a_crash_it_goes_on_behind_the_last_page_and_nothing_is_stored_twice(
    pipeline: Pipeline,
) -> None:
    names = a_catalog(pipeline, PAGE + 20)
    pipeline.republishes.start({"maxRate": 100_000})
    pipeline.clock.advance(1)
    pipeline.store.broken = {"save_republish"}
    with pytest.raises(StoreUnavailableError):
        pipeline.republisher.step()
    pipeline.store.broken = set()
    # Another process.
    pipeline.connect()

    pipeline.reconcile_once()

    assert [event["subject"] for event in heard(pipeline)] == names
    assert shown(pipeline, state="done", published=PAGE + 20)


def test_two_copies_count_a_page_once(pipeline: Pipeline) -> None:
    a_catalog(pipeline, 3)
    pipeline.republishes.start({})
    seen = pipeline.store.stored_republish.run
    assert seen is not None
    page = Page(after="a", checked=3, published=3)

    pipeline.republishes.add(seen, page)
    pipeline.republishes.add(seen, page)

    assert shown(pipeline, checked=3)


def test_a_run_of_reconcile_that_finds_none_ends_at_once(pipeline: Pipeline) -> None:
    assert not pipeline.reconcile.is_needed()
    pipeline.republishes.start({})
    assert pipeline.reconcile.is_needed()


# ---- a stream that does not take it ----


def test_while_the_stream_is_away_it_waits_and_says_why(pipeline: Pipeline) -> None:
    a_catalog(pipeline, 2)
    pipeline.republishes.start({})
    pipeline.stream.away = True
    pipeline.reconcile_once()
    assert shown(pipeline, state="running", checked=0, held="the stream does not answer")
    assert not pipeline.reconcile.is_needed()

    pipeline.stream.away = False
    pipeline.clock.advance(10)
    pipeline.reconcile_once()
    assert shown(pipeline, state="done", published=2, held=None)


def test_a_slow_stream_gets_a_page_every_ten_seconds(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_catalog(pipeline, 2 * PAGE)
    pipeline.republishes.start({"maxRate": 100_000})
    pipeline.clock.advance(1)
    publish = pipeline.stream.publish

    def slowly(events: Sequence[Event]) -> list[Event]:
        pipeline.clock.advance(2)
        return publish(events)

    monkeypatch.setattr(pipeline.stream, "publish", slowly)
    assert pipeline.republisher.step() == PAGE
    assert pipeline.republisher.step() is None
    pipeline.clock.advance(10)
    assert pipeline.republisher.step() == PAGE


def test_it_leaves_room_in_the_stream_for_the_events_of_changes(pipeline: Pipeline) -> None:
    a_catalog(pipeline, 2)
    pipeline.republishes.start({})
    pipeline.stream.limit = 1000

    pipeline.reconcile_once()

    assert heard(pipeline) == []
    assert "the stream is too full" in pipeline.republishes.show()["held"]


@pytest.mark.parametrize(
    ("usage", "held"),
    [
        (StreamUsage(10, None), None),
        (StreamUsage(749, 1000), None),
        (StreamUsage(750, 1000), "the stream is too full, at 75 % of 1,000 bytes: raise its limit"),
        (None, "the stream does not answer"),
    ],
)
def test_it_is_held_by_a_stream_without_room(usage: StreamUsage | None, held: str | None) -> None:
    assert held_by(usage) == held


def test_an_event_that_the_stream_never_takes_is_given_up_and_told(pipeline: Pipeline) -> None:
    names = a_catalog(pipeline, 3)
    pipeline.stream.refused = {f"{names[1]}:0:product:republished"}
    pipeline.republishes.start({})

    pipeline.reconcile_once()
    assert shown(pipeline, state="running", held="the stream does not take 1 event")
    for _ in range(TRIES):
        pipeline.clock.advance(10)
        pipeline.reconcile_once()

    assert shown(pipeline, state="done", checked=3, published=2, refused=1, held=None)
    assert [event["subject"] for event in heard(pipeline)] == [names[0], names[2]]


def test_a_stream_that_takes_nothing_at_all_holds_it_for_ever(pipeline: Pipeline) -> None:
    names = a_catalog(pipeline, 6)
    pipeline.stream.refused = {f"{name}:0:product:republished" for name in names}
    pipeline.republishes.start({})

    for _ in range(TRIES + 3):
        pipeline.reconcile_once()
        pipeline.clock.advance(10)

    assert shown(pipeline, state="running", checked=0, held="the stream does not take 6 events")


def test_a_page_that_cannot_be_noted_comes_again(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_catalog(pipeline, 2)
    pipeline.republishes.start({})
    with monkeypatch.context() as patch:
        patch.setattr(pipeline.store, "save_republish", lambda *_, **__: False)
        pipeline.clock.advance(1)
        assert pipeline.republisher.step() == 2
    assert shown(pipeline, checked=0)

    pipeline.reconcile_once()
    assert shown(pipeline, state="done", published=2)
    assert len(heard(pipeline)) == 2


# ---- what operators do ----


def test_a_second_start_gives_the_one_that_runs(pipeline: Pipeline) -> None:
    a_catalog(pipeline, 1)
    first = pipeline.republishes.start({"maxRate": 7}, SOMEBODY)

    assert pipeline.republishes.start({"maxRate": 9}, SOMEBODY) == first
    assert len(pipeline.store.kept_acts) == 1


def test_it_is_stopped_and_says_by_whom(pipeline: Pipeline) -> None:
    a_catalog(pipeline, 1)
    pipeline.republishes.start({}, SOMEBODY)

    stopped = pipeline.republishes.stop(SOMEBODY)

    assert (stopped["state"], stopped["stoppedBy"]) == ("done", SOMEBODY.principal)
    pipeline.reconcile_once()
    assert heard(pipeline) == []
    assert [act.details for act in pipeline.store.kept_acts][-1] == {"stopped": True}


def test_to_stop_none_changes_nothing(pipeline: Pipeline) -> None:
    assert pipeline.republishes.stop(SOMEBODY)["state"] == "none"
    assert pipeline.store.kept_acts == []


def test_one_that_has_ended_by_itself_is_not_stopped_afterwards() -> None:
    ended = replace(RUN, finished_at=LATER)
    state = RepublishState(last=ended)
    assert state.with_stop(RUN, "jane", LATER) is state
    assert state.with_page(RUN, Page(), LATER) is state


@pytest.mark.parametrize("body", [{"maxRate": 0}, {"maxRate": "fast"}, {"rate": 5}, []])
def test_a_request_that_breaks_a_rule_is_refused(pipeline: Pipeline, body: object) -> None:
    with pytest.raises(InvalidRequestError):
        pipeline.republishes.start(body)
    assert pipeline.store.kept_acts == []


@pytest.mark.parametrize(
    ("changes", "whole"),
    [
        ({"finished_at": LATER}, True),
        ({}, False),
        ({"finished_at": LATER, "refused": 1}, False),
        ({"finished_at": LATER, "unreadable": 1}, False),
        ({"finished_at": LATER, "stopped_by": "jane"}, False),
    ],
)
def test_it_is_whole_if_every_product_has_an_event(changes: Json, whole: bool) -> None:
    assert replace(RUN, **changes).is_whole is whole
