"""The parts of a container: made at their first use, once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chalicelib.bootstrap import SQS_ANSWER_SECONDS, Container, Part, _sqs_client
from chalicelib.settings import read_settings
from functions.run import LONG_POLL_SECONDS
from tests.unit.conftest import ENVIRONMENT

THREADS = 8


class OfTwoParts(Container):
    """A container whose parts take long to make, as an import does."""

    made = 0
    fails = False

    @Part
    def slow(self) -> object:
        self.made += 1
        time.sleep(0.05)
        if self.fails:
            raise OSError("not today")
        return object()

    @Part
    def outer(self) -> list[object]:
        return [self.slow]


@pytest.fixture
def container() -> OfTwoParts:
    return OfTwoParts(read_settings(ENVIRONMENT))


def test_threads_that_ask_at_the_same_time_get_the_same_part(container: OfTwoParts) -> None:
    together = threading.Barrier(THREADS)

    def ask(number: int) -> object:
        together.wait()
        return container.outer[0] if number % 2 else container.slow

    with ThreadPoolExecutor(THREADS) as pool:
        parts = list(pool.map(ask, range(THREADS)))

    assert container.made == 1
    assert all(part is parts[0] for part in parts)


def test_a_part_that_could_not_be_made_is_made_at_the_next_use(container: OfTwoParts) -> None:
    container.fails = True
    with pytest.raises(OSError, match="not today"):
        _ = container.slow
    container.fails = False

    assert container.slow is container.slow
    assert container.made == 2


def test_sqs_may_answer_after_a_long_poll_and_all_tries_end_before_the_gateway_gives_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    config: Any = _sqs_client().meta.config
    assert config.read_timeout == SQS_ANSWER_SECONDS > LONG_POLL_SECONDS + 2
    assert config.retries["total_max_attempts"] * SQS_ANSWER_SECONDS < 29
