"""What the supply chain holds is changed behind our back: the audit finds it, and repairs it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.domain.answers import Answer
from chalicelib.domain.audit import REPAIRS, TRIES, Difference
from chalicelib.domain.errors import StoreUnavailableError
from chalicelib.domain.events import EventType
from chalicelib.domain.product import MAX_INT64, Product
from chalicelib.domain.sync_state import SyncStatus
from tests.fakes import Pipeline
from tests.support import Json
from tests.unit.audit.steps import NONE, a_catalog, audit, change_there, delete, ids, settle
from tests.unit.catalog.steps import SOMEBODY

LIVE = sorted(set(Difference) - {Difference.UNDELETED})
REPAIRED = {
    Difference.MISSING: 0,
    Difference.OLDER: 0,
    Difference.DIFFERENT: 0,
    Difference.NEWER: 5,
}
"""The version after the repair."""


@pytest.fixture
def pipeline() -> Pipeline:
    """Three products, all delivered."""
    return a_catalog(3)


def holds_the_catalog(pipeline: Pipeline) -> bool:
    held = pipeline.supply_chain.held
    return all(
        (held[item.id].version, held[item.id].fields) == (item.version, item.fields)
        for item in pipeline.store.products.values()
        if item.deleted_at is None
    )


@pytest.mark.parametrize("difference", LIVE)
def test_a_product_that_was_changed_there_is_found_and_repaired(
    pipeline: Pipeline, difference: Difference
) -> None:
    changed = ids(pipeline)[1]
    change_there(pipeline, changed, difference)
    done = audit(pipeline)
    assert done["differences"] == {**NONE, difference.value: 1}
    assert done["repaired"] == 1
    assert [(item["id"], item["repaired"]) for item in done["examples"]] == [(changed, True)]
    settle(pipeline)
    product = pipeline.product(changed)
    assert (product.version, product.sync.status) == (REPAIRED[difference], SyncStatus.DELIVERED)
    assert holds_the_catalog(pipeline)


@pytest.mark.parametrize("difference", [Difference.UNDELETED, Difference.NEWER])
def test_a_deleted_product_that_is_back_there_is_deleted_again(
    pipeline: Pipeline, difference: Difference
) -> None:
    back = ids(pipeline)[0]
    delete(pipeline, back)
    held = replace(pipeline.product(back), deleted_at=None)
    newer = 5 if difference is Difference.NEWER else 0
    pipeline.supply_chain.held[back] = replace(held, version=held.version + newer)
    assert audit(pipeline)["differences"] == {**NONE, difference.value: 1}
    settle(pipeline)
    assert pipeline.supply_chain.held[back].deleted_at is not None
    assert pipeline.product(back).version == 1 + newer + bool(newer)


def test_an_audit_after_the_repair_finds_nothing(pipeline: Pipeline) -> None:
    change_there(pipeline, ids(pipeline)[0], Difference.OLDER)
    audit(pipeline)
    settle(pipeline)
    done = audit(pipeline)
    assert done["differences"] == NONE
    assert str(done["statement"]).endswith("the newest version of all 3 products")


def test_a_repair_is_a_new_budget_with_a_key_of_its_own(pipeline: Pipeline) -> None:
    lost = ids(pipeline)[0]
    change_there(pipeline, lost, Difference.MISSING)
    audit(pipeline)
    product = pipeline.product(lost)
    assert product.sync_completed_at is None
    assert (product.sync.budget, product.sync.status) == (1, SyncStatus.PENDING)
    settle(pipeline)
    assert [c.key for c in pipeline.supply_chain.calls if c.product_id == lost] == [
        f"{lost}:0",
        f"{lost}:0:1",
    ]


def test_a_lifted_version_is_announced_like_any_change(pipeline: Pipeline) -> None:
    newer = ids(pipeline)[0]
    before = pipeline.product(newer)
    change_there(pipeline, newer, Difference.NEWER)
    pipeline.clock.advance(60)
    audit(pipeline)
    lifted = pipeline.product(newer)
    assert (lifted.version, lifted.fields) == (5, before.fields)
    assert lifted.updated_at > before.updated_at
    assert lifted.outbox[-1].type is EventType.UPDATED
    assert lifted.outbox[-1].id in pipeline.stream._ids


def test_without_the_queue_a_repair_is_delivered_later(pipeline: Pipeline) -> None:
    change_there(pipeline, ids(pipeline)[0], Difference.MISSING)
    pipeline.queue.broken.add("enqueue")
    assert audit(pipeline)["repaired"] == 1
    pipeline.queue.broken.clear()
    pipeline.reconcile_once()
    settle(pipeline)
    assert holds_the_catalog(pipeline)


def test_an_audit_that_only_counts_changes_nothing(pipeline: Pipeline) -> None:
    change_there(pipeline, ids(pipeline)[0], Difference.OLDER)
    before = dict(pipeline.store.products)
    done = audit(pipeline, {"repair": False})
    assert (done["differences"]["older"], done["repaired"], done["repair"]) == (1, 0, False)
    assert pipeline.store.products == before


def during_the_answer(pipeline: Pipeline, change: Json) -> None:
    """Change the first product whenever the supply chain is asked for it."""
    ask, first = pipeline.supply_chain.ask, ids(pipeline)[0]

    def asked(product: Product) -> object:
        answer = ask(product)
        if product.id == first and pipeline.product(first).fields.name != change["name"]:
            pipeline.update(first, **change)
        return answer

    pipeline.supply_chain.ask = asked  # type: ignore[method-assign,assignment]  # as a spy
    pipeline.connect()


@pytest.mark.parametrize("there", [Difference.OLDER, Difference.NEWER, None])
def test_a_product_that_is_changed_meanwhile_is_not_judged(
    pipeline: Pipeline, there: Difference | None
) -> None:
    first = ids(pipeline)[0]
    if there is not None:
        change_there(pipeline, first, there)
    during_the_answer(pipeline, {"name": "Changed by a consumer"})
    done = audit(pipeline)
    assert (done["differences"], done["behind"], done["checked"]) == (NONE, 1, 3)
    assert pipeline.product(first).version == 1
    assert "but for 1: 1 not delivered yet" in done["statement"]


def test_what_a_failover_may_take_back_is_not_repaired(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ids(pipeline)[0]
    change_there(pipeline, first, Difference.NEWER)
    majority = dict(pipeline.store.products)
    other = majority[first].fields.model_copy(update={"name": "of another writer"})
    majority[first] = replace(majority[first], fields=other)
    monkeypatch.setattr(pipeline.store, "committed", lambda: majority)
    done = audit(pipeline)
    assert (done["differences"], done["behind"]) == (NONE, 1)
    assert pipeline.product(first).version == 0


def test_after_a_crash_between_repair_and_note_nothing_is_repaired_twice(
    pipeline: Pipeline,
) -> None:
    first = ids(pipeline)[0]
    change_there(pipeline, first, Difference.OLDER)
    pipeline.audits.start({}, SOMEBODY)
    pipeline.store.broken.add("save_audit")
    with pytest.raises(StoreUnavailableError):
        pipeline.reconcile_once()
    pipeline.store.broken.clear()
    assert pipeline.product(first).sync.budget == 1
    settle(pipeline)
    # It is lost once more, so that the page which comes again finds a difference again.
    change_there(pipeline, first, Difference.OLDER)
    pipeline.reconcile_once()
    done = pipeline.audits.show()
    assert pipeline.product(first).sync.budget == 1
    assert (done["differences"]["older"], done["repaired"]) == (1, 0)


def test_a_repair_in_vain_is_not_repeated_for_ever(pipeline: Pipeline) -> None:
    first = ids(pipeline)[0]
    versions = []
    for _ in range(REPAIRS + 2):
        # It stores the data in another form.
        change_there(pipeline, first, Difference.DIFFERENT)
        done = audit(pipeline)
        settle(pipeline)
        pipeline.clock.advance(1)
        versions.append((done["repaired"], pipeline.product(first).version))
    assert versions == [(1, 0), (1, 1), (0, 1), (0, 1)]


def test_a_repair_that_has_helped_is_forgotten(pipeline: Pipeline) -> None:
    first = ids(pipeline)[0]
    for _ in range(REPAIRS + 2):
        change_there(pipeline, first, Difference.MISSING)
        assert audit(pipeline)["repaired"] == 1
        settle(pipeline)
        pipeline.clock.advance(1)
        assert audit(pipeline)["differences"] == NONE
        assert pipeline.product(first).sync.repairs == 0


def test_a_consumers_write_ends_the_count_of_repairs(pipeline: Pipeline) -> None:
    first = ids(pipeline)[0]
    change_there(pipeline, first, Difference.DIFFERENT)
    audit(pipeline)
    settle(pipeline)
    assert pipeline.product(first).sync.repairs == 1
    pipeline.update(first, quantity=9)
    assert pipeline.product(first).sync.repairs == 0


def test_a_version_that_no_message_could_carry_is_not_made(pipeline: Pipeline) -> None:
    first = ids(pipeline)[0]
    held = replace(pipeline.product(first), version=MAX_INT64 - 1)
    pipeline.supply_chain.held[first] = held
    done = audit(pipeline)
    assert (done["differences"]["newer"], done["repaired"]) == (1, 0)
    assert pipeline.product(first).version == 0


def test_an_answer_that_compares_nothing_is_no_proof(pipeline: Pipeline) -> None:
    first = ids(pipeline)[0]
    nothing = Answer(200, f'{{"id": "{first}", "status": "ok"}}'.encode())
    pipeline.supply_chain.told[first] = [nothing] * TRIES
    done = audit(pipeline)
    assert (done["unanswered"], done["differences"]) == (1, NONE)
    assert done["statement"].endswith("but for 1: 1 without an answer")
