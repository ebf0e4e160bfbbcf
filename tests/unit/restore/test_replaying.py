"""The stream knows what was written after the backup; it is written into the restored store."""

from __future__ import annotations

import pytest

from chalicelib.domain.errors import StoreUnavailableError
from chalicelib.usecases.audit import AuditPolicy
from tests.fakes import Pipeline
from tests.fakes.store import FakeStore
from tests.unit.audit.steps import ids
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


def names(pipeline: Pipeline) -> dict[str, str]:
    return {name: item.fields.name for name, item in pipeline.store.products.items()}


def crash(pipeline: Pipeline, method: str) -> None:
    """Let a step end before it calls this method of the store."""
    pipeline.store.broken.add(method)
    with pytest.raises(StoreUnavailableError):
        pipeline.restorer.step()
    pipeline.store.broken.clear()


def test_what_was_changed_created_and_deleted_since_is_there_again() -> None:
    pipeline = a_catalog(3)
    same, changed, deleted = ids(pipeline)
    yesterday = backup(pipeline)
    pipeline.update(changed, name="Newest")
    delete(pipeline, deleted)
    created = pipeline.create(name="Created since")
    settle(pipeline)
    put_back(pipeline, yesterday)

    done = restore(pipeline)

    assert (done["state"], done["replayed"], done["lifted"]) == ("lifted", 3, 4)
    assert names(pipeline)[changed] == "Newest"
    assert names(pipeline)[created] == "Created since"
    assert pipeline.product(deleted).deleted_at is not None
    assert pipeline.product(same).version == MARGIN


def test_a_document_that_is_newer_than_the_stream_stays() -> None:
    pipeline = a_catalog(1)
    (product_id,) = ids(pipeline)
    pipeline.stream.away = True
    pipeline.update(product_id, name="Never published")
    pipeline.stream.away = False
    put_back(pipeline, backup(pipeline))

    done = restore(pipeline)

    assert (done["replayed"], names(pipeline)[product_id]) == (0, "Never published")


def test_the_stream_is_read_page_by_page_and_how_far_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chalicelib.usecases.restore.PAGE", 2)
    pipeline = a_catalog(0)
    yesterday = backup(pipeline)
    for number in range(5):
        pipeline.create(name=f"Lamp {number}")
    put_back(pipeline, yesterday)
    pipeline.restores.start({})

    assert pipeline.restorer.step()

    shown = pipeline.restores.show()
    assert (shown["state"], shown["events"], shown["eventsLeft"]) == ("replaying", 2, 3)
    switch(pipeline, restoring=True)
    pipeline.reconcile_once()
    assert pipeline.restores.show()["events"] == 5
    assert len(pipeline.store.products) == 5


@pytest.mark.parametrize("method", ["put_back", "save_restore"])
def test_a_page_that_comes_twice_does_no_harm(method: str) -> None:
    pipeline = a_catalog(1)
    (product_id,) = ids(pipeline)
    yesterday = backup(pipeline)
    pipeline.update(product_id, name="Newest")
    put_back(pipeline, yesterday)
    pipeline.restores.start({})
    crash(pipeline, method)

    pipeline.reconcile_once()

    assert names(pipeline)[product_id] == "Newest"
    assert pipeline.restores.show()["state"] == "lifted"


def test_poison_in_the_stream_is_counted_and_stops_nothing() -> None:
    pipeline = a_catalog(0)
    yesterday = backup(pipeline)
    pipeline.stream.add("product.updated", b"poison")
    pipeline.create(name="After it")
    put_back(pipeline, yesterday)

    done = restore(pipeline)

    assert (done["unreadableEvents"], done["replayed"]) == (1, 1)


def test_while_the_stream_is_away_the_restore_waits() -> None:
    pipeline = a_catalog(1)
    put_back(pipeline, backup(pipeline))
    pipeline.stream.away = True
    assert restore(pipeline)["state"] == "replaying"
    pipeline.stream.away = False
    pipeline.reconcile_once()
    assert pipeline.restores.show()["state"] == "lifted"


def test_the_oldest_change_of_the_stream_is_told() -> None:
    pipeline = a_catalog(1)
    put_back(pipeline, backup(pipeline))
    assert restore(pipeline)["firstEventAt"] == "2026-01-01T00:00:00.000Z"


def test_what_the_rolling_audit_found_before_anybody_noticed_has_overwritten_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pipeline = a_catalog(1)
    (product_id,) = ids(pipeline)
    yesterday = backup(pipeline)
    pipeline.update(product_id, name="Newest")
    settle(pipeline)
    put_back(pipeline, yesterday)
    pipeline.audit_policy = AuditPolicy(sample=20)
    switch(pipeline, restoring=False)
    capsys.readouterr()
    pipeline.reconcile_once()
    settle(pipeline)
    assert '"store_behind":1' in capsys.readouterr().out

    switch(pipeline, restoring=True)
    restore(pipeline)

    assert names(pipeline)[product_id] == "Newest"


def test_what_only_a_republish_has_told_the_stream_is_replayed() -> None:
    pipeline = a_catalog(1)
    (product_id,) = ids(pipeline)
    yesterday = backup(pipeline)
    pipeline.update(product_id, name="Newest")
    settle(pipeline)
    pipeline.stream.log.clear()
    pipeline.clock.advance(60)
    pipeline.republishes.start({})
    pipeline.reconcile_once()
    put_back(pipeline, yesterday)

    done = restore(pipeline)

    assert (done["replayed"], done["losses"], names(pipeline)) == (1, [], {product_id: "Newest"})
    assert done["firstEventAt"] == "2026-01-01T00:01:00.000Z"


def test_what_only_the_event_of_its_delivery_has_told_the_stream_is_replayed() -> None:
    pipeline = a_catalog(1)
    (product_id,) = ids(pipeline)
    yesterday = backup(pipeline)
    pipeline.stream.refused.add(f"{product_id}:1:product:updated")
    pipeline.update(product_id, name="Newest")
    pipeline.clock.advance(400)
    pipeline.reconcile_once()
    settle(pipeline)
    assert pipeline.supply_chain.held[product_id].version == 1
    put_back(pipeline, yesterday)

    done = restore(pipeline)

    assert (done["replayed"], done["losses"], names(pipeline)) == (1, [], {product_id: "Newest"})


def write_before_anybody_notices(pipeline: Pipeline, yesterday: FakeStore, product_id: str) -> None:
    """The store is restored while writes go on; then the catalog is read-only."""
    pipeline.clock.advance(1)
    pipeline.store = yesterday
    switch(pipeline, restoring=False)
    pipeline.update(product_id, name="Written before anybody noticed")
    switch(pipeline, restoring=True)


def test_a_change_of_now_that_has_the_version_of_a_lost_one_is_listed_before_it_is_replaced() -> (
    None
):
    pipeline = a_catalog(2)
    product_id, _ = ids(pipeline)
    yesterday = backup(pipeline)
    for number in range(2):
        pipeline.clock.advance(1)
        pipeline.update(product_id, name=f"Lost {number}")
    write_before_anybody_notices(pipeline, yesterday, product_id)
    pipeline.restores.start({})
    crash(pipeline, "put_back")

    pipeline.reconcile_once()

    done = pipeline.restores.show()
    assert done["losses"] == [{"id": product_id, "restored": 1, "held": 1}]
    assert names(pipeline)[product_id] == "Lost 1"


def test_a_lost_change_whose_version_the_store_has_for_another_one_is_listed() -> None:
    pipeline = a_catalog(1)
    (product_id,) = ids(pipeline)
    yesterday = backup(pipeline)
    pipeline.update(product_id, name="Lost")
    write_before_anybody_notices(pipeline, yesterday, product_id)

    done = restore(pipeline)

    assert done["losses"] == [{"id": product_id, "restored": 1, "held": 1}]
    assert names(pipeline)[product_id] == "Written before anybody noticed"


def test_an_audit_that_the_store_remembers_in_its_middle_overwrites_nothing_either() -> None:
    pipeline = a_catalog(1)
    (product_id,) = ids(pipeline)
    pipeline.audits.start({})
    yesterday = backup(pipeline)
    pipeline.update(product_id, name="Newest")
    settle(pipeline)
    pipeline.clock.advance(3601)
    pipeline.store = yesterday
    switch(pipeline, restoring=False)
    for _ in range(3):
        pipeline.reconcile_once()
        settle(pipeline)
    assert pipeline.audits.show()["held"].startswith("nobody has looked after this audit")
    assert not pipeline.reconcile.is_needed()

    switch(pipeline, restoring=True)
    restore(pipeline)

    assert names(pipeline)[product_id] == "Newest"


# ---- skus ----


def test_a_sku_that_was_handed_on_since_is_where_it_was_last() -> None:
    pipeline = a_catalog(0)
    giver = pipeline.create(name="Giver", sku="A")
    taker = pipeline.create(name="Taker")
    yesterday = backup(pipeline)
    pipeline.update(giver, sku=None)
    pipeline.update(taker, sku="A")
    put_back(pipeline, yesterday)

    done = restore(pipeline)

    assert done["skus"] == []
    assert pipeline.product(taker).fields.sku == "A"
    assert '"sku":"A"' in pipeline.product(taker).outbox[-1].data


def test_skus_that_were_swapped_since_are_swapped_again() -> None:
    pipeline = a_catalog(0)
    one, two = pipeline.create(sku="A"), pipeline.create(sku="B")
    yesterday = backup(pipeline)
    for product_id, sku in ((one, None), (two, "A"), (one, "B")):
        pipeline.update(product_id, sku=sku)
    put_back(pipeline, yesterday)

    assert restore(pipeline)["skus"] == []

    assert [pipeline.product(it).fields.sku for it in (one, two)] == ["B", "A"]


def test_a_product_that_waits_for_its_sku_has_no_other_data_than_the_supply_chain() -> None:
    pipeline = a_catalog(0)
    one, two = pipeline.create(sku="A"), pipeline.create(sku="B")
    yesterday = backup(pipeline)
    for product_id, sku in ((one, None), (two, "A"), (one, "B")):
        pipeline.update(product_id, sku=sku)
    settle(pipeline)
    put_back(pipeline, yesterday)
    assert restore(pipeline)["losses"] == []


def test_a_sku_that_is_still_taken_is_listed_with_its_holder() -> None:
    pipeline = a_catalog(0)
    holder = pipeline.create(name="Holder", sku="A")
    yesterday = backup(pipeline)
    # That it was given up never reached the stream.
    pipeline.stream.away = True
    pipeline.update(holder, sku=None)
    pipeline.stream.away = False
    taker = pipeline.create(name="Taker", sku="A")
    put_back(pipeline, yesterday)

    done = restore(pipeline)

    assert done["skus"] == [{"id": taker, "sku": "A", "holder": holder}]
    assert done["skuCount"] == 1
    assert pipeline.product(taker).fields.sku is None
    assert '"sku"' not in pipeline.product(taker).outbox[-1].data


def test_a_sku_that_waits_is_not_forgotten_for_an_older_event_that_comes_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chalicelib.usecases.restore.PAGE", 5)
    pipeline = a_catalog(0)
    one, two = pipeline.create(sku="A"), pipeline.create(sku="B")
    yesterday = backup(pipeline)
    for product_id, sku in ((one, None), (two, "A"), (one, "B")):
        pipeline.update(product_id, sku=sku)
    # Published a second time, after the duplicate window.
    late = pipeline.stream.log[2]
    pipeline.stream.add(late.subject, late.data)
    put_back(pipeline, yesterday)

    assert restore(pipeline)["skus"] == []

    assert [pipeline.product(it).fields.sku for it in (one, two)] == ["B", "A"]


def test_more_skus_than_can_wait_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.domain.restore.KEPT_SKUS", 0)
    pipeline = a_catalog(0)
    one, two = pipeline.create(sku="A"), pipeline.create(sku="B")
    yesterday = backup(pipeline)
    for product_id, sku in ((one, None), (two, "A"), (one, "B")):
        pipeline.update(product_id, sku=sku)
    put_back(pipeline, yesterday)

    assert restore(pipeline)["skus"] == [
        {"id": one, "sku": "B", "holder": None},
        {"id": two, "sku": "A", "holder": None},
    ]


def test_a_sku_that_waits_is_not_forgotten_by_a_crash() -> None:
    pipeline = a_catalog(0)
    one, two = pipeline.create(sku="A"), pipeline.create(sku="B")
    yesterday = backup(pipeline)
    for product_id, sku in ((one, None), (two, "A"), (one, "B")):
        pipeline.update(product_id, sku=sku)
    put_back(pipeline, yesterday)
    pipeline.restores.start({})
    crash(pipeline, "save_restore")

    pipeline.reconcile_once()

    assert [pipeline.product(it).fields.sku for it in (one, two)] == ["B", "A"]
