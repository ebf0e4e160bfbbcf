"""The use cases behind the routes, on fakes."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from chalicelib.domain.errors import (
    CatalogError,
    ConcurrentChangeError,
    DuplicateSkuError,
    IdempotencyKeyReusedError,
    InvalidRequestError,
    PayloadTooLargeError,
    ProductNotFoundError,
    StoreUnavailableError,
    VersionMismatchError,
)
from chalicelib.domain.exact_json import Json
from chalicelib.domain.messages import SyncMessage
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import SyncState, SyncStatus
from chalicelib.usecases.catalog import Origin, Precondition, merge_patch
from tests.fakes import GRACE, START, Pipeline, a_product, fields

if TYPE_CHECKING:
    from collections.abc import Callable

BODY = {"name": "Anvil", "price": Decimal("12.50"), "quantity": 7}
SOMEBODY = Origin("somebody")


@pytest.fixture
def pipeline() -> Pipeline:
    """The catalog and its fakes."""
    return Pipeline()


def faults(call: Callable[[], object]) -> dict[str, str]:
    """The fields that a refused request names, each with its message."""
    with pytest.raises(InvalidRequestError) as caught:
        call()
    return {error.field: error.message for error in caught.value.errors}


def keyed(key: str, principal: str = "somebody") -> Origin:
    return Origin(principal, key)


def bodies_in_queue(pipeline: Pipeline) -> list[str]:
    return [message.body for message in pipeline.queue.messages]


# ---- creating ----


def test_a_created_product_is_stored_and_answered(pipeline: Pipeline) -> None:
    answer = pipeline.catalog.create({**BODY, "sku": "A"}, SOMEBODY)

    product = pipeline.product(answer["id"])
    assert answer == product.to_json()
    assert (answer["version"], answer["syncStatus"], answer["sku"]) == (0, "pending", "A")
    assert product.sync == SyncState(
        behind_since=START, overdue_at=START + GRACE, restarted_at=START
    )


def test_a_created_product_is_announced_and_leaves_the_outbox(pipeline: Pipeline) -> None:
    answer = pipeline.catalog.create(BODY, Origin(trace="Root=1-2-3"))

    (message,) = pipeline.stream.log
    assert (message.subject, message.trace) == ("product.created", "Root=1-2-3")
    assert pipeline.product(answer["id"]).outbox == ()


def test_a_write_is_accepted_while_the_stream_is_away_and_its_event_waits(
    pipeline: Pipeline,
) -> None:
    pipeline.stream.away = True

    answer = pipeline.catalog.create(BODY, SOMEBODY)

    (event,) = pipeline.product(answer["id"]).outbox
    assert event.id == f"{answer['id']}:0:product:created"


def test_a_write_is_accepted_when_its_event_cannot_be_taken_out_of_the_outbox(
    pipeline: Pipeline,
) -> None:
    pipeline.store.broken = {"remove_events"}

    answer = pipeline.catalog.create(BODY, SOMEBODY)

    assert len(pipeline.product(answer["id"]).outbox) == 1
    assert len(pipeline.stream.log) == 1


def test_a_write_is_refused_while_the_store_is_away_and_nothing_is_announced(
    pipeline: Pipeline,
) -> None:
    pipeline.store.away = True

    with pytest.raises(StoreUnavailableError):
        pipeline.catalog.create(BODY, SOMEBODY)
    assert pipeline.stream.log == []


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"name": ""}, "name", "String should have at least 1 character"),
        ({"name": None}, "name", "Input should be a valid string"),
        ({"price": "1"}, "price", "must be a number"),
        ({"price": True}, "price", "must be a number"),
        ({"price": 0}, "price", "Input should be greater than 0"),
        (
            {"price": Decimal("0.00001")},
            "price",
            "Decimal input should have no more than 4 decimal places",
        ),
        ({"quantity": -1}, "quantity", "Input should be greater than or equal to 0"),
        ({"quantity": 1.5}, "quantity", "Input should be a valid integer"),
        ({"sku": ""}, "sku", "String should have at least 1 character"),
        ({"description": 1}, "description", "Input should be a valid string"),
        ({"attributes": []}, "attributes", "Input should be a valid dictionary"),
        (
            {"attributes": {"color": []}},
            "attributes.color",
            "must be text, a number within 64 bits, or true/false",
        ),
        ({"attributes": {"": 1}}, "attributes.", "String should have at least 1 character"),
        ({"colour": "red"}, "colour", "is not a known field"),
        ({"version": 3}, "version", "is read-only"),
        ({"id": "mine"}, "id", "is read-only"),
        ({"syncStatus": "delivered"}, "syncStatus", "is read-only"),
    ],
)
def test_a_field_at_fault_is_named_with_what_is_wrong(
    pipeline: Pipeline, changes: dict[str, object], field: str, message: str
) -> None:
    assert faults(lambda: pipeline.catalog.create({**BODY, **changes}, SOMEBODY)) == {
        field: message
    }


def test_every_field_at_fault_is_named(pipeline: Pipeline) -> None:
    named = faults(lambda: pipeline.catalog.create({"price": 0}, SOMEBODY))

    assert named == {
        "name": "Field required",
        "price": "Input should be greater than 0",
        "quantity": "Field required",
    }


@pytest.mark.parametrize("body", [None, [], "text", 1, True])
def test_a_body_that_is_no_object_is_refused(pipeline: Pipeline, body: object) -> None:
    assert faults(lambda: pipeline.catalog.create(body, SOMEBODY)) == {
        "body": "must be a JSON object"
    }


def test_a_field_whose_name_cannot_be_written_is_refused_with_one_that_can(
    pipeline: Pipeline,
) -> None:
    (field,) = faults(lambda: pipeline.catalog.create({**BODY, "\ud800": 1}, SOMEBODY))

    assert field.encode()


def test_a_taken_sku_is_refused(pipeline: Pipeline) -> None:
    pipeline.create(sku="A")

    with pytest.raises(DuplicateSkuError):
        pipeline.catalog.create({**BODY, "sku": "A"}, SOMEBODY)


# ---- idempotency keys ----


def test_a_repeated_creation_gives_the_first_answer_and_makes_nothing(pipeline: Pipeline) -> None:
    first = pipeline.catalog.create(BODY, keyed("key"))
    pipeline.update(first["id"], name="Other")

    assert pipeline.catalog.create(BODY, keyed("key")) == first
    assert len(pipeline.store.products) == 1


def test_a_repeated_creation_may_be_written_in_another_way(pipeline: Pipeline) -> None:
    first = pipeline.catalog.create(BODY, keyed("key"))

    again = pipeline.catalog.create({**BODY, "price": Decimal("12.5")}, keyed("key"))

    assert again == first


def test_a_key_cannot_be_used_for_another_body(pipeline: Pipeline) -> None:
    pipeline.catalog.create(BODY, keyed("key"))

    with pytest.raises(IdempotencyKeyReusedError):
        pipeline.catalog.create({**BODY, "quantity": 8}, keyed("key"))


def test_another_caller_may_use_the_same_key(pipeline: Pipeline) -> None:
    pipeline.catalog.create(BODY, keyed("key", "one"))
    pipeline.catalog.create({**BODY, "quantity": 8}, keyed("key", "two"))

    assert len(pipeline.store.products) == 2


def test_a_repeated_creation_with_a_sku_is_a_repetition_and_no_duplicate(
    pipeline: Pipeline,
) -> None:
    first = pipeline.catalog.create({**BODY, "sku": "A"}, keyed("key"))

    assert pipeline.catalog.create({**BODY, "sku": "A"}, keyed("key")) == first


def test_a_new_key_does_not_make_a_taken_sku_free(pipeline: Pipeline) -> None:
    pipeline.catalog.create({**BODY, "sku": "A"}, keyed("one"))

    with pytest.raises(DuplicateSkuError):
        pipeline.catalog.create({**BODY, "sku": "A"}, keyed("two"))


def test_the_repeated_answer_is_exact(pipeline: Pipeline) -> None:
    body = {**BODY, "price": Decimal("12.500"), "attributes": {"a": Decimal("0.10")}}
    pipeline.catalog.create(body, keyed("key"))

    again = pipeline.catalog.create(body, keyed("key"))

    assert (str(again["price"]), str(again["attributes"]["a"])) == ("12.500", "0.10")


# ---- batches ----


def outcome_types(outcomes: list[Any]) -> list[type]:
    return [type(outcome) if isinstance(outcome, CatalogError) else dict for outcome in outcomes]


def test_each_item_of_a_batch_has_its_own_result_in_order(pipeline: Pipeline) -> None:
    pipeline.create(sku="taken")
    items = [BODY, {**BODY, "price": 0}, {**BODY, "sku": "taken"}, "no object", BODY]

    outcomes = pipeline.catalog.create_batch({"items": items}, SOMEBODY)

    refused = InvalidRequestError
    assert outcome_types(outcomes) == [dict, refused, DuplicateSkuError, refused, dict]
    assert len(pipeline.store.products) == 3


def test_only_the_accepted_items_of_a_batch_are_announced(pipeline: Pipeline) -> None:
    pipeline.catalog.create_batch({"items": [BODY, {**BODY, "price": 0}]}, SOMEBODY)

    assert len(pipeline.stream.log) == 1


def test_a_batch_without_a_valid_item_is_still_answered_item_by_item(pipeline: Pipeline) -> None:
    outcomes = pipeline.catalog.create_batch({"items": [{}, {}]}, SOMEBODY)

    assert outcome_types(outcomes) == [InvalidRequestError] * 2


def test_a_repeated_batch_gives_the_first_answers(pipeline: Pipeline) -> None:
    items = [BODY, {**BODY, "sku": "A"}]
    first = pipeline.catalog.create_batch({"items": items}, keyed("key"))

    assert pipeline.catalog.create_batch({"items": items}, keyed("key")) == first
    assert len(pipeline.store.products) == 2


def test_a_repeated_batch_makes_what_was_not_made_before(pipeline: Pipeline) -> None:
    first = pipeline.catalog.create_batch({"items": [BODY]}, keyed("key"))

    again = pipeline.catalog.create_batch({"items": [BODY, BODY]}, keyed("key"))

    assert again[0] == first[0]
    assert len(pipeline.store.products) == 2


@pytest.mark.parametrize("body", [None, [], {}, {"items": []}, {"items": [BODY] * 101}])
def test_a_batch_has_1_to_100_items(pipeline: Pipeline, body: object) -> None:
    assert faults(lambda: pipeline.catalog.create_batch(body, SOMEBODY))


def test_a_batch_of_100_items_is_taken(pipeline: Pipeline) -> None:
    assert len(pipeline.catalog.create_batch({"items": [BODY] * 100}, SOMEBODY)) == 100


# ---- changing ----


def test_a_replacement_makes_the_next_version(pipeline: Pipeline) -> None:
    product_id = pipeline.create(sku="A", description="d")
    pipeline.clock.advance(5)

    answer = pipeline.catalog.replace(
        product_id, {**BODY, "name": "Other"}, Precondition(), SOMEBODY
    )

    assert (answer["version"], answer["name"]) == (1, "Other")
    assert "sku" not in answer
    assert (answer["createdAt"], answer["updatedAt"]) == (
        "2026-01-01T00:00:00.000Z",
        "2026-01-01T00:00:05.000Z",
    )
    assert [message.subject for message in pipeline.stream.log][1:] == ["product.updated"]


def test_a_change_starts_a_fresh_budget_and_keeps_since_when_it_is_behind(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [500]
    pipeline.pass_on()
    pipeline.clock.advance(5)

    pipeline.update(product_id, name="Other")

    sync = pipeline.product(product_id).sync
    assert (sync.status, sync.attempts, sync.next_attempt_at) == (SyncStatus.PENDING, 0, None)
    assert (sync.behind_since, sync.overdue_at) == (START, pipeline.clock() + GRACE)


def test_a_change_of_a_delivered_product_is_not_delivered_yet(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.pass_on()
    pipeline.clock.advance(5)

    pipeline.update(product_id, name="Other")

    product = pipeline.product(product_id)
    assert product.sync_completed_at is None
    assert (product.sync.behind_since, product.sync.delivered_version) == (pipeline.clock(), 0)


@pytest.mark.parametrize(
    "same",
    [{"price": Decimal("12.5")}, {"name": "Anvil"}, {}, {"sku": None}, {"price": Decimal("12.50")}],
)
def test_a_change_that_changes_nothing_makes_no_version_and_no_event(
    pipeline: Pipeline, same: dict[str, object]
) -> None:
    product_id = pipeline.create()
    before = pipeline.product(product_id)

    answer = pipeline.catalog.merge(product_id, same, Precondition(), SOMEBODY)

    assert answer["version"] == 0
    assert pipeline.product(product_id) == before
    assert len(pipeline.stream.log) == 1


def test_true_instead_of_1_is_a_change(pipeline: Pipeline) -> None:
    product_id = pipeline.create(attributes={"a": 1})

    answer = pipeline.catalog.merge(
        product_id, {"attributes": {"a": True}}, Precondition(), SOMEBODY
    )

    assert answer["version"] == 1
    assert pipeline.product(product_id).fields.attributes == {"a": True}


def test_a_change_must_be_valid_as_a_whole(pipeline: Pipeline) -> None:
    product_id = pipeline.create()

    named = faults(
        lambda: pipeline.catalog.merge(product_id, {"price": None}, Precondition(), SOMEBODY)
    )

    assert named == {"price": "Field required"}


@pytest.mark.parametrize("patch", [None, [], "text", 1])
def test_a_patch_must_be_an_object(pipeline: Pipeline, patch: object) -> None:
    product_id = pipeline.create()

    assert faults(lambda: pipeline.catalog.merge(product_id, patch, Precondition(), SOMEBODY))


def test_a_read_only_field_cannot_be_patched(pipeline: Pipeline) -> None:
    product_id = pipeline.create()

    named = faults(
        lambda: pipeline.catalog.merge(product_id, {"version": 9}, Precondition(), SOMEBODY)
    )

    assert named == {"version": "is read-only"}


def test_attributes_are_merged_one_by_one(pipeline: Pipeline) -> None:
    product_id = pipeline.create(attributes={"keep": 1, "drop": 2, "change": 3})

    patch = {"attributes": {"drop": None, "change": "x", "add": True}}
    answer = pipeline.catalog.merge(product_id, patch, Precondition(), SOMEBODY)

    assert answer["attributes"] == {"keep": 1, "change": "x", "add": True}


def test_a_change_to_a_taken_sku_is_refused(pipeline: Pipeline) -> None:
    pipeline.create(sku="A")
    product_id = pipeline.create()

    with pytest.raises(DuplicateSkuError):
        pipeline.update(product_id, sku="A")


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({"a": "foo"}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_does_as_the_examples_of_rfc_7396(
    target: dict[str, object], patch: dict[str, object], result: dict[str, object]
) -> None:
    assert merge_patch(target, patch) == result


# ---- other writers ----


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between tries."""
    monkeypatch.setattr(time, "sleep", lambda _: None)


def interrupt(pipeline: Pipeline, change: Callable[[Product], Product], times: int) -> list[int]:
    """Let somebody else change the product between a look at it and the write, so many times."""
    save_change = pipeline.store.save_change
    done: list[int] = []

    def late(product: Product, *, expected_version: int) -> bool:
        if len(done) < times:
            done.append(expected_version)
            pipeline.store.products[product.id] = change(pipeline.store.products[product.id])
        return save_change(product, expected_version=expected_version)

    pipeline.store.save_change = late  # type: ignore[method-assign]
    return done


def next_version(product: Product) -> Product:
    return replace(
        product, version=product.version + 1, fields=fields(name=f"other {product.version}")
    )


@pytest.mark.usefixtures("impatient")
def test_a_change_is_made_again_on_top_of_one_that_came_first(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    interrupt(pipeline, next_version, times=3)

    answer = pipeline.catalog.merge(product_id, {"quantity": 99}, Precondition(), SOMEBODY)

    assert (answer["version"], answer["quantity"], answer["name"]) == (4, 99, "other 2")


@pytest.mark.usefixtures("impatient")
def test_a_change_that_never_comes_first_is_given_up(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    interrupt(pipeline, next_version, times=10_000)

    with pytest.raises(ConcurrentChangeError):
        pipeline.update(product_id, quantity=99)


@pytest.mark.usefixtures("impatient")
def test_a_change_for_a_certain_version_is_refused_when_another_one_came_first(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()
    interrupt(pipeline, next_version, times=1)

    with pytest.raises(VersionMismatchError):
        pipeline.catalog.merge(product_id, {"quantity": 99}, Precondition({"0"}), SOMEBODY)


@pytest.mark.usefixtures("impatient")
def test_a_change_of_a_product_that_is_deleted_meanwhile_finds_none(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    interrupt(pipeline, lambda item: replace(item, version=1, deleted_at=START), times=1)

    with pytest.raises(ProductNotFoundError):
        pipeline.update(product_id, quantity=99)


@pytest.mark.parametrize("versions", [["0"], ["3", "0"]])
def test_a_change_is_made_at_the_version_that_the_caller_knows(
    pipeline: Pipeline, versions: list[str]
) -> None:
    product_id = pipeline.create()

    condition = Precondition(versions)
    answer = pipeline.catalog.merge(product_id, {"quantity": 1}, condition, SOMEBODY)

    assert answer["version"] == 1


@pytest.mark.parametrize("versions", [[], ["1"], ["00"], ["0 "], ["none"]])
def test_a_version_that_the_caller_does_not_know_is_not_touched(
    pipeline: Pipeline, versions: list[str]
) -> None:
    product_id = pipeline.create()
    condition = Precondition(versions)

    with pytest.raises(VersionMismatchError):
        pipeline.catalog.replace(product_id, {**BODY, "name": "x"}, condition, SOMEBODY)
    with pytest.raises(VersionMismatchError):
        pipeline.catalog.delete(product_id, condition, SOMEBODY)
    assert pipeline.product(product_id).version == 0


# ---- deleting ----


def test_a_deleted_product_becomes_a_tombstone_of_the_next_version(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.clock.advance(5)

    pipeline.catalog.delete(product_id, Precondition(), SOMEBODY)

    product = pipeline.product(product_id)
    assert (product.version, product.deleted_at) == (1, pipeline.clock())
    assert pipeline.stream.log[-1].subject == "product.deleted"


@pytest.mark.parametrize("use", ["get", "replace", "merge", "delete"])
def test_a_deleted_product_is_not_found(pipeline: Pipeline, use: str) -> None:
    product_id = pipeline.create()
    pipeline.catalog.delete(product_id, Precondition(), SOMEBODY)
    uses: dict[str, Callable[[], object]] = {
        "get": lambda: pipeline.catalog.get(product_id),
        "replace": lambda: pipeline.catalog.replace(product_id, BODY, Precondition(), SOMEBODY),
        "merge": lambda: pipeline.catalog.merge(product_id, {}, Precondition(), SOMEBODY),
        "delete": lambda: pipeline.catalog.delete(product_id, Precondition(), SOMEBODY),
    }

    with pytest.raises(ProductNotFoundError):
        uses[use]()


def test_the_sku_of_a_deleted_product_is_free_again(pipeline: Pipeline) -> None:
    pipeline.catalog.delete(pipeline.create(sku="A"), Precondition(), SOMEBODY)

    assert pipeline.create(sku="A")


# ---- reading ----


def test_pages_follow_each_other_without_gaps_and_repetitions(pipeline: Pipeline) -> None:
    ids = [pipeline.create() for _ in range(7)]
    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
        page = pipeline.catalog.list_products(query)
        seen += [item["id"] for item in page["items"]]
        pipeline.create()
        if (cursor := page["nextCursor"]) is None or len(seen) > 20:
            break

    assert seen[:7] == ids
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("number", [0, 3])
def test_the_last_page_has_no_cursor(pipeline: Pipeline, number: int) -> None:
    for _ in range(number):
        pipeline.create()

    page = pipeline.catalog.list_products({"limit": "3"})

    assert (len(page["items"]), page["nextCursor"]) == (number, None)


def test_a_list_can_be_filtered_by_status_and_sku(pipeline: Pipeline) -> None:
    product_id = pipeline.create(sku="A")
    pipeline.create(sku="B")

    def found(**query: str) -> list[str]:
        return [item["id"] for item in pipeline.catalog.list_products(query)["items"]]

    assert found(sku="A") == [product_id]
    assert found(sku="A", syncStatus="pending") == [product_id]
    assert found(sku="A", syncStatus="delivered") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"syncStatus": "lost"}, "syncStatus"),
        ({"page": "2"}, "page"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(
    pipeline: Pipeline, query: dict[str, str], field: str
) -> None:
    assert list(faults(lambda: pipeline.catalog.list_products(query))) == [field]


@pytest.mark.parametrize(
    "cursor", ["", "x", "????", "bm9uZQ", "é", "\x00", "A" * 1000, str(ObjectId()), "NjVmMGMx\n"]
)
def test_a_cursor_that_the_list_did_not_give_out_is_refused(
    pipeline: Pipeline, cursor: str
) -> None:
    named = faults(lambda: pipeline.catalog.list_products({"cursor": cursor}))

    assert named == {"cursor": "is not one that the list gave out"}


def test_an_unknown_product_is_not_found(pipeline: Pipeline) -> None:
    with pytest.raises(ProductNotFoundError):
        pipeline.catalog.get(str(ObjectId()))


# ---- sync, as operators see it ----


def test_the_state_of_a_sync_tells_each_attempt(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.supply_chain.answers[product_id] = [500]
    pipeline.pass_on()

    state = pipeline.catalog.sync_state(product_id)

    assert (state["status"], state["attempts"], state["lastError"]) == ("retrying", 1, "HTTP 500")
    assert [attempt["statusCode"] for attempt in state["history"]] == [500]


def test_the_state_of_a_deleted_product_can_be_seen_until_it_is_gone(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.catalog.delete(product_id, Precondition(), SOMEBODY)

    assert pipeline.catalog.sync_state(product_id)["deleted"] is True


@pytest.mark.parametrize("use", ["sync_state", "replay"])
def test_there_is_no_sync_of_a_product_that_is_not_there(pipeline: Pipeline, use: str) -> None:
    with pytest.raises(ProductNotFoundError):
        getattr(pipeline.catalog, use)(str(ObjectId()))


def test_the_summary_counts_every_status(pipeline: Pipeline) -> None:
    pipeline.create()
    pipeline.clock.advance(90)

    assert pipeline.catalog.summary() == {
        "products": {
            "pending": 1,
            "retrying": 0,
            "delivered": 0,
            "exhausted": 0,
            "rejected": 0,
        },
        "oldestUndeliveredSeconds": 90.0,
        "outboxBacklog": 0,
    }


def test_nothing_undelivered_has_no_age(pipeline: Pipeline) -> None:
    assert pipeline.catalog.summary()["oldestUndeliveredSeconds"] is None


def stuck(pipeline: Pipeline, status: SyncStatus) -> Product:
    sync = SyncState(status, attempts=18, behind_since=START, last_error="HTTP 500")
    product = a_product(sync=sync, outbox=())
    pipeline.store.insert([(product, None)])
    return product


def test_a_replay_rings_for_the_newest_version_with_a_fresh_budget(pipeline: Pipeline) -> None:
    product = stuck(pipeline, SyncStatus.EXHAUSTED)

    state = pipeline.catalog.replay(product.id)

    assert (state["status"], state["attempts"]) == ("pending", 0)
    assert bodies_in_queue(pipeline) == [SyncMessage(product.id, 0).to_json()]


def test_a_replay_that_has_rung_is_not_overdue(pipeline: Pipeline) -> None:
    product = stuck(pipeline, SyncStatus.EXHAUSTED)

    pipeline.catalog.replay(product.id)

    assert pipeline.product(product.id).sync.overdue_at == START + GRACE


def test_a_replay_is_taken_while_the_queue_is_away_and_is_overdue_at_once(
    pipeline: Pipeline,
) -> None:
    product = stuck(pipeline, SyncStatus.REJECTED)
    pipeline.queue.away = True

    assert pipeline.catalog.replay(product.id)["status"] == "pending"
    assert pipeline.product(product.id).sync.overdue_at == START


def test_a_delivered_product_can_be_replayed(pipeline: Pipeline) -> None:
    product_id = pipeline.create()
    pipeline.pass_on()

    pipeline.catalog.replay(product_id)
    pipeline.sync_once()

    assert pipeline.supply_chain.versions(product_id) == [0, 0]


def test_a_replay_is_of_the_version_that_is_the_newest_when_it_is_written(
    pipeline: Pipeline,
) -> None:
    product_id = pipeline.create()
    restart = pipeline.store.restart
    calls: list[int] = []

    def late(product: Product, now: Any) -> bool:  # noqa: ANN401 - passed on
        if not calls:
            pipeline.update(product_id, name="Other")
        calls.append(product.version)
        return restart(product, now)

    pipeline.store.restart = late  # type: ignore[method-assign]
    assert pipeline.catalog.replay(product_id)["version"] == 1
    assert calls == [0, 1]


def test_a_product_cannot_grow_beyond_what_a_request_may_have(pipeline: Pipeline) -> None:
    def attributes(start: int) -> Json:
        return {"attributes": {str(n): "\u20ac" * 1000 for n in range(start, start + 50)}}

    product_id = pipeline.catalog.create({**BODY, **attributes(0)}, SOMEBODY)["id"]

    with pytest.raises(PayloadTooLargeError):
        pipeline.catalog.merge(product_id, attributes(50), Precondition(), SOMEBODY)

    assert pipeline.product(product_id).version == 0


def test_a_redrive_replays_all_that_is_stuck(pipeline: Pipeline) -> None:
    products = [stuck(pipeline, status) for status in (SyncStatus.EXHAUSTED, SyncStatus.REJECTED)]
    delivered = pipeline.create()
    pipeline.pass_on()

    assert pipeline.catalog.redrive({}) == 2
    pipeline.sync_once()

    assert {call.product_id for call in pipeline.supply_chain.calls[1:]} == {p.id for p in products}
    assert pipeline.supply_chain.versions(delivered) == [0]


def test_a_redrive_can_be_for_one_status_only(pipeline: Pipeline) -> None:
    stuck(pipeline, SyncStatus.EXHAUSTED)
    rejected = stuck(pipeline, SyncStatus.REJECTED)

    assert pipeline.catalog.redrive({"status": "rejected"}) == 1
    assert bodies_in_queue(pipeline) == [SyncMessage(rejected.id, 0).to_json()]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"status": "pending"}, "status"),
        ({"status": "lost"}, "status"),
        ({"all": True}, "all"),
        ([], "body"),
    ],
)
def test_a_redrive_of_what_is_not_stuck_is_refused(
    pipeline: Pipeline, body: object, field: str
) -> None:
    assert list(faults(lambda: pipeline.catalog.redrive(body))) == [field]


def test_a_redrive_while_the_queue_is_away_is_left_to_reconcile(pipeline: Pipeline) -> None:
    product = stuck(pipeline, SyncStatus.EXHAUSTED)
    pipeline.queue.away = True
    assert pipeline.catalog.redrive({}) == 1
    pipeline.queue.away = False

    pipeline.reconcile_once()
    pipeline.sync_once()

    assert pipeline.product(product.id).sync.status is SyncStatus.DELIVERED


def test_a_redrive_of_nothing_rings_for_nothing(pipeline: Pipeline) -> None:
    pipeline.create()
    pipeline.clock.advance(GRACE / timedelta(seconds=1) + 1)

    assert pipeline.catalog.redrive({}) == 0
    assert bodies_in_queue(pipeline) == []
