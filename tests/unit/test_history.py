"""The checks of `make soak` find what is lost, old or left over, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from embedded.history import History, Json, World, Write, misled, refusals, violations


def product(version: int, mark: int) -> Json:
    return {"id": "p", "name": "Lamp", "price": 1, "version": version, "quantity": mark}


def write(action: str, status: int | None, mark: int = 0, version: int | None = None) -> Write:
    return Write(action, 0.0, 0.1, status, mark, version)


CREATED = write("create", 201, mark=10, version=0)
REPLACED = write("replace", 200, mark=11, version=1)
UNANSWERED = write("replace", None, mark=12)
DELETED = write("delete", 204)


def found(
    writes: list[Write],
    catalog: Json | None,
    held: Json | None,
    failed: Collection[str] = (),
    letters: Mapping[str, int] | None = None,
) -> list[str]:
    """What is wrong with one product."""
    world = World(
        {"p": catalog} if catalog else {}, {"p": held} if held else {}, failed, letters or {}
    )
    return [reason for _, reason in violations({"p": History(writes)}, world)]


NEWEST = product(1, 11)


def test_the_newest_version_in_both_is_as_promised() -> None:
    assert found([CREATED, REPLACED], NEWEST, NEWEST) == []


def test_a_lost_product_is_found() -> None:
    assert found([CREATED], None, None) == ["lost: the catalog does not hold it"]


def test_a_lost_write_is_found() -> None:
    old = product(0, 10)
    assert found([CREATED, REPLACED], old, old) == ["a lost write: the catalog holds version 0"]


def test_a_version_with_the_data_of_another_write_is_found() -> None:
    other = product(1, 10)
    assert found([CREATED, REPLACED], other, other) == ["version 1 has the quantity 10"]


def test_a_write_without_an_answer_may_have_happened() -> None:
    later = product(2, 12)
    assert found([CREATED, REPLACED, UNANSWERED], later, later) == []
    assert found([CREATED, REPLACED, UNANSWERED], NEWEST, NEWEST) == []


def test_a_write_without_an_answer_makes_one_version_at_most() -> None:
    later = product(3, 12)
    assert found([CREATED, REPLACED, UNANSWERED], later, later) == ["version 3 has the quantity 12"]


def test_an_acknowledged_write_counts_more_than_one_before_it_without_an_answer() -> None:
    confirmed = write("replace", 200, mark=13, version=2)
    overwritten = product(2, 12)
    assert found([CREATED, UNANSWERED, confirmed], overwritten, overwritten) == [
        "version 2 has the quantity 12"
    ]


def test_a_product_that_was_not_delivered_is_found() -> None:
    assert found([CREATED, REPLACED], NEWEST, None) == ["the supply chain does not hold it"]


def test_an_old_version_in_the_supply_chain_is_found() -> None:
    assert found([CREATED, REPLACED], NEWEST, product(0, 11)) == [
        "version is 0 in the supply chain, must be 1"
    ]


def test_other_data_in_the_supply_chain_is_found() -> None:
    assert found([CREATED, REPLACED], NEWEST, product(1, 10)) == [
        "quantity is 10 in the supply chain, must be 11"
    ]


def test_a_deleted_product_is_gone_from_both() -> None:
    assert found([CREATED, DELETED], None, None) == []


def test_a_lost_delete_is_found() -> None:
    old = product(0, 10)
    assert found([CREATED, DELETED], old, old) == ["a lost delete: the catalog still holds it"]


def test_a_delete_that_did_not_reach_the_supply_chain_is_found() -> None:
    assert found([CREATED, DELETED], None, product(0, 10)) == [
        "the supply chain still holds what is deleted"
    ]


@pytest.mark.parametrize("held", [None, product(0, 10)])
def test_a_failed_product_needs_no_delivery_but_one_dead_letter(held: Json | None) -> None:
    assert found([CREATED, REPLACED], NEWEST, held, {"p"}, {"p": 1}) == []


@pytest.mark.parametrize("number", [0, 2])
def test_a_failed_product_with_another_number_of_dead_letters_is_found(number: int) -> None:
    letters = {"p": number}
    assert found([CREATED, REPLACED], NEWEST, None, {"p"}, letters) == [
        f"it has failed, and has {number} dead letters"
    ]


def test_a_dead_letter_of_a_delivered_product_is_found() -> None:
    assert found([CREATED, REPLACED], NEWEST, NEWEST, letters={"p": 1}) == [
        "it has not failed, and has 1 dead letters"
    ]


def test_a_product_of_a_create_without_an_answer_must_be_delivered_too() -> None:
    world = World({"q": NEWEST}, {}, (), {})
    assert list(violations({}, world)) == [("q", "the supply chain does not hold it")]


@pytest.mark.parametrize("status", [500, 404, 409])
def test_an_answer_that_the_api_may_not_give_is_found(status: int) -> None:
    histories = {"p": History([CREATED, write("replace", status)])}
    assert list(refusals(histories)) == [("p", f"a write is answered {status}")]


def test_unavailable_and_gone_are_answers_that_the_api_may_give() -> None:
    writes = [CREATED, write("replace", 503), write("delete", None), write("replace", 404)]
    assert list(refusals({"p": History(writes)})) == []


def calls(*outcomes: str) -> list[Json]:
    """A DELETE and questions after it, with these outcomes."""
    methods = ["DELETE", *["GET"] * (len(outcomes) - 1)]
    statuses = {"http_404": 404, "lost_answer": None, "read": 200, "deleted": 204}
    return [
        {"id": "p", "method": method, "outcome": outcome, "status": statuses[outcome]}
        for method, outcome in zip(methods, outcomes, strict=True)
    ]


@pytest.mark.parametrize(
    "outcomes",
    [("http_404",) * 3, ("http_404", "http_404", "lost_answer", "http_404")],
)
def test_a_supply_chain_that_denies_three_times_what_it_holds_misleads(
    outcomes: tuple[str, ...],
) -> None:
    assert misled(calls(*outcomes)) == {"p"}


@pytest.mark.parametrize(
    "outcomes",
    [("deleted",), ("http_404",), ("http_404", "http_404"), ("http_404", "http_404", "read")],
)
def test_one_that_denies_it_less_often_does_not(outcomes: tuple[str, ...]) -> None:
    assert misled(calls(*outcomes)) == set()


def test_denials_of_two_attempts_do_not_add_up() -> None:
    assert misled(calls("http_404", "http_404", "read") + calls("http_404", "http_404")) == set()
