"""Steps are taken in order, whatever comes of one; and what waits gives up in time."""

from __future__ import annotations

import pytest

from tools.verify_deployment.steps import (
    FailedError,
    NotCheckedError,
    Outcome,
    Patience,
    Result,
    Step,
    document,
    exit_code,
    take,
)


def failing() -> str:
    raise FailedError("it is broken")


def unready() -> str:
    raise NotCheckedError("needs a thing")


STEPS = [Step("one", failing), Step("two", unready), Step("three", lambda: "all is well")]


def results(*values: Result) -> list[Outcome]:
    return [Outcome("a step", value, "", 0) for value in values]


def test_a_step_that_fails_stops_none_of_the_others() -> None:
    taken = list(take(STEPS))
    assert [(it.step, it.result, it.said) for it in taken] == [
        ("one", "failed", "it is broken"),
        ("two", "not checked", "needs a thing"),
        ("three", "ok", "all is well"),
    ]
    assert str(taken[0]).split(maxsplit=4) == ["failed", "one", "0.00", "s", "it is broken"]


def test_programs_get_every_outcome() -> None:
    told = document("https://it/api", take(STEPS))
    assert (told["api"], told["ok"]) == ("https://it/api", False)
    assert told["steps"][1] == {
        "step": "two",
        "result": "not checked",
        "said": "needs a thing",
        "seconds": 0,
    }


@pytest.mark.parametrize(
    ("found", "lax", "strict"),
    [
        ([Result.OK], 0, 0),
        ([Result.OK, Result.NOT_CHECKED], 0, 3),
        ([Result.NOT_CHECKED, Result.FAILED], 1, 1),
    ],
)
def test_the_exit_code_tells_what_is_wrong(found: list[Result], lax: int, strict: int) -> None:
    assert exit_code(results(*found), strict=False) == lax
    assert exit_code(results(*found), strict=True) == strict


def test_it_waits_until_there_is_something_or_the_time_is_over() -> None:
    now = [0.0]

    def pause(seconds: float) -> None:
        now[0] += seconds

    patience = Patience(5, clock=lambda: now[0], pause=pause)
    assert patience.until(lambda: now[0] if now[0] > 2 else None, lambda: "") == 3
    with pytest.raises(FailedError, match=r"it did not come \(waited 5 s\)"):
        patience.until(lambda: None, lambda: "it did not come")
    assert now[0] == 8
    with pytest.raises(FailedError, match=r"waited 2 s"):
        patience.at_most(2).until(lambda: None, lambda: "it did not come")
    assert now[0] == 10
    assert patience.at_most(60).seconds == 5
