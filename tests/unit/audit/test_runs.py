"""How far an audit is, and what it has proved."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from chalicelib.domain.audit import (
    EXAMPLES,
    SILENT_PAGES,
    AuditState,
    Difference,
    Example,
    Page,
    Run,
)
from tests.fakes import START

END = START + timedelta(minutes=3)
RUN = Run(START, "somebody", repair=True, total=5000)
STATE = AuditState(run=RUN)
PROOF = "at 2026-01-01T00:03:00.000Z the supply chain held the newest version of all"


def an_example(number: int = 0, *, repaired: bool = True) -> Example:
    return Example(f"{number:03}", Difference.OLDER, 3, 2, (), repaired, START)


def statement(page: Page) -> str | None:
    return RUN.with_page(page, END).statement


def test_a_run_says_nothing_before_its_end() -> None:
    assert statement(Page("a", is_last=False, checked=50)) is None


def test_the_statement_has_no_exception_if_every_product_was_compared_and_equal() -> None:
    assert statement(Page("z", is_last=True, checked=5000)) == f"{PROOF} 5,000 products"


def test_the_statement_names_every_exception() -> None:
    found = (an_example(1), an_example(2, repaired=False))
    page = Page("z", is_last=True, checked=5000, behind=1, unanswered=3, found=found)
    assert statement(page) == (
        f"{PROOF} 5,000 products, but for 6: 2 differed (1 repaired since), 1 not delivered yet, "
        "3 without an answer"
    )


def test_pages_add_up() -> None:
    first = Page("m", is_last=False, checked=2, behind=1, found=(an_example(1),))
    last = Page("z", is_last=True, checked=3, unanswered=1, found=(an_example(2, repaired=False),))
    run = RUN.with_page(first, START).with_page(last, END)
    assert (run.checked, run.behind, run.unanswered, run.repaired) == (5, 1, 1, 1)
    assert run.differences == {Difference.OLDER: 2}
    assert [example.id for example in run.examples] == ["001", "002"]


def test_an_empty_catalog_is_proved_at_once() -> None:
    assert statement(Page(None, is_last=True)) == f"{PROOF} 0 products"


def test_the_first_examples_are_kept_and_all_are_counted() -> None:
    found = tuple(an_example(number) for number in range(EXAMPLES + 20))
    run = RUN.with_page(Page("z", is_last=True, found=found), END)
    assert (len(run.examples), run.found) == (EXAMPLES, EXAMPLES + 20)
    assert run.examples[0].id == "000"


def test_a_page_without_any_answer_comes_again_but_not_for_ever() -> None:
    page, run = Page("m", is_last=False, checked=2, unanswered=2, silent=True), RUN
    for _ in range(SILENT_PAGES - 1):
        run = run.with_page(page, START)
        assert (run.position, run.unanswered) == (None, 0)
    run = run.with_page(page, START)
    assert (run.position, run.unanswered, run.silent) == ("m", 2, 0)


def test_a_run_that_has_ended_becomes_the_last_one() -> None:
    ended = STATE.with_page(RUN, Page("z", is_last=True), END)
    assert ended.run is None
    assert ended.last is not None
    assert ended.last.finished_at == END


def test_of_two_copies_that_made_the_same_page_one_counts() -> None:
    page = Page("m", is_last=False, checked=2, found=(an_example(repaired=False),))
    once = STATE.with_page(RUN, page, START)
    assert once.with_page(RUN, page, START) == once


def test_what_the_other_copy_has_repaired_is_counted_too() -> None:
    page = Page("m", is_last=False, checked=2)
    run = (
        STATE.with_page(RUN, page, START)
        .with_page(RUN, replace(page, found=(an_example(1), an_example(2, repaired=False))), START)
        .run
    )
    assert run is not None
    assert (run.checked, run.repaired, run.found) == (2, 1, 1)


def test_a_page_of_a_run_that_is_over_is_ignored() -> None:
    later = replace(STATE, run=replace(RUN, started_at=END))
    assert later.with_page(RUN, Page("m", is_last=False, checked=2), END) == later


def test_a_walk_of_the_rolling_audit_begins_with_its_first_page() -> None:
    state = AuditState().with_page(RUN, Page("m", is_last=False, checked=2), START, rolling=True)
    assert state.rolling is not None
    assert (state.rolling.checked, state.run) == (2, None)


def test_a_walk_that_another_copy_has_ended_does_not_begin_again() -> None:
    page = Page("z", is_last=True, checked=2)
    ended = AuditState().with_page(RUN, page, END, rolling=True)
    assert ended.rolling is None
    assert ended.with_page(RUN, page, END, rolling=True) == ended


def many(count: int, *, repaired: bool = False) -> tuple[Example, ...]:
    return tuple(an_example(number, repaired=repaired) for number in range(count))


def test_what_is_no_example_and_not_repaired_is_counted() -> None:
    assert RUN.with_found(many(EXAMPLES + 20)).unlisted == 20
    assert RUN.with_found(many(EXAMPLES + 20, repaired=True)).unlisted == 0
    assert RUN.with_found(many(3)).unlisted == 0


def test_a_full_audit_that_ends_ends_what_others_found_before() -> None:
    walk = replace(RUN, started_by="reconcile").with_found(many(EXAMPLES + 20))
    state = AuditState(run=replace(RUN, started_at=END), rolling=walk, rolled=walk)
    assert state.run is not None
    first = state.with_page(state.run, Page("m", is_last=False, checked=2), END)
    assert (first.rolling, first.rolled) == (walk, walk)
    assert first.run is not None
    done = first.with_page(first.run, Page("z", is_last=True), END)
    for run in (done.rolling, done.rolled):
        assert run is not None
        assert (run.unlisted, run.found) == (0, EXAMPLES + 20)
        assert all(example.ended for example in run.examples)


def test_a_walk_that_goes_on_after_a_full_audit_counts_what_it_finds_then() -> None:
    walk = RUN.with_found(many(EXAMPLES + 20)).followed_by(replace(RUN, started_at=END))
    assert walk.with_found(many(3)).unlisted == 3


def test_a_later_comparison_that_finds_a_product_right_ends_its_examples() -> None:
    found = RUN.with_found(many(2))
    state = AuditState(rolling=found, last=found)
    page = Page("z", is_last=False, checked=1, right=frozenset({"000"}))
    done = state.with_page(found, page, END, rolling=True)
    for run in (done.rolling, done.last):
        assert run is not None
        assert [example.ended for example in run.examples] == [True, False]
