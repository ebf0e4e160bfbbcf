"""Every version is lifted above those that were given out, and what only others know is listed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.audit import Difference
from chalicelib.domain.breaker import Breaker, BreakerState
from chalicelib.domain.control import Pause, Redrive
from chalicelib.domain.errors import StoreUnavailableError
from chalicelib.domain.messages import DeadLetter, dead_letter_for
from chalicelib.domain.poison import ALL_POISON
from chalicelib.domain.republish import RepublishState, Run
from chalicelib.domain.restore import LISTED, Clash, Lift, Loss, Phase, Restore, RestoreState
from chalicelib.domain.sync_state import Attempt, Lease, SyncState, SyncStatus
from tests.fakes import GRACE, START, Pipeline, a_product
from tests.unit.audit.steps import NO_ANSWER, change_there, ids
from tests.unit.catalog.steps import SOMEBODY
from tests.unit.restore.steps import (
    MARGIN,
    a_catalog,
    backup,
    delete,
    put_back,
    restore,
    settle,
    switch,
)


def lost_in_the_stream(pipeline: Pipeline, product_id: str, **changes: object) -> None:
    """Change a product; the supply chain gets it, and the stream never does."""
    pipeline.stream.away = True
    pipeline.update(product_id, **changes)
    pipeline.clock.advance(400)
    pipeline.reconcile_once()
    settle_queue(pipeline)
    pipeline.stream.away = False


def settle_queue(pipeline: Pipeline) -> None:
    while pipeline.queue.messages:
        pipeline.sync_once()


def restored(count: int = 1) -> Pipeline:
    """A catalog whose store was restored; nothing was lost."""
    pipeline = a_catalog(count)
    put_back(pipeline, backup(pipeline))
    return pipeline


def test_a_lifted_product_waits_for_its_delivery_as_a_new_one_would() -> None:
    pipeline = restored()
    (product_id,) = ids(pipeline)
    before = pipeline.product(product_id)
    old = SyncState(
        SyncStatus.RETRYING,
        budget=3,
        attempts=7,
        next_attempt_at=START,
        lease=Lease("worker", START, 0),
        claim="token",
        message_id="message",
        history=(Attempt(START, 0, 500, 0.1, "HTTP 500"),),
    )
    pipeline.store.products[product_id] = replace(before, sync=old)

    restore(pipeline)

    lifted, now = pipeline.product(product_id), pipeline.clock()
    wanted = SyncState(behind_since=now, overdue_at=now + GRACE, bulk=True)
    assert lifted.sync == wanted
    assert (lifted.version, lifted.revision) == (MARGIN, before.revision + 1)
    assert [(event.type, event.version) for event in lifted.outbox] == [("product:updated", MARGIN)]


def test_a_tombstone_is_lifted_as_a_deletion() -> None:
    pipeline = a_catalog(1)
    (product_id,) = ids(pipeline)
    delete(pipeline, product_id)
    put_back(pipeline, backup(pipeline))
    restore(pipeline)
    lifted = pipeline.product(product_id)
    assert lifted.deleted_at is not None
    assert lifted.outbox[-1].type == "product:deleted"


def test_a_version_that_only_the_supply_chain_knows_is_listed_and_lifted_above() -> None:
    pipeline = a_catalog(2)
    product_id, _ = ids(pipeline)
    yesterday = backup(pipeline)
    lost_in_the_stream(pipeline, product_id, name="Lost")
    assert pipeline.supply_chain.held[product_id].version == 1
    put_back(pipeline, yesterday)

    done = restore(pipeline)

    assert done["losses"] == [{"id": product_id, "restored": 0, "held": 1}]
    assert (done["lost"], done["unanswered"]) == (1, 0)
    assert pipeline.product(product_id).version == 1 + MARGIN


def test_a_deletion_that_only_the_supply_chain_knows_is_listed() -> None:
    pipeline = a_catalog(2)
    deleted, changed = ids(pipeline)
    yesterday = backup(pipeline)
    pipeline.update(changed, name="The stream has this one")
    pipeline.update(deleted, name="And this one")
    settle(pipeline)
    pipeline.stream.away = True
    delete(pipeline, deleted)
    pipeline.clock.advance(400)
    pipeline.reconcile_once()
    settle_queue(pipeline)
    pipeline.stream.away = False
    put_back(pipeline, yesterday)

    done = restore(pipeline)

    assert done["losses"] == [{"id": deleted, "restored": 1, "held": None}]
    assert pipeline.product(deleted).version == 1 + MARGIN


def test_a_change_of_the_same_version_that_only_the_supply_chain_has_is_listed() -> None:
    pipeline = a_catalog(1)
    (product_id,) = ids(pipeline)
    yesterday = backup(pipeline)
    lost_in_the_stream(pipeline, product_id, name="Lost")
    pipeline.store = yesterday
    switch(pipeline, restoring=False)
    pipeline.clock.advance(1)
    pipeline.update(product_id, name="Written before anybody noticed")
    switch(pipeline, restoring=True)

    done = restore(pipeline)

    assert done["losses"] == [{"id": product_id, "restored": 1, "held": 1}]
    assert pipeline.product(product_id).version == 1 + MARGIN


def test_other_data_of_the_first_version_is_listed_too() -> None:
    pipeline = a_catalog(1)
    (product_id,) = ids(pipeline)
    change_there(pipeline, product_id, Difference.DIFFERENT)
    put_back(pipeline, backup(pipeline))
    assert restore(pipeline)["losses"] == [{"id": product_id, "restored": 0, "held": 0}]


def test_a_product_that_was_never_delivered_is_not_taken_for_a_lost_deletion() -> None:
    pipeline = restored(0)
    pipeline.put()
    assert restore(pipeline)["losses"] == []


def test_a_restore_that_is_started_again_keeps_what_nobody_can_find_out_again() -> None:
    pipeline = a_catalog(1)
    (product_id,) = ids(pipeline)
    yesterday = backup(pipeline)
    lost_in_the_stream(pipeline, product_id, name="Lost")
    put_back(pipeline, yesterday)
    first = restore(pipeline)

    again = restore(pipeline)

    assert first["lost"] == again["lost"] == 1
    assert again["losses"] == first["losses"]


def test_a_copy_whose_restore_was_started_again_meanwhile_lifts_nothing_unlisted() -> None:
    pipeline = a_catalog(1)
    (product_id,) = ids(pipeline)
    yesterday = backup(pipeline)
    lost_in_the_stream(pipeline, product_id, name="Lost")
    put_back(pipeline, yesterday)
    pipeline.restores.start({})
    assert pipeline.restorer.step()
    real = pipeline.store.walk

    def then_it_is_started_again(*arguments: object, **options: object) -> object:
        found = real(*arguments, **options)  # type: ignore[arg-type]
        pipeline.restores.start({})
        return found

    pipeline.store.walk = then_it_is_started_again  # type: ignore[assignment, method-assign]
    assert not pipeline.restorer.step()
    pipeline.store.walk = real  # type: ignore[method-assign]
    pipeline.reconcile_once()
    assert pipeline.restores.show()["losses"] == [{"id": product_id, "restored": 0, "held": 1}]


def test_what_an_earlier_restore_has_listed_is_not_kept_after_its_end() -> None:
    pipeline = restored()
    loss = Loss("a", 1, 2)
    ended = Restore(START, "x", ask=True, total=1, phase=Phase.DONE, losses=(loss,), lost=1)
    pipeline.store.stored_restore = RestoreState(ended, revision=1)
    assert restore(pipeline)["losses"] == []


def test_a_loss_is_listed_though_the_page_comes_again_after_its_lift() -> None:
    pipeline = a_catalog(1)
    (product_id,) = ids(pipeline)
    yesterday = backup(pipeline)
    lost_in_the_stream(pipeline, product_id, name="Lost")
    put_back(pipeline, yesterday)
    pipeline.restores.start({})
    assert pipeline.restorer.step()
    real, calls = pipeline.store.save_restore, []

    def only_the_first(*arguments: object, **options: object) -> bool:
        calls.append(arguments)
        if len(calls) == 2:
            raise StoreUnavailableError("crash")
        return real(*arguments, **options)  # type: ignore[arg-type]

    pipeline.store.save_restore = only_the_first  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailableError):
        pipeline.restorer.step()
    pipeline.reconcile_once()

    done = pipeline.restores.show()
    assert (done["lost"], len(done["losses"]), done["lifted"]) == (1, 1, 1)


def test_a_product_without_an_answer_is_counted_though_the_page_comes_again() -> None:
    pipeline = restored(2)
    silent, _ = ids(pipeline)
    pipeline.supply_chain.told[silent] = NO_ANSWER * 9
    pipeline.restores.start({})
    assert pipeline.restorer.step()
    real = pipeline.store.put_back

    def crash(*arguments: object) -> object:
        real(*arguments)  # type: ignore[arg-type]
        pipeline.store.put_back = real  # type: ignore[method-assign]
        raise StoreUnavailableError("crash")

    pipeline.store.put_back = crash  # type: ignore[assignment, method-assign]
    with pytest.raises(StoreUnavailableError):
        pipeline.restorer.step()
    pipeline.reconcile_once()
    assert pipeline.restores.show()["unanswered"] == 1


def test_a_version_of_the_supply_chain_that_can_only_be_a_mistake_lifts_nothing() -> None:
    pipeline = a_catalog(1)
    (product_id,) = ids(pipeline)
    held = pipeline.supply_chain.held
    held[product_id] = replace(held[product_id], version=2**60)
    put_back(pipeline, backup(pipeline))
    assert restore(pipeline)["losses"] == [{"id": product_id, "restored": 0, "held": 2**60}]
    assert pipeline.product(product_id).version == MARGIN


def test_without_questions_nothing_is_asked_and_nothing_listed() -> None:
    pipeline = a_catalog(1)
    (product_id,) = ids(pipeline)
    yesterday = backup(pipeline)
    lost_in_the_stream(pipeline, product_id, name="Lost")
    put_back(pipeline, yesterday)
    pipeline.supply_chain.asked.clear()

    done = restore(pipeline, ask=False)

    assert (done["state"], done["lost"], pipeline.supply_chain.asked) == ("lifted", 0, [])


def test_while_the_supply_chain_is_silent_the_restore_waits() -> None:
    pipeline = restored(5)
    pipeline.supply_chain.away = True
    assert restore(pipeline)["state"] == "lifting"
    assert not pipeline.reconcile.is_needed()

    pipeline.supply_chain.away = False
    pipeline.clock.advance(11)
    assert pipeline.reconcile.is_needed()
    pipeline.reconcile_once()

    assert pipeline.restores.show()["state"] == "lifted"


def test_however_long_the_supply_chain_is_silent_no_page_is_lifted_unasked() -> None:
    pipeline = restored(5)
    pipeline.supply_chain.away = True
    restore(pipeline)
    for _ in range(30):
        pipeline.clock.advance(11)
        pipeline.reconcile_once()
    done = pipeline.restores.show()
    assert (done["state"], done["lifted"], done["unanswered"]) == ("lifting", 0, 0)


def test_a_product_without_an_answer_is_lifted_and_counted() -> None:
    pipeline = restored(2)
    silent, _ = ids(pipeline)
    pipeline.supply_chain.told[silent] = NO_ANSWER * 100
    done = restore(pipeline)
    assert (done["state"], done["lifted"], done["unanswered"]) == ("lifted", 2, 1)


def test_a_document_that_cannot_be_read_is_listed() -> None:
    pipeline = restored(2)
    unreadable, _ = ids(pipeline)
    pipeline.store.unreadable = {unreadable}
    done = restore(pipeline)
    assert (done["unreadable"], done["lifted"]) == ([unreadable], 1)


def test_a_product_that_only_a_dead_letter_names_is_listed_and_its_letter_stays() -> None:
    pipeline = restored()
    failed = a_product(version=7)
    pipeline.queue.dead_letter([dead_letter_for(failed)])

    assert restore(pipeline)["strays"] == [{"id": failed.id, "version": 7}]

    assert pipeline.queue.count_dead_letters() == 1


def test_a_restore_that_is_started_again_keeps_the_products_whose_letters_are_deleted_by_now() -> (
    None
):
    pipeline = restored()
    failed = a_product(version=7)
    pipeline.queue.dead_letter([dead_letter_for(failed)])
    restore(pipeline)
    switch(pipeline, restoring=False)
    pipeline.reconcile_once()
    assert pipeline.queue.count_dead_letters() == 0
    switch(pipeline, restoring=True)

    assert restore(pipeline)["strays"] == [{"id": failed.id, "version": 7}]


def test_a_flood_of_poison_does_not_hide_the_letter_of_a_lost_product(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chalicelib.usecases.dead_letters.ROUNDS", 1)
    pipeline = restored()
    pipeline.queue.dead_letter([DeadLetter("poison", {"reason": "a flood"})] * 250)
    failed = a_product(version=7)
    pipeline.queue.dead_letter([dead_letter_for(failed)])

    assert restore(pipeline)["strays"] == [{"id": failed.id, "version": 7}]

    assert pipeline.store.count_quarantined(ALL_POISON) == 250


def test_beyond_the_length_of_a_list_all_are_counted_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("chalicelib.domain.restore.LISTED", 1)
    pipeline = restored(2)
    pipeline.queue.dead_letter([dead_letter_for(a_product(version=7)) for _ in range(2)])
    pipeline.store.unreadable = set(ids(pipeline))

    done = restore(pipeline)

    assert (len(done["strays"]), done["strayCount"]) == (1, 2)
    assert (len(done["unreadable"]), done["unreadableCount"]) == (1, 2)
    assert caplog.text.count("only a dead letter names a product") == 2
    assert caplog.text.count("the document cannot be read, nor lifted") == 2


def test_clashes_beyond_those_listed_are_counted_and_one_that_comes_again_once() -> None:
    run = Restore(START, "x", ask=True, total=1, phase=Phase.LIFTING)
    clashes = [Clash(f"{number}", "A", None) for number in range(LISTED + 5)]
    for page in (clashes[:LISTED], clashes[:3], clashes[LISTED - 1 :]):
        run = run.with_lift(run, Lift(None, clashes=tuple(page)))
    assert (len(run.clashes), run.clash_count) == (LISTED, LISTED + 5)
    again = replace(run, started_at=START + GRACE, clashes=(), clash_count=0).instead_of(run)
    assert (again.clashes, again.clash_count) == (run.clashes, LISTED + 5)


def test_letters_that_another_copy_has_in_hand_are_waited_for() -> None:
    pipeline = restored()
    failed = a_product(version=7)
    pipeline.queue.dead_letter([dead_letter_for(failed)])
    (letter,) = pipeline.queue.receive_dead_letters(100)

    assert restore(pipeline)["state"] == "lifting"

    pipeline.queue.release_dead_letters([letter.receipt])
    pipeline.reconcile_once()
    assert pipeline.restores.show()["strays"] == [{"id": failed.id, "version": 7}]


def test_more_letters_than_can_be_looked_at_do_not_hold_the_lift(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("chalicelib.usecases.dead_letters.ROUNDS", 1)
    pipeline = restored()
    pipeline.queue.dead_letter([dead_letter_for(a_product()) for _ in range(101)])

    assert restore(pipeline)["state"] == "lifted"

    assert "some may name lost products" in caplog.text


def test_while_the_queue_is_away_the_lift_does_not_end() -> None:
    pipeline = restored()
    pipeline.queue.away = True
    done = restore(pipeline)
    assert (done["state"], done["lifted"]) == ("lifting", 1)
    pipeline.queue.away = False
    pipeline.reconcile_once()
    assert pipeline.restores.show()["state"] == "lifted"


def test_a_product_that_changes_during_its_lift_is_lifted_again() -> None:
    pipeline = restored()
    (product_id,) = ids(pipeline)
    real = pipeline.store.put_back

    def after_a_replay(*arguments: object) -> object:
        pipeline.store.put_back = real  # type: ignore[method-assign]
        pipeline.operations.replay(product_id)
        return real(*arguments)  # type: ignore[arg-type]

    pipeline.restores.start({})
    assert pipeline.restorer.step()
    pipeline.store.put_back = after_a_replay  # type: ignore[assignment, method-assign]
    assert not pipeline.restorer.step()

    pipeline.reconcile_once()

    assert (pipeline.product(product_id).version, pipeline.product(product_id).pair) == (
        MARGIN,
        (MARGIN, 0),
    )


# ---- what the store remembers of yesterday ----


def test_breaker_pause_redrive_and_audits_of_before_are_forgotten() -> None:
    pipeline = restored()
    paused = replace(pipeline.store.stored_control, pause=Pause(START, "of yesterday"))
    pipeline.store.stored_control = replace(paused, revision=9)
    pipeline.audits.start({})

    restore(pipeline)

    assert not pipeline.controls.read().is_paused(pipeline.clock())
    assert pipeline.audits.read().runs == []


def test_a_republish_of_before_does_not_go_on_in_its_middle() -> None:
    pipeline = restored(3)
    run = Run(START, "yesterday", 100.0, 3, checked=2, position=ids(pipeline)[1])
    pipeline.store.stored_republish = RepublishState(run, revision=4)

    restore(pipeline)

    pipeline.republishes.start({})
    switch(pipeline, restoring=False)
    pipeline.reconcile_once()
    assert pipeline.republishes.show()["published"] == 3


def test_a_pause_of_now_holds_the_questions_and_says_so() -> None:
    pipeline = restored()
    pipeline.restores.start({})
    pipeline.operations.control({"paused": True, "reason": "theirs"}, SOMEBODY)
    pipeline.reconcile_once()
    done = pipeline.restores.show()
    assert (done["state"], done["held"]) == ("lifting", "paused: theirs")


def test_a_restore_that_the_store_remembers_is_begun_anew() -> None:
    pipeline = restored()
    restore(pipeline)
    (product_id,) = ids(pipeline)
    done = restore(pipeline)
    assert (done["state"], done["lifted"]) == ("lifted", 1)
    assert pipeline.product(product_id).version == 2 * MARGIN


def test_a_start_is_an_act() -> None:
    pipeline = restored()
    pipeline.restores.start({"reason": "restored to noon", "ask": False}, SOMEBODY)
    act = pipeline.store.kept_acts[-1]
    assert (act.what, act.why, act.details) == ("restore", "restored to noon", {"ask": False})


def test_two_copies_of_reconcile_lift_no_page_in_vain() -> None:
    pipeline = restored(3)
    pipeline.restores.start({})
    seen = pipeline.restores.read()
    pipeline.reconcile_once()
    assert pipeline.restores.read() != seen
    assert not pipeline.restorer.step()
    assert pipeline.restores.show()["lifted"] == 3


def test_the_mode_is_needed_for_a_step() -> None:
    pipeline = restored()
    pipeline.restores.start({})
    switch(pipeline, restoring=False)
    pipeline.reconcile_once()
    settle(pipeline)
    done = pipeline.restores.show()
    assert done["state"] == "replaying"
    assert "CATALOG_MODE=restore" in done["held"]


def test_what_a_resume_or_a_redrive_begins_does_not_hold_the_lift() -> None:
    pipeline = restored(3)
    pipeline.restores.start({})
    pipeline.operations.control({"paused": True}, SOMEBODY)
    pipeline.reconcile_once()
    pipeline.operations.control({"paused": False}, SOMEBODY)
    begun = {
        "redrive": Redrive((SyncStatus.PENDING,), START, 10_000),
        "breaker": Breaker(BreakerState.OPEN, since=START),
    }
    pipeline.controls.change(lambda stored: (None, replace(stored, **begun)))  # type: ignore[arg-type]  # each its own

    pipeline.clock.advance(3600)
    pipeline.reconcile_once()

    assert pipeline.restores.show()["state"] == "lifted"


def test_a_pause_that_ends_by_itself_does_not_hold_the_lift() -> None:
    pipeline = restored(1)
    pipeline.restores.start({})
    until = (pipeline.clock() + timedelta(hours=2)).isoformat()
    pipeline.operations.control({"paused": True, "until": until}, SOMEBODY)
    for _ in range(4):
        # Longer than a restore may be without anybody who looks after it, but somebody does.
        pipeline.clock.advance(1800)
        pipeline.reconcile_once()
    pipeline.clock.advance(3600)
    pipeline.reconcile_once()
    assert pipeline.restores.show()["state"] == "lifted"
