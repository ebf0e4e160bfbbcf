"""What an answer of the supply chain says about one product, and when it counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from chalicelib.domain import exact_json
from chalicelib.domain.answers import Answer
from chalicelib.domain.audit import (
    HIGHEST_LIFT,
    REPAIRS,
    TRIES,
    Difference,
    Finding,
    Inquiry,
    Repair,
    Run,
    compare,
    is_usable,
    repair_of,
)
from chalicelib.domain.product import FIELD_TYPES, MAX_INT64, OPTIONAL_FIELDS
from chalicelib.domain.sync_state import SyncState, SyncStatus
from tests.fakes import START, a_product, every_field, every_field_changed, fields

DONE = SyncState(SyncStatus.DELIVERED)
LAMP = a_product(id="lamp", version=3, fields=fields(**every_field()), sync=DONE)
BARE = a_product(id="lamp", version=3, sync=DONE)
TOMBSTONE = replace(LAMP, deleted_at=START)
ABSENT = Answer(404, b'{"title": "no such product"}')


def told(**said: object) -> Answer:
    """An answer with the lamp, as the supply chain was given it, but for `said`."""
    body = {"id": "lamp", **LAMP.fields.to_json(), "version": 3, **said}
    return Answer(200, exact_json.dumps(body).encode())


def raw(body: str) -> Answer:
    return Answer(200, body.encode())


def unversioned(**said: object) -> str:
    """The required fields of the lamp, without a version."""
    ours = LAMP.fields.to_json()
    return exact_json.dumps({name: ours[name] for name in ("name", "price", "quantity")} | said)


@pytest.mark.parametrize(
    "answer",
    [
        told(),
        told(createdAt="of theirs", color="unknown to us"),
        raw('{"id": "lamp", "version": 3}'),
        raw('{"version": 3}'),
        raw('{"version": 3.0}'),
        raw('{"version": "3"}'),
        raw(unversioned()),
        told(version=None),
    ],
)
def test_a_product_with_our_version_and_our_data_does_not_differ(answer: Answer) -> None:
    assert is_usable(LAMP, answer)
    assert compare(LAMP, answer) is None


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("12.5", "12.50"),
        ("12.50", "12.5"),
        ("12", "12"),
        ("12", "12.0"),
        ("1000", "1e3"),
    ],
)
def test_numbers_are_compared_by_value(ours: str, theirs: str) -> None:
    product = replace(BARE, fields=fields(price=Decimal(ours)))
    assert compare(product, raw(f'{{"id": "lamp", "price": {theirs}, "version": 3}}')) is None


@pytest.mark.parametrize("name", FIELD_TYPES)
def test_each_field_with_another_value_is_named(name: str) -> None:
    found = compare(LAMP, told(**{name: every_field_changed()[name]}))
    assert found == Finding(Difference.DIFFERENT, 3, (name,))


@pytest.mark.parametrize("name", sorted(OPTIONAL_FIELDS))
def test_an_optional_field_that_only_the_supply_chain_has_is_named(name: str) -> None:
    theirs: dict[str, Any] = {"id": "lamp", "version": 3, name: every_field()[name]}
    found = compare(BARE, raw(exact_json.dumps(theirs)))
    assert found == Finding(Difference.DIFFERENT, 3, (name,))


@pytest.mark.parametrize("empty", ["null", '""', "{}", "[]"])
def test_an_empty_field_is_as_good_as_an_absent_one(empty: str) -> None:
    assert compare(BARE, raw(f'{{"id": "lamp", "version": 3, "description": {empty}}}')) is None


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"dimmable": True}, {"dimmable": 1}),
        ({"watts": 1}, {"watts": True}),
        ({"watts": 1}, {"watts": "1"}),
        ({"watts": 1}, {"watts": 1, "color": "black"}),
        ({"watts": 1, "color": "black"}, {"watts": 1}),
    ],
)
def test_attributes_are_compared_by_key_type_and_value(
    ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    product = replace(BARE, fields=fields(attributes=ours))
    answer = raw(exact_json.dumps({"id": "lamp", "version": 3, "attributes": theirs}))
    assert compare(product, answer) == Finding(Difference.DIFFERENT, 3, ("attributes",))


def test_data_without_a_version_is_compared_nevertheless() -> None:
    answer = raw(unversioned(name="Lamp"))
    assert is_usable(LAMP, answer)
    assert compare(LAMP, answer) == Finding(Difference.DIFFERENT, None, ("name",))


@pytest.mark.parametrize("version", ["4.0", '"4"', "4e0"])
def test_a_version_in_another_form_is_a_version(version: str) -> None:
    assert compare(LAMP, raw(f'{{"version": {version}}}')) == Finding(Difference.NEWER, 4)


@pytest.mark.parametrize(("held", "difference"), [(2, Difference.OLDER), (4, Difference.NEWER)])
def test_another_version_is_named_and_its_data_is_not_compared(
    held: int, difference: Difference
) -> None:
    assert compare(LAMP, told(version=held, name="other")) == Finding(difference, held)


@pytest.mark.parametrize("status", [404, 410])
def test_a_product_that_is_not_there_is_missing(status: int) -> None:
    assert compare(LAMP, Answer(status)) == Finding(Difference.MISSING)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (ABSENT, None),
        (told(), Finding(Difference.UNDELETED, 3)),
        (told(version=2), Finding(Difference.UNDELETED, 2)),
        (raw(unversioned()), Finding(Difference.UNDELETED)),
        (told(version=4), Finding(Difference.NEWER, 4)),
    ],
)
def test_a_deleted_product_must_be_absent(answer: Answer, found: Finding | None) -> None:
    assert compare(TOMBSTONE, answer) == found


@pytest.mark.parametrize(
    "answer",
    [
        None,
        Answer(500),
        Answer(503),
        Answer(429),
        Answer(401),
        Answer(302),
        Answer(204),
        raw(""),
        raw("<html>no JSON</html>"),
        raw("[]"),
        raw("{}"),
        raw('{"job": 7}'),
        raw('{"id": "lamp", "status": "ok"}'),
        raw('{"id": "lamp", "name": "Desk lamp", "price": 1}'),
        told(version="v3"),
        told(version=""),
        told(version=True),
        told(version=3.5),
        told(version=10**30),
        told(id="another"),
        told(id=None),
    ],
)
def test_an_answer_that_says_nothing_about_the_product_is_not_used(answer: Answer | None) -> None:
    assert not is_usable(LAMP, answer)


# ---- when it counts ----


def after(*answers: Answer | None, inquiry: Inquiry | None = None) -> Inquiry:
    asked = inquiry or Inquiry(LAMP)
    for answer in answers:
        assert not asked.is_over, "nobody would have asked any more"
        asked = asked.heard(answer)
    return asked


def test_our_own_data_is_believed_at_once() -> None:
    done = after(told())
    assert (done.is_believed, done.said) == (True, None)


def test_a_difference_is_believed_when_it_is_said_again() -> None:
    assert not after(told(version=2)).is_over
    done = after(told(version=2), told(version=2))
    assert (done.is_believed, done.said) == (True, Finding(Difference.OLDER, 2))


def test_absence_is_believed_when_it_is_said_twice_more() -> None:
    assert not after(ABSENT, ABSENT).is_over
    done = after(ABSENT, ABSENT, ABSENT)
    assert (done.is_believed, done.said) == (True, Finding(Difference.MISSING))


def test_a_deletion_is_believed_as_late() -> None:
    assert not after(ABSENT, ABSENT, inquiry=Inquiry(TOMBSTONE)).is_over
    done = after(ABSENT, ABSENT, ABSENT, inquiry=Inquiry(TOMBSTONE))
    assert (done.is_believed, done.said) == (True, None)


def test_another_answer_between_begins_anew() -> None:
    assert not after(told(version=2), told(version=1), told(version=2)).is_over
    assert not after(ABSENT, ABSENT, told(version=2), ABSENT).is_over


def test_a_wrong_answer_is_forgotten_when_our_data_is_told() -> None:
    done = after(ABSENT, ABSENT, told())
    assert (done.is_believed, done.said) == (True, None)


def test_an_answer_that_says_nothing_is_no_contradiction() -> None:
    assert after(told(version=2), Answer(503), None, told(version=2)).is_believed


def test_a_product_without_a_usable_answer_is_given_up() -> None:
    done = after(*[None] * TRIES)
    assert (done.is_over, done.is_believed) == (True, False)


# ---- what is repaired ----

RUN = Run(START, "somebody", repair=True, total=1)


@pytest.mark.parametrize(
    ("finding", "repair"),
    [
        (Finding(Difference.MISSING), (Repair.DELIVER, 3)),
        (Finding(Difference.OLDER, 2), (Repair.DELIVER, 3)),
        (Finding(Difference.DIFFERENT, 3, ("name",)), (Repair.DELIVER, 3)),
        (Finding(Difference.UNDELETED, 3), (Repair.DELIVER, 3)),
        (Finding(Difference.NEWER, 7), (Repair.LIFT, 8)),
        (Finding(Difference.NEWER, HIGHEST_LIFT - 1), (Repair.LIFT, HIGHEST_LIFT)),
        (Finding(Difference.NEWER, HIGHEST_LIFT), None),
        (Finding(Difference.NEWER, MAX_INT64 - 1), None),
    ],
)
def test_each_difference_has_its_repair(
    finding: Finding, repair: tuple[Repair, int] | None
) -> None:
    assert repair_of(LAMP, finding, RUN) == repair


def after_repairs(count: int) -> Any:  # noqa: ANN401 - a product
    return replace(LAMP, sync=replace(DONE, repairs=count))


@pytest.mark.parametrize("held", [3, None])
def test_data_that_still_differs_after_a_repair_gets_a_new_version(held: int | None) -> None:
    finding = Finding(Difference.DIFFERENT, held, ("name",))
    assert repair_of(after_repairs(1), finding, RUN) == (Repair.LIFT, 4)


def test_a_product_that_is_lost_again_is_delivered_again() -> None:
    assert repair_of(after_repairs(1), Finding(Difference.MISSING), RUN) == (Repair.DELIVER, 3)


@pytest.mark.parametrize("difference", Difference)
def test_what_was_repaired_in_vain_is_left_to_a_person(difference: Difference) -> None:
    assert repair_of(after_repairs(REPAIRS), Finding(difference, 7), RUN) is None


def test_a_run_repairs_a_product_once() -> None:
    repaired = replace(LAMP, sync=replace(DONE, repair_started_at=START))
    assert repair_of(repaired, Finding(Difference.MISSING), RUN) is None


def test_a_run_repairs_a_product_once_though_others_restart_it_meanwhile() -> None:
    repaired = replace(DONE, repair_started_at=START)
    again = replace(repaired.restarted(LATER, LATER, budget=1), status=SyncStatus.DELIVERED)
    assert repair_of(replace(LAMP, sync=again), Finding(Difference.MISSING), RUN) is None


LATER = START + timedelta(days=1)


@pytest.mark.parametrize(
    "sync", [replace(DONE, redrive_started_at=LATER), replace(DONE, repair_started_at=LATER)]
)
def test_what_others_have_restarted_since_the_run_began_is_repaired(sync: SyncState) -> None:
    restarted = replace(LAMP, sync=sync)
    assert repair_of(restarted, Finding(Difference.MISSING), RUN) == (Repair.DELIVER, 3)


def test_a_run_that_only_counts_repairs_nothing() -> None:
    assert repair_of(LAMP, Finding(Difference.MISSING), replace(RUN, repair=False)) is None
