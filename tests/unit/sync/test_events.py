"""Events that leave the outbox, and the event of a delivery."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chalicelib.domain.events import EventType
from chalicelib.domain.retry import Schedule
from chalicelib.domain.sync_state import SyncStatus
from tests.fakes import Pipeline
from tests.unit.sync.steps import enqueue, status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chalicelib.domain.delivery import Claim
    from chalicelib.domain.events import Event
    from chalicelib.domain.product import Product


def kept(pipeline: Pipeline, product_id: str) -> list[str]:
    """The types of the events in a product's outbox."""
    return [event.type.value for event in pipeline.product(product_id).outbox]


# ---- what the stream has ----


def test_the_claim_takes_exactly_the_event_out_that_its_message_names(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.stream.away = True
    pipeline.update(product_id, name="Other")
    pipeline.stream.away = False
    pipeline.bridge_once()
    assert len(kept(pipeline, product_id)) == 2
    product = pipeline.product(product_id)
    pipeline.queue.messages.clear()
    enqueue(pipeline, product, version=1, event_id=product.outbox[0].id)

    pipeline.sync_once()

    assert kept(pipeline, product_id) == ["product:updated"]


def test_a_message_that_names_no_event_takes_none_out(pipeline: Pipeline) -> None:
    product = pipeline.put()
    enqueue(pipeline, product)

    pipeline.sync_once()

    assert status(pipeline, product.id) is SyncStatus.DELIVERED
    assert kept(pipeline, product.id) == ["product:created"]


def test_a_superseded_message_lets_its_event_leave_the_outbox(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.bridge_once()
    pipeline.stream.away = True
    pipeline.update(product_id, name="Other")

    pipeline.sync_once()

    assert pipeline.queue.messages == []
    assert kept(pipeline, product_id) == ["product:updated"]


def test_a_write_whose_event_came_over_the_stream_leaves_nothing_to_relay(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()
    pipeline.pass_on()
    pipeline.clock.advance(3600)

    assert kept(pipeline, product_id) == []
    assert pipeline.reconcile_once().relayed == 0


# ---- sync-complete ----


def test_a_delivery_is_announced_before_its_result_is_written(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.bridge_once()
    publish, seen = pipeline.stream.publish, list[SyncStatus]()

    def watched(events: Sequence[Event]) -> list[Event]:
        seen.append(status(pipeline, product_id))
        return publish(events)

    pipeline.stream.publish = watched  # type: ignore[method-assign]
    pipeline.sync_once()

    assert seen == [SyncStatus.PENDING]
    assert pipeline.stream.log[-1].subject == "product.sync-complete"
    assert kept(pipeline, product_id) == []


def test_what_cannot_be_announced_is_kept_in_the_outbox_and_announced_by_reconcile(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()
    pipeline.stream.broken = {"publish"}
    pipeline.pass_on()
    pipeline.stream.broken = set()
    assert kept(pipeline, product_id) == ["product:sync-complete"]
    pipeline.clock.advance(301)

    pipeline.reconcile_once()

    assert pipeline.stream.log[-1].subject == "product.sync-complete"
    assert kept(pipeline, product_id) == []


def test_of_several_deliveries_only_the_event_that_was_refused_is_kept(
    pipeline: Pipeline,
) -> None:
    refused, taken = pipeline.create(), pipeline.create()
    pipeline.stream.refused = {f"{refused}:0:product:sync-complete"}

    pipeline.pass_on()

    assert kept(pipeline, refused) == ["product:sync-complete"]
    assert kept(pipeline, taken) == []


def test_a_delivery_whose_lease_is_about_to_end_is_not_announced_but_kept(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()
    left = pipeline.policy.publish_within.total_seconds()

    def slow(_: Product) -> None:
        pipeline.clock.advance(pipeline.LEASE.total_seconds() - left)

    pipeline.supply_chain.during = slow
    pipeline.pass_on()

    assert status(pipeline, product_id) is SyncStatus.DELIVERED
    assert kept(pipeline, product_id) == ["product:sync-complete"]
    assert [message.subject for message in pipeline.stream.log] == ["product.created"]


def test_a_delivery_whose_product_was_written_meanwhile_is_announced_all_the_same(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()
    pipeline.supply_chain.during = lambda _: pipeline.update(product_id, name="Other")

    pipeline.pass_on()

    # It says that the supply chain has accepted this version at least once.
    assert pipeline.stream.log[-1].subject == "product.sync-complete"
    assert pipeline.product(product_id).sync_completed_at is None


def test_a_failure_announces_nothing(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [500]

    pipeline.pass_on()

    assert [message.subject for message in pipeline.stream.log] == ["product.created"]


# ---- what people are told ----


def told(pipeline: Pipeline) -> list[str]:
    """The subjects of what is on the stream, without those of writes."""
    subjects = [message.subject for message in pipeline.stream.log]
    return [subject for subject in subjects if subject.startswith("product.sync-")]


def rejected(pipeline: Pipeline) -> str:
    """A product that the supply chain has rejected; its id."""
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [422]
    pipeline.pass_on()
    assert status(pipeline, product_id) is SyncStatus.REJECTED
    return product_id


def test_a_rejection_is_told_after_it_is_written_and_leaves_the_outbox(pipeline: Pipeline) -> None:
    seen, publish = list[tuple[SyncStatus, list[str]]](), pipeline.stream.publish

    def watched(events: Sequence[Event]) -> list[Event]:
        if events[0].type is EventType.SYNC_REJECTED:
            product_id = events[0].product_id
            seen.append((status(pipeline, product_id), kept(pipeline, product_id)))
        return publish(events)

    pipeline.stream.publish = watched  # type: ignore[method-assign]
    product_id = rejected(pipeline)

    assert seen == [(SyncStatus.REJECTED, ["product:sync-rejected"])]
    assert told(pipeline) == ["product.sync-rejected"]
    assert kept(pipeline, product_id) == []


def test_a_product_that_is_given_up_is_told_once() -> None:
    pipeline = Pipeline(schedule=Schedule(2, 15, 15))
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [500, 500]
    pipeline.pass_on()
    assert told(pipeline) == []
    pipeline.clock.advance(16)

    pipeline.sync_once()

    assert status(pipeline, product_id) is SyncStatus.EXHAUSTED
    assert told(pipeline) == ["product.sync-exhausted"]


def test_a_delivery_after_a_failure_is_told_beside_the_delivery(pipeline: Pipeline) -> None:
    product_id = rejected(pipeline)
    pipeline.operations.replay(product_id)
    pipeline.sync_once()

    assert told(pipeline)[1:] == ["product.sync-complete", "product.sync-recovered"]
    pipeline.operations.replay(product_id)
    pipeline.sync_once()
    assert told(pipeline)[3:] == []
    assert kept(pipeline, product_id) == []


def test_news_that_cannot_be_published_is_published_by_reconcile(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [422]
    pipeline.stream.broken = {"publish"}
    pipeline.pass_on()
    assert kept(pipeline, product_id) == ["product:sync-rejected"]
    pipeline.stream.broken = set()
    pipeline.clock.advance(301)

    pipeline.reconcile_once()

    assert told(pipeline) == ["product.sync-rejected"]
    assert kept(pipeline, product_id) == []


def test_news_that_is_published_where_the_store_is_away_after_it_stays_and_does_no_harm(
    pipeline: Pipeline,
) -> None:
    pipeline.store.broken = {"remove_events"}
    product_id = rejected(pipeline)
    assert kept(pipeline, product_id) == ["product:sync-rejected"]
    pipeline.store.broken = set()
    pipeline.clock.advance(301)

    pipeline.reconcile_once()

    assert told(pipeline) == ["product.sync-rejected"]
    assert kept(pipeline, product_id) == []


def test_a_result_whose_lease_is_about_to_end_leaves_its_news_to_reconcile(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [422]
    left = pipeline.policy.publish_within.total_seconds()
    pipeline.supply_chain.during = lambda _: pipeline.clock.advance(
        pipeline.LEASE.total_seconds() - left
    )

    pipeline.pass_on()

    assert told(pipeline) == []
    assert kept(pipeline, product_id) == ["product:sync-rejected"]


def test_a_failure_of_a_product_that_was_written_meanwhile_is_no_news(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [422]
    pipeline.supply_chain.during = lambda _: pipeline.update(product_id, name="Other")

    pipeline.pass_on()

    assert told(pipeline) == []
    assert kept(pipeline, product_id) == ["product:updated"]


# ---- a claim of a revision that is no longer there ----


def test_an_event_stays_in_the_outbox_where_the_claim_was_lost(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.bridge_once()
    claim = pipeline.store.claim

    def late(claims: Sequence[Claim]) -> set[str]:
        product = pipeline.product(product_id)
        pipeline.store.products[product_id] = replace(product, revision=product.revision + 1)
        return claim(claims)

    pipeline.store.claim = late  # type: ignore[method-assign]
    pipeline.sync_once()

    assert kept(pipeline, product_id) == ["product:created"]
    assert pipeline.supply_chain.calls == []
