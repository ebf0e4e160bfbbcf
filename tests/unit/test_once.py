"""A value that is made once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from chalicelib.adapters.once import Once


def test_threads_that_begin_together_get_the_same_value() -> None:
    begin = threading.Barrier(8)

    def make() -> object:
        # Long enough for the others to come.
        time.sleep(0.05)
        return object()

    once = Once(make)

    def use(_: int) -> object:
        begin.wait()
        return once()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(map(id, pool.map(use, range(8))))) == 1


def test_what_could_not_be_made_is_tried_anew() -> None:
    answers = iter([ValueError("not yet"), "made"])

    def make() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    once = Once(make)
    with pytest.raises(ValueError, match="not yet"):
        once()

    assert once() == "made"
    assert once() == "made"
