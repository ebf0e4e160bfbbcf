"""The dependencies are asked once in a few seconds, however many want to know."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from chalicelib.usecases.readiness import BAD_SECONDS, GOOD_SECONDS, PATIENCE_SECONDS, Readiness
from tests.support import eventually


class Dependency:
    """Answers, fails or hangs; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.away = False
        self.hanging = threading.Event()
        self.hanging.set()

    def __call__(self) -> None:
        self.asked += 1
        self.hanging.wait(10)
        if self.away:
            raise OSError


class Clock:
    """Seconds, which pass when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def dependency() -> Dependency:
    return Dependency()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def readiness(dependency: Dependency, clock: Clock) -> Readiness:
    return Readiness({"nats": dependency}, clock=clock)


def test_a_good_answer_holds_for_some_seconds_and_says_its_age(
    readiness: Readiness, dependency: Dependency, clock: Clock
) -> None:
    assert readiness.states() == ({"nats": "ok"}, 0.0)
    clock.now = GOOD_SECONDS - 0.5
    assert readiness.states() == ({"nats": "ok"}, GOOD_SECONDS - 0.5)
    assert dependency.asked == 1

    clock.now = GOOD_SECONDS
    assert readiness.states() == ({"nats": "ok"}, 0.0)
    assert dependency.asked == 2


def test_a_bad_answer_holds_for_a_shorter_time(
    readiness: Readiness, dependency: Dependency, clock: Clock
) -> None:
    dependency.away = True
    assert readiness.states()[0] == {"nats": "unreachable"}
    dependency.away = False
    clock.now = BAD_SECONDS - 0.1
    assert readiness.states()[0] == {"nats": "unreachable"}

    clock.now = BAD_SECONDS
    assert readiness.states()[0] == {"nats": "ok"}
    assert BAD_SECONDS < GOOD_SECONDS


def test_many_who_ask_at_the_same_time_share_one_check(
    readiness: Readiness, dependency: Dependency
) -> None:
    dependency.hanging.clear()
    with ThreadPoolExecutor(20) as threads:
        answers = [threads.submit(readiness.states) for _ in range(20)]
        eventually(lambda: dependency.asked)
        dependency.hanging.set()

    assert [answer.result()[0] for answer in answers] == [{"nats": "ok"}] * 20
    assert dependency.asked == 1


def test_while_a_dependency_hangs_others_get_the_last_answer_at_once(
    readiness: Readiness, dependency: Dependency, clock: Clock
) -> None:
    readiness.states()
    clock.now = GOOD_SECONDS
    dependency.hanging.clear()
    with ThreadPoolExecutor(1) as threads:
        hanging = threads.submit(readiness.states)
        eventually(lambda: dependency.asked == 2)

        assert readiness.states() == ({"nats": "ok"}, GOOD_SECONDS)
        assert not hanging.done()
        dependency.hanging.set()


def test_an_answer_of_long_ago_is_not_given(
    readiness: Readiness, dependency: Dependency, clock: Clock
) -> None:
    readiness.states()
    clock.now = GOOD_SECONDS + PATIENCE_SECONDS
    dependency.hanging.clear()
    dependency.away = True
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(readiness.states) for _ in range(2)]
        eventually(lambda: dependency.asked == 2)
        dependency.hanging.set()

    assert [answer.result()[0] for answer in both] == [{"nats": "unreachable"}] * 2
    assert dependency.asked == 2
