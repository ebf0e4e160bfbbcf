"""CATALOG_MODE=restore: reads are answered, nothing else is done."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chalicelib.domain.errors import NotRestoringError, ReadOnlyError
from chalicelib.domain.restore import Phase, Restore, RestoreState
from chalicelib.usecases.bridge import Bridged
from chalicelib.usecases.catalog import Precondition
from chalicelib.usecases.reconcile import Reconciled
from tests.fakes import BODY, START, Pipeline
from tests.unit.audit.steps import ids
from tests.unit.catalog.steps import SOMEBODY
from tests.unit.restore.steps import a_catalog, backup, finish, put_back, restore, settle, switch

WRITES: dict[str, Callable[[Pipeline, str], object]] = {
    "create": lambda made, _: made.catalog.create(BODY, SOMEBODY),
    "create a batch": lambda made, _: made.catalog.create_batch({"items": [BODY]}, SOMEBODY),
    "replace": lambda made, name: made.catalog.replace(name, BODY, Precondition(), SOMEBODY),
    "merge": lambda made, name: made.catalog.merge(name, {}, Precondition(), SOMEBODY),
    "delete": lambda made, name: made.catalog.delete(name, Precondition(), SOMEBODY),
}


def read_only() -> Pipeline:
    """A catalog with a change on its way."""
    pipeline = a_catalog(1)
    pipeline.update(ids(pipeline)[0], name="On its way")
    switch(pipeline, restoring=True)
    return pipeline


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_no_write_is_accepted(write: Callable[[Pipeline, str], object]) -> None:
    pipeline = read_only()
    before = dict(pipeline.store.products)
    with pytest.raises(ReadOnlyError):
        write(pipeline, ids(pipeline)[0])
    assert pipeline.store.products == before


def test_reads_are_answered() -> None:
    pipeline = read_only()
    (product_id,) = ids(pipeline)
    assert pipeline.catalog.get(product_id)["name"] == "On its way"
    assert len(pipeline.catalog.list_products({})["items"]) == 1


def test_the_bridge_pulls_nothing_for_as_long_as_it_may_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = read_only()
    pauses: list[float] = []
    monkeypatch.setattr("chalicelib.usecases.bridge.time.sleep", pauses.append)
    left = iter((2.5, 1.5, 0.5, 0.0, 0.0))
    assert pipeline.bridge.drain(lambda: next(left)) == Bridged()
    assert pauses == [1.0, 1.0, 0.5]
    assert pipeline.queue.messages == []


def test_a_worker_attempts_nothing_and_hides_its_messages() -> None:
    pipeline = read_only()
    pipeline.queue.send('{"productId": "a", "version": 0, "budget": 0}')
    pipeline.queue.send("poison")
    assert len(pipeline.sync_once()) == 2
    assert (len(pipeline.supply_chain.calls), len(pipeline.queue.messages)) == (1, 2)
    assert pipeline.queue.receive() == []
    assert pipeline.queue.dead == []


def test_reconcile_relays_enqueues_sweeps_and_audits_nothing() -> None:
    pipeline = read_only()
    pipeline.put()
    pipeline.audits.start({})
    pipeline.queue.dead_letter([])
    pipeline.clock.advance(3600)
    published = len(pipeline.stream.log)
    assert pipeline.reconcile_once() == Reconciled()
    assert (len(pipeline.stream.log), pipeline.queue.messages) == (published, [])
    assert pipeline.audits.show()["checked"] == 0


def test_a_republish_waits_and_says_for_what() -> None:
    pipeline = read_only()
    begun = pipeline.republishes.start({}, SOMEBODY)
    pipeline.reconcile_once()
    waiting = pipeline.republishes.show()
    assert (waiting["state"], waiting["published"]) == ("running", 0)
    assert begun["held"] == waiting["held"]
    assert "CATALOG_MODE=normal" in waiting["held"]

    switch(pipeline, restoring=False)
    pipeline.reconcile_once()
    ended = pipeline.republishes.show()
    assert (ended["state"], ended["published"], ended["held"]) == ("done", 1, None)


def test_a_republish_that_is_over_waits_for_nothing() -> None:
    pipeline = read_only()
    pipeline.republishes.start({}, SOMEBODY)
    assert pipeline.republishes.stop(SOMEBODY)["held"] is None


def test_a_restore_that_is_over_says_that_another_one_must_be_started() -> None:
    pipeline = read_only()
    ended = Restore(START, "x", ask=True, total=1, phase=Phase.DONE)
    pipeline.store.stored_restore = RestoreState(ended, revision=1)
    assert "catalogctl restore --start" in pipeline.restores.show()["held"]


def test_a_restore_is_not_started_while_writes_are_accepted() -> None:
    pipeline = a_catalog(1)
    with pytest.raises(NotRestoringError, match="CATALOG_MODE=restore"):
        pipeline.restores.start({})
    assert pipeline.restores.show()["state"] == "none"
    assert pipeline.store.kept_acts == []


def test_an_earlier_restore_that_the_store_remembers_in_its_middle_does_not_go_on_by_itself() -> (
    None
):
    pipeline = a_catalog(1)
    (product_id,) = ids(pipeline)
    put_back(pipeline, backup(pipeline))
    pipeline.restores.start({})
    assert pipeline.restorer.step()
    in_its_middle = backup(pipeline)
    pipeline.reconcile_once()
    finish(pipeline)
    pipeline.clock.advance(3600)
    pipeline.update(product_id, name="Newest")
    settle(pipeline)
    put_back(pipeline, in_its_middle)
    pipeline.reconcile_once()
    assert pipeline.restores.show()["held"].startswith("nobody has looked after this restore")
    assert not pipeline.reconcile.is_needed()

    restore(pipeline)

    assert pipeline.product(product_id).fields.name == "Newest"
