"""Writes are accepted again: what was lifted is delivered, and an audit proves it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.domain.messages import dead_letter_for
from chalicelib.domain.product import Product
from tests.fakes import Pipeline, a_product
from tests.unit.audit.steps import ids
from tests.unit.restore.steps import (
    MARGIN,
    a_catalog,
    backup,
    delete,
    deliver,
    finish,
    held,
    put_back,
    restore,
    restored_and_delivered,
    settle,
    switch,
    wanted,
)


def watch(pipeline: Pipeline) -> dict[str, set[str]]:
    """Note which bodies each idempotency key is used for."""
    found: dict[str, set[str]] = {}

    def note(product: Product) -> None:
        body = f"{product.fields.to_json()} {product.deleted_at is None}"
        found.setdefault(product.idempotency_key, set()).add(body)

    pipeline.supply_chain.during = note
    return found


def test_catalog_and_supply_chain_agree_and_no_key_is_used_for_two_bodies() -> None:
    pipeline = a_catalog(4)
    bodies = watch(pipeline)
    same, changed, deleted, lost = ids(pipeline)
    yesterday = backup(pipeline)
    for number in range(3):
        pipeline.update(changed, name=f"Newest {number}")
        settle(pipeline)
    delete(pipeline, deleted)
    created = pipeline.create(name="Created since")
    settle(pipeline)
    pipeline.stream.away = True
    pipeline.update(lost, name="Lost")
    pipeline.clock.advance(400)
    pipeline.reconcile_once()
    while pipeline.queue.messages:
        pipeline.sync_once()
    pipeline.stream.away = False
    put_back(pipeline, yesterday)
    restore(pipeline)

    done = finish(pipeline)

    assert (done["state"], done["proved"]) == ("done", True)
    assert done["statement"].endswith("held the newest version of all 4 products")
    pipeline.update(changed, name="One more")
    settle(pipeline)
    assert held(pipeline) == wanted(pipeline) | {deleted: held(pipeline)[deleted]}
    assert pipeline.supply_chain.held[deleted].deleted_at is not None
    assert pipeline.product(changed).version == 4 + MARGIN
    assert wanted(pipeline).keys() == {same, changed, lost, created}
    assert [key for key, used in bodies.items() if len(used) > 1] == []


def test_the_audit_waits_until_what_was_lifted_is_delivered() -> None:
    pipeline = a_catalog(1)
    put_back(pipeline, backup(pipeline))
    restore(pipeline)
    switch(pipeline, restoring=False)
    pipeline.reconcile_once()
    assert pipeline.restores.show()["state"] == "lifted"
    deliver(pipeline)
    pipeline.reconcile_once()
    assert pipeline.restores.show()["state"] == "auditing"


def test_a_version_above_the_lifted_one_is_lifted_once_more() -> None:
    pipeline = a_catalog(1)
    (product_id,) = ids(pipeline)
    restored_and_delivered(pipeline)
    there = pipeline.supply_chain.held
    there[product_id] = replace(there[product_id], version=3 * MARGIN)

    done = finish(pipeline)

    assert (done["state"], done["proved"]) == ("done", True)
    assert there[product_id].version == 3 * MARGIN + 1


def test_a_product_that_the_supply_chain_refuses_does_not_keep_the_restore_from_its_end() -> None:
    pipeline = a_catalog(2)
    refused, _ = ids(pipeline)
    put_back(pipeline, backup(pipeline))
    restore(pipeline)
    pipeline.supply_chain.answers[refused] = [422]
    done = finish(pipeline)
    assert (done["state"], done["proved"]) == ("done", False)
    assert "but for 1: 1 not delivered yet" in done["statement"]


def test_an_audit_that_an_operator_stops_ends_the_restore_without_a_proof() -> None:
    pipeline = a_catalog(1)
    restored_and_delivered(pipeline)
    for _ in range(3):
        pipeline.restorer.follow()
        pipeline.audits.stop()
        pipeline.restorer.follow()
    done = pipeline.restores.show()
    assert (done["state"], done["proved"]) == ("done", False)
    assert done["statement"].startswith("stopped by")


def test_an_audit_of_an_operator_is_not_taken_for_the_last_one() -> None:
    pipeline = a_catalog(1)
    restored_and_delivered(pipeline)
    pipeline.audits.start({})
    pipeline.restorer.follow()
    assert pipeline.restores.show()["state"] == "lifted"


def test_an_earlier_restore_that_a_store_remembers_has_nothing_audited_by_itself() -> None:
    pipeline = a_catalog(1)
    (product_id,) = ids(pipeline)
    restored_and_delivered(pipeline)
    nearly_at_its_end = backup(pipeline)
    finish(pipeline)
    pipeline.update(product_id, name="Newest")
    settle(pipeline)
    pipeline.clock.advance(3600)
    pipeline.store = nearly_at_its_end
    switch(pipeline, restoring=False)

    finish(pipeline)

    # Its repairs would put the version of then over the newest one.
    assert pipeline.supply_chain.held[product_id].fields.name == "Newest"
    assert pipeline.restores.show()["held"].startswith("nobody has looked after this restore")


def test_an_operator_may_take_time_to_look_at_what_a_restore_has_listed() -> None:
    pipeline = a_catalog(1)
    put_back(pipeline, backup(pipeline))
    restore(pipeline)
    for _ in range(5):
        pipeline.clock.advance(1800)
        pipeline.reconcile_once()
    assert finish(pipeline)["proved"]


def test_writes_in_the_middle_of_a_restore_raise_the_alarm(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pipeline = a_catalog(1)
    put_back(pipeline, backup(pipeline))
    pipeline.restores.start({})
    switch(pipeline, restoring=False)
    capsys.readouterr()
    pipeline.restorer.follow()
    assert '"store_behind":1' in capsys.readouterr().out
    assert pipeline.restores.show()["state"] == "replaying"


def test_a_reconcile_that_is_not_read_only_keeps_the_letters_in_the_middle_of_a_restore() -> None:
    pipeline = a_catalog(1)
    put_back(pipeline, backup(pipeline))
    stray = a_product(version=7)
    pipeline.queue.dead_letter([dead_letter_for(stray)])
    pipeline.restores.start({})
    switch(pipeline, restoring=False)
    pipeline.reconcile_once()
    switch(pipeline, restoring=True)
    pipeline.reconcile_once()
    assert pipeline.restores.show()["strays"] == [{"id": stray.id, "version": 7}]
