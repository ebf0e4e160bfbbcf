"""What a step is, how steps are taken one after the other, and how their outcomes are told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeVar

_T = TypeVar("_T")
Json = dict[str, Any]


class FailedError(Exception):
    """The deployment is not as it must be; the text says what is wrong."""


class NotCheckedError(Exception):
    """The step was not taken; the text says what it needs."""


class Result(StrEnum):
    """How a step has ended."""

    OK = "ok"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Step:
    """A name, and what is done: it gives a sentence, or raises one of the errors above."""

    name: str
    take: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step has ended, in a sentence, and how long it took."""

    step: str
    result: Result
    said: str
    seconds: float

    def __str__(self) -> str:
        """Write a line for people."""
        return f"{self.result:12} {self.step:16} {self.seconds:7.2f} s  {self.said}"


def take(steps: Iterable[Step]) -> Iterator[Outcome]:
    """Take the steps in order; one that fails stops none of the others."""
    for step in steps:
        began = time.monotonic()
        try:
            result, said = Result.OK, step.take()
        except FailedError as error:
            result, said = Result.FAILED, str(error)
        except NotCheckedError as error:
            result, said = Result.NOT_CHECKED, str(error)
        yield Outcome(step.name, result, said, round(time.monotonic() - began, 2))


def exit_code(outcomes: Iterable[Outcome], *, strict: bool) -> int:
    """Give 0, 1 if a step has failed, 3 if with `strict` one was not taken."""
    results = {outcome.result for outcome in outcomes}
    if Result.FAILED in results:
        return 1
    return 3 if strict and Result.NOT_CHECKED in results else 0


def document(address: str, outcomes: Iterable[Outcome]) -> Json:
    """Give all outcomes for programs."""
    steps = [asdict(outcome) for outcome in outcomes]
    return {
        "api": address,
        "ok": all(it["result"] != Result.FAILED for it in steps),
        "steps": steps,
    }


class Patience:
    """How long a step waits for what happens later, and how often it looks."""

    def __init__(
        self,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.seconds = seconds
        self._clock = clock
        self._pause = pause

    def at_most(self, seconds: float) -> Patience:
        """Wait no longer than this, for what comes at once or not at all."""
        return Patience(min(seconds, self.seconds), clock=self._clock, pause=self._pause)

    def until(self, look: Callable[[], _T | None], late: Callable[[], str]) -> _T:
        """Look until there is something, and give it. Raises FailedError with what `late` says."""
        deadline = self._clock() + self.seconds
        while (found := look()) is None:
            if self._clock() >= deadline:
                raise FailedError(f"{late()} (waited {self.seconds:.0f} s)")
            self._pause(1.0)
        return found
