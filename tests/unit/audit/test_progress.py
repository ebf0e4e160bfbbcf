"""How an audit goes through the catalog: pages, pace, and what it waits for."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.answers import Answer
from chalicelib.domain.audit import EXAMPLES, TRIES, AuditState, Difference, Run
from chalicelib.domain.breaker import BreakerPolicy, BreakerState
from chalicelib.domain.control import CatchUp, Control, Redrive
from chalicelib.domain.errors import InvalidRequestError
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import SyncStatus
from chalicelib.usecases.audit import PAGE, SILENT_FOR
from chalicelib.usecases.ports import Found
from tests.fakes import GRACE, START, Pipeline
from tests.unit.audit.steps import (
    NO_ANSWER,
    NONE,
    a_catalog,
    audit,
    change_there,
    delete,
    ids,
    run_of,
    settle,
)
from tests.unit.catalog.steps import SOMEBODY


def test_an_audit_compares_every_product() -> None:
    pipeline = a_catalog(25)
    done = audit(pipeline)
    assert (done["state"], done["checked"], done["total"]) == ("done", 25, 25)
    assert (done["differences"], done["behind"], done["unanswered"]) == (NONE, 0, 0)
    assert str(done["statement"]).endswith("the newest version of all 25 products")
    assert sorted(pipeline.supply_chain.asked) == ids(pipeline)


def test_without_an_audit_nothing_is_asked() -> None:
    pipeline = a_catalog(2)
    pipeline.reconcile_once()
    assert pipeline.supply_chain.asked == []
    assert pipeline.audits.show()["state"] == "none"
    assert pipeline.audits.last() is None


def test_who_has_started_it_and_when_is_kept() -> None:
    done = audit(a_catalog(1))
    assert (done["startedBy"], done["startedAt"]) == ("somebody", "2026-01-01T00:00:00.000Z")
    assert done["finishedAt"] == "2026-01-01T00:00:01.000Z"


def test_a_second_request_is_answered_with_the_audit_that_runs() -> None:
    pipeline = a_catalog(2)
    first = pipeline.audits.start({}, SOMEBODY)
    pipeline.clock.advance(5)
    assert pipeline.audits.start({"repair": False}, replace(SOMEBODY, principal="another")) == first


def ask_slowly(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float]
) -> None:
    """Let questions about some products take their time."""
    ask = pipeline.supply_chain.ask

    def asked(product: Product) -> Answer | None:
        pipeline.clock.advance(seconds.get(product.id, 0.0))
        return ask(product)

    monkeypatch.setattr(pipeline.supply_chain, "ask", asked)
    pipeline.connect()


def test_the_next_audit_begins_later_than_the_one_before() -> None:
    pipeline = a_catalog(0)
    first = pipeline.audits.start({}, SOMEBODY)
    pipeline.reconcile_once()
    pipeline.clock.now = START
    second = pipeline.audits.start({}, SOMEBODY)
    assert second["startedAt"] > first["startedAt"]


@pytest.mark.parametrize("body", [{"repair": "no"}, {"reason": 7}, {"sample": 5}, []])
def test_a_request_that_breaks_a_rule_starts_nothing(body: Any) -> None:  # noqa: ANN401 - any JSON
    pipeline = a_catalog(0)
    with pytest.raises(InvalidRequestError):
        pipeline.audits.start(body, SOMEBODY)
    assert pipeline.audits.show()["state"] == "none"


def test_a_run_goes_on_where_the_one_before_has_ended() -> None:
    pipeline = a_catalog(25)
    shown = audit(pipeline, seconds=1.5)
    assert (shown["state"], shown["checked"], shown["total"]) == ("running", 10, 25)
    assert shown["statement"] is None
    pipeline.connect()
    pipeline.reconcile_once()
    assert pipeline.audits.show()["state"] == "done"
    assert sorted(pipeline.supply_chain.asked) == ids(pipeline)


def test_questions_keep_to_the_rate() -> None:
    pipeline = a_catalog(35)
    pipeline.audits.start({}, SOMEBODY)
    pipeline.reconcile_once()
    # 10 a second, and permits for the first page have to be saved up.
    assert pipeline.clock() == START + timedelta(seconds=4)


def test_questions_that_are_repeated_count_for_the_rate() -> None:
    pipeline = a_catalog(19)
    for name in ids(pipeline)[:10]:
        pipeline.supply_chain.told[name] = [Answer(404), Answer(503)]
    audit(pipeline)
    assert len(pipeline.supply_chain.asked) == 39
    assert pipeline.clock() == START + timedelta(seconds=4)


def test_products_that_are_not_delivered_are_not_compared() -> None:
    pipeline = a_catalog(2)
    pipeline.put(outbox=())
    done = audit(pipeline)
    assert (done["checked"], done["behind"], len(pipeline.supply_chain.asked)) == (3, 1, 2)
    assert done["statement"].endswith("of all 3 products, but for 1: 1 not delivered yet")


def test_a_document_that_cannot_be_read_is_an_exception() -> None:
    pipeline = a_catalog(2)
    pipeline.store.unreadable.add(ids(pipeline)[1])
    done = audit(pipeline)
    assert (done["checked"], done["unanswered"]) == (2, 1)


def test_a_document_that_became_unreadable_is_not_judged() -> None:
    pipeline = a_catalog(1)
    (name,) = ids(pipeline)
    change_there(pipeline, name, Difference.OLDER)
    ask = pipeline.supply_chain.ask

    def asked(product: Any) -> Answer | None:  # noqa: ANN401 - a product
        get = pipeline.store.get
        pipeline.store.get = lambda *a, **k: (  # type: ignore[method-assign]  # as a spy
            pipeline.store.unreadable.add(name) or get(*a, **k)  # type: ignore[func-returns-value]  # adds first
        )
        return ask(product)

    pipeline.supply_chain.ask = asked  # type: ignore[method-assign]  # as a spy
    pipeline.connect()
    assert (audit(pipeline)["behind"], pipeline.product(name).version) == (1, 0)


def test_a_confirmed_deletion_is_compared_too() -> None:
    pipeline = a_catalog(2)
    delete(pipeline, ids(pipeline)[0])
    done = audit(pipeline)
    assert (done["checked"], done["differences"]) == (2, NONE)


def test_a_wrong_answer_counts_as_no_difference() -> None:
    pipeline = a_catalog(3)
    first, second, third = ids(pipeline)
    pipeline.supply_chain.told = {
        first: [Answer(404), Answer(404)],
        second: [Answer(200, b'{"id": "another", "version": 1}'), None, Answer(500)],
        third: [Answer(200, b'{"version": 7}'), Answer(200, b'{"version": 8}')],
    }
    done = audit(pipeline)
    assert (done["differences"], done["unanswered"]) == (NONE, 0)
    assert done["statement"].endswith("of all 3 products")


def test_a_product_without_an_answer_is_counted_and_the_others_go_on() -> None:
    pipeline = a_catalog(3)
    silent = ids(pipeline)[1]
    pipeline.supply_chain.told[silent] = NO_ANSWER * 100
    done = audit(pipeline)
    assert (done["state"], done["unanswered"], done["differences"]) == ("done", 1, NONE)
    assert pipeline.supply_chain.asked.count(silent) == TRIES


# ---- stopped ----


def test_an_audit_that_is_stopped_ends_and_proves_nothing() -> None:
    pipeline = a_catalog(25)
    audit(pipeline, seconds=1.5)
    pipeline.audits.stop(replace(SOMEBODY, principal="another"))
    pipeline.reconcile_once()
    done = pipeline.audits.show()
    assert (done["state"], done["checked"], done["stoppedBy"]) == ("done", 10, "another")
    assert done["statement"] == (
        f"stopped by another at {done['finishedAt']} after 10 of 25 products"
    )


def test_after_a_stop_the_next_audit_begins_anew() -> None:
    pipeline = a_catalog(25)
    audit(pipeline, seconds=1.5)
    pipeline.audits.stop(SOMEBODY)
    done = audit(pipeline)
    assert (done["state"], done["checked"], done["stoppedBy"]) == ("done", 25, None)


def test_without_an_audit_that_runs_a_stop_changes_nothing() -> None:
    pipeline = a_catalog(1)
    assert pipeline.audits.stop(SOMEBODY)["state"] == "none"
    done = audit(pipeline)
    assert pipeline.audits.stop(SOMEBODY) == done


def test_an_audit_that_has_ended_by_itself_is_not_stopped() -> None:
    pipeline = a_catalog(1)
    pipeline.audits.start({}, SOMEBODY)
    seen = run_of(pipeline)
    pipeline.reconcile_once()
    stored = pipeline.store.stored_audit
    assert stored.with_stop(seen, "another", START) == stored


def test_a_stop_ends_no_difference_that_was_found_before(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pipeline = a_catalog(25)
    change_there(pipeline, ids(pipeline)[-1], Difference.MISSING)
    audit(pipeline, {"repair": False})
    audit(pipeline, {"repair": False}, seconds=1.5)
    pipeline.audits.stop(SOMEBODY)
    assert open_differences(pipeline, capsys) == 1


# ---- a supply chain that says nothing ----


def test_a_supply_chain_that_answers_nothing_is_asked_little_and_the_run_waits() -> None:
    pipeline = a_catalog(25)
    pipeline.supply_chain.away = True
    shown = audit(pipeline, seconds=5)
    assert len(pipeline.supply_chain.asked) == 10
    assert (shown["checked"], shown["held"]) == (0, "the supply chain answers no questions")
    assert not pipeline.reconcile.is_needed()


def test_the_run_goes_on_when_it_answers_again() -> None:
    pipeline = a_catalog(25)
    pipeline.supply_chain.away = True
    audit(pipeline, seconds=5)
    pipeline.supply_chain.away = False
    pipeline.clock.advance(SILENT_FOR.total_seconds())
    assert pipeline.reconcile.is_needed()
    pipeline.reconcile_once()
    done = pipeline.audits.show()
    assert (done["checked"], done["unanswered"], done["held"]) == (25, 0, None)


def test_a_page_that_is_never_answered_does_not_hold_the_run_up_for_ever() -> None:
    pipeline = a_catalog(1)
    pipeline.supply_chain.away = True
    pipeline.audits.start({}, SOMEBODY)
    for _ in range(5):
        pipeline.reconcile_once(seconds=2)
        pipeline.clock.advance(SILENT_FOR.total_seconds())
    done = pipeline.audits.show()
    assert (done["state"], done["unanswered"]) == ("done", 1)


# ---- what comes first ----

NOW = START + timedelta(seconds=2)


def hold(pipeline: Pipeline, control: Control) -> None:
    pipeline.controls.change(lambda _: (None, control))


def test_an_audit_that_waits_for_long_goes_on_afterwards() -> None:
    pipeline = a_catalog(1)
    pipeline.operations.control({"paused": True})
    audit(pipeline)
    for _ in range(4):
        pipeline.clock.advance(1800)
        pipeline.reconcile_once()
    pipeline.operations.control({"paused": False})
    for _ in range(3):
        pipeline.reconcile_once()
        pipeline.clock.advance(60)
    assert pipeline.audits.show()["state"] == "done"


def test_an_audit_of_the_release_before_goes_on() -> None:
    pipeline = a_catalog(1)
    old = Run(START, "somebody", repair=True, total=1)
    pipeline.store.stored_audit = AuditState(old, revision=1)
    pipeline.clock.advance(7200)
    pipeline.reconcile_once()
    assert pipeline.audits.show()["state"] == "done"


def test_while_an_operator_has_paused_nothing_is_asked_and_the_audit_says_why() -> None:
    pipeline = a_catalog(2)
    pipeline.operations.control({"paused": True, "reason": "their release"})
    shown = audit(pipeline, seconds=3)
    assert (shown["checked"], shown["held"]) == (0, "paused: their release")
    assert pipeline.supply_chain.asked == []


def test_while_the_breaker_is_open_nothing_is_asked() -> None:
    pipeline = a_catalog(2)
    stored = pipeline.controls.read()
    far = START + timedelta(days=1)
    open_ = replace(
        stored.breaker, state=BreakerState.OPEN, since=START, reason="HTTP 503", probe_at=far
    )
    hold(pipeline, replace(stored, breaker=open_))
    shown = audit(pipeline, seconds=3)
    assert "the breaker is open" in shown["held"]
    assert pipeline.supply_chain.asked == []


def test_while_an_outage_is_caught_up_nothing_is_asked() -> None:
    pipeline = a_catalog(2)
    stored = pipeline.controls.read()
    ramp = replace(stored.breaker, ramp_since=START)
    hold(pipeline, replace(stored, breaker=ramp))
    shown = audit(pipeline, seconds=3)
    assert shown["held"] == "what an outage or a pause has delayed comes first"
    assert pipeline.supply_chain.asked == []
    pipeline.clock.advance(60)
    pipeline.reconcile_once()
    assert pipeline.audits.show()["state"] == "done"


@pytest.mark.parametrize(
    ("control", "held"),
    [
        (Control(catch_up=CatchUp(NOW)), "what an outage or a pause has delayed comes first"),
        (Control(redrive=Redrive((SyncStatus.EXHAUSTED,), NOW, 1)), "a redrive comes first"),
        (
            Control(replace(Control().breaker, cooldown_until=NOW)),
            "the supply chain asked for no calls until 2026-01-01T00:00:02.000Z",
        ),
        (Control(), None),
    ],
)
def test_calls_that_are_not_urgent_wait_for_the_others(control: Control, held: str | None) -> None:
    assert control.put_off_by(START, BreakerPolicy()) == held
    granted, after = control.spare(5, START, BreakerPolicy())
    assert (granted, after) == (0 if held else 5, control)


def test_overdue_products_come_before_the_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = a_catalog(2)
    seen: list[int] = []
    ask = pipeline.supply_chain.ask
    pipeline.supply_chain.ask = lambda product: (  # type: ignore[method-assign]  # as a spy
        seen.append(len(pipeline.queue.messages)) or ask(product)  # type: ignore[func-returns-value]  # notes first
    )
    pipeline.connect()
    for _ in range(3):
        pipeline.put(outbox=())
    pipeline.clock.advance(2 * GRACE.total_seconds())
    monkeypatch.setattr(pipeline.reconcile, "page", 1)
    audit(pipeline)
    assert seen == [3, 3]


# ---- the rate limit of all calls ----


def test_with_a_rate_limit_questions_take_permits() -> None:
    pipeline = a_catalog(10, breaker=BreakerPolicy(max_rate=4.0))
    before = pipeline.controls.read().breaker
    begun = pipeline.clock()
    done = audit(pipeline)
    assert done["state"] == "done"
    # A fourth of the limit, so that the others can go on.
    assert (pipeline.clock() - begun).total_seconds() >= 9
    after = pipeline.controls.read().breaker
    assert after.spent_until != before.spent_until
    assert after.queued_until == before.queued_until


def test_a_difference_is_confirmed_even_if_permits_are_rare() -> None:
    pipeline = a_catalog(2, breaker=BreakerPolicy(max_rate=4.0))
    change_there(pipeline, ids(pipeline)[0], Difference.MISSING)
    pipeline.audits.start({}, SOMEBODY)
    for _ in range(4):
        pipeline.reconcile_once(seconds=5)
    done = pipeline.audits.show()
    assert (done["differences"]["missing"], done["unanswered"]) == (1, 0)


def test_a_refused_question_takes_no_place_in_the_queue_of_the_others() -> None:
    policy = BreakerPolicy(max_rate=2.0)
    _, spent = Control().admit(2, START, policy)
    granted, after = spent.spare(5, START, policy)
    assert (granted, after) == (0, spent)


def test_while_deliveries_use_up_the_rate_limit_the_audit_sleeps_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = a_catalog(5, breaker=BreakerPolicy(max_rate=10.0))
    pipeline.audits.start({}, SOMEBODY)
    pipeline.clock.advance(60)
    walks: list[int] = []
    walk = pipeline.store.walk

    def walked(after: str | None, limit: int) -> Found:
        walks.append(limit)
        return walk(after, limit)

    def spend() -> None:
        stored = pipeline.controls.read()
        breaker = replace(stored.breaker, spent_until=pipeline.clock())
        hold(pipeline, replace(stored, breaker=breaker))

    monkeypatch.setattr(pipeline.store, "walk", walked)
    end, looks = pipeline.clock() + timedelta(seconds=5), iter(range(200))

    def seconds_left() -> float:
        # Deliveries take each permit; a run that never sleeps has no end.
        spend()
        next(looks)
        return (end - pipeline.clock()).total_seconds()

    pipeline.reconcile.run(seconds_left)
    assert 1 <= len(walks) <= 6
    assert pipeline.supply_chain.asked == []
    assert pipeline.audits.show()["held"] == "deliveries use up the rate limit of calls"


# ---- two copies, and a document that everybody changes ----


def test_two_copies_do_no_harm() -> None:
    pipeline = a_catalog(25)
    change_there(pipeline, ids(pipeline)[3], Difference.OLDER)
    pipeline.audits.start({}, SOMEBODY)
    ask, other = pipeline.supply_chain.ask, pipeline.reconcile
    begun: list[bool] = []

    def asked(product: Any) -> Answer | None:  # noqa: ANN401 - a product
        if not begun:
            begun.append(True)
            end = pipeline.clock() + timedelta(seconds=1.5)
            other.run(lambda: float((end - pipeline.clock()).total_seconds()))
        return ask(product)

    pipeline.supply_chain.ask = asked  # type: ignore[method-assign]  # as a spy
    pipeline.connect()
    pipeline.reconcile_once()
    done = pipeline.audits.show()
    assert (done["checked"], done["repaired"], done["differences"]["older"]) == (25, 1, 1)
    assert pipeline.product(ids(pipeline)[3]).sync.budget == 1


def test_a_page_that_could_not_be_noted_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = a_catalog(2)
    pipeline.audits.start({}, SOMEBODY)
    save = pipeline.store.save_audit
    monkeypatch.setattr(pipeline.store, "save_audit", lambda *_, **__: False)
    pipeline.reconcile_once(seconds=3)
    assert run_of(pipeline).checked == 0
    monkeypatch.setattr(pipeline.store, "save_audit", save)
    pipeline.reconcile_once()
    assert pipeline.audits.show()["checked"] == 2


def test_behind_a_product_that_hangs_the_others_are_asked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = a_catalog(PAGE)
    first, *others = ids(pipeline)
    pipeline.supply_chain.told[first] = NO_ANSWER * TRIES
    ask_slowly(pipeline, monkeypatch, {first: 10.0})
    pipeline.audits.start({}, SOMEBODY)
    for _ in range(3 * TRIES):
        pipeline.reconcile_once()
        pipeline.clock.advance(30)
    done = pipeline.audits.show()
    assert (done["state"], done["unanswered"]) == ("done", 1)
    asked = pipeline.supply_chain.asked
    assert sorted(asked) == sorted([*others, *[first] * TRIES])


def test_an_answer_that_an_earlier_audit_got_is_no_proof_for_the_next() -> None:
    pipeline = a_catalog(1)
    audit(pipeline)
    done = audit(pipeline)
    assert (done["checked"], len(pipeline.supply_chain.asked)) == (1, 2)


# ---- a few products per run ----


def test_reconcile_compares_a_few_products_in_each_run() -> None:
    pipeline = a_catalog(5, sample=2)
    for _ in range(3):
        pipeline.reconcile_once()
        pipeline.clock.advance(60)
    rolling = pipeline.audits.show()["rolling"]
    assert sorted(pipeline.supply_chain.asked) == ids(pipeline)
    assert (rolling["state"], rolling["checked"]) == ("done", 5)
    pipeline.reconcile_once()
    rolling = pipeline.audits.show()["rolling"]
    assert (rolling["state"], rolling["checked"]) == ("running", 2)


def test_a_run_a_second_later_compares_no_others() -> None:
    pipeline = a_catalog(5, sample=2)
    pipeline.reconcile_once()
    pipeline.clock.advance(1)
    pipeline.reconcile_once()
    assert len(pipeline.supply_chain.asked) == 2


def test_a_large_sample_ends_in_time_and_notes_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = a_catalog(3 * PAGE, sample=1000)
    ask_slowly(pipeline, monkeypatch, dict.fromkeys(ids(pipeline), 0.06))
    pipeline.reconcile_once()
    rolling = pipeline.audits.show()["rolling"]
    # Two pages take six seconds here.
    assert (rolling["state"], rolling["checked"]) == ("running", 2 * PAGE)


def test_a_sample_does_not_begin_a_page_after_the_end_of_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = a_catalog(2 * PAGE, sample=1000)
    ask_slowly(pipeline, monkeypatch, dict.fromkeys(ids(pipeline), 0.02))
    pipeline.reconcile_once(seconds=0.5)
    assert len(pipeline.supply_chain.asked) == PAGE


def test_a_sample_of_several_pages_goes_through_the_catalog_once() -> None:
    pipeline = a_catalog(PAGE + 2, sample=1000)
    pipeline.reconcile_once()
    rolling = pipeline.audits.show()["rolling"]
    assert (rolling["state"], len(pipeline.supply_chain.asked)) == ("done", PAGE + 2)


def test_with_a_rate_limit_a_sample_takes_a_fourth_of_it_too() -> None:
    pipeline = a_catalog(20, sample=20, breaker=BreakerPolicy(max_rate=8.0))
    pipeline.clock.advance(60)
    pipeline.reconcile_once()
    # What was saved up: two seconds.
    assert len(pipeline.supply_chain.asked) == 4


def test_the_rolling_audit_repairs_too() -> None:
    pipeline = a_catalog(3, sample=20)
    change_there(pipeline, ids(pipeline)[1], Difference.DIFFERENT)
    pipeline.reconcile_once()
    rolling = pipeline.audits.show()["rolling"]
    assert (rolling["differences"]["different"], rolling["repaired"]) == (1, 1)
    assert pipeline.audits.last() is None
    settle(pipeline)
    assert "behind our back" not in pipeline.supply_chain.held[ids(pipeline)[1]].fields.name


def test_the_rolling_audit_waits_for_what_comes_first() -> None:
    pipeline = a_catalog(3, sample=20)
    pipeline.operations.control({"paused": True})
    pipeline.reconcile_once(seconds=2)
    assert pipeline.supply_chain.asked == []


# ---- what operators watch ----


def metrics(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for line in capsys.readouterr().out.splitlines():
        found |= json.loads(line) if '"_aws"' in line else {}
    return found


def test_an_audit_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = a_catalog(PAGE)
    change_there(pipeline, ids(pipeline)[0], Difference.MISSING)
    pipeline.put(outbox=())
    capsys.readouterr()
    audit(pipeline)
    seen = metrics(capsys)
    assert (seen["audited"], seen["audit_differences"], seen["audit_repaired"]) == (PAGE, 1, 1)


def open_differences(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> int:
    pipeline.clock.advance(60)
    capsys.readouterr()
    pipeline.reconcile_once(seconds=0)
    return int(metrics(capsys)["audit_differences_open"])


def test_a_difference_is_open_until_the_product_is_delivered_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pipeline = a_catalog(3)
    assert open_differences(pipeline, capsys) == 0
    change_there(pipeline, ids(pipeline)[0], Difference.MISSING)
    audit(pipeline, {"repair": False})
    assert open_differences(pipeline, capsys) == 1
    pipeline.operations.replay(ids(pipeline)[0])
    assert open_differences(pipeline, capsys) == 1
    settle(pipeline)
    assert open_differences(pipeline, capsys) == 0


def test_a_difference_of_a_product_that_is_gone_is_not_open(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pipeline = a_catalog(1)
    (name,) = ids(pipeline)
    change_there(pipeline, name, Difference.OLDER)
    audit(pipeline, {"repair": False})
    del pipeline.store.products[name]
    assert open_differences(pipeline, capsys) == 0


def test_differences_beyond_the_examples_are_open_unless_repaired(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chalicelib.domain.audit.EXAMPLES", 1)
    pipeline = a_catalog(3)
    for name in ids(pipeline):
        change_there(pipeline, name, Difference.MISSING)
    audit(pipeline, {"repair": False})
    assert open_differences(pipeline, capsys) == 3


def test_what_two_audits_have_found_beyond_the_examples_is_counted_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chalicelib.domain.audit.EXAMPLES", 1)
    pipeline = a_catalog(3)
    for name in ids(pipeline):
        change_there(pipeline, name, Difference.MISSING)
    audit(pipeline, {"repair": False})
    last = pipeline.store.stored_audit.last
    pipeline.store.stored_audit = replace(pipeline.store.stored_audit, rolled=last)
    assert open_differences(pipeline, capsys) == 3


def test_after_a_full_audit_that_has_found_all_right_no_difference_is_open(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = a_catalog(EXAMPLES + 10, sample=1000)
    held = dict(pipeline.supply_chain.held)
    for name in ids(pipeline):
        change_there(pipeline, name, Difference.MISSING)
    monkeypatch.setattr(pipeline.audits, "_repair", False)
    pipeline.reconcile_once()
    assert open_differences(pipeline, capsys) == EXAMPLES + 10
    # Its people have restored it.
    pipeline.supply_chain.held.update(held)
    audit(pipeline)
    assert open_differences(pipeline, capsys) == 0


def test_a_difference_that_a_later_comparison_does_not_find_is_not_open(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = a_catalog(1, sample=2)
    monkeypatch.setattr(pipeline.audits, "_repair", False)
    (name,) = ids(pipeline)
    held = dict(pipeline.supply_chain.held)
    change_there(pipeline, name, Difference.MISSING)
    audit(pipeline, {"repair": False})
    assert open_differences(pipeline, capsys) == 1
    pipeline.supply_chain.held.update(held)
    pipeline.clock.advance(60)
    pipeline.reconcile_once()
    assert open_differences(pipeline, capsys) == 0


def test_what_the_other_copy_has_found_right_is_right() -> None:
    pipeline = a_catalog(1)
    (name,) = ids(pipeline)
    product = pipeline.product(name)
    repaired = replace(product, sync=replace(product.sync, repairs=1))
    pipeline.store.products[name] = repaired
    ask = pipeline.supply_chain.ask

    def asked(product: Any) -> Answer | None:  # noqa: ANN401 - a product
        # As the other copy does when it has found the product right.
        stored = pipeline.product(name)
        right = replace(stored, sync=replace(stored.sync, repairs=0), revision=stored.revision + 1)
        pipeline.store.products[name] = right
        return ask(product)

    pipeline.supply_chain.ask = asked  # type: ignore[method-assign]  # as a spy
    pipeline.connect()
    done = audit(pipeline)
    assert (done["behind"], done["differences"]) == (0, NONE)
