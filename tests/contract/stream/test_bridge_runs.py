"""Runs of the bridge one after the other, as EventBridge starts them, on a real NATS server."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.times import now_utc
from chalicelib.usecases.bridge import Bridge
from functions.bridge import RESERVE_SECONDS
from tests.contract.stream.steps import an_event
from tests.fakes import FakeQueue
from tests.support import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from chalicelib.adapters.jetstream import JetStream
    from chalicelib.domain.events import Event
    from chalicelib.domain.messages import SyncMessage

VARIABLES = Path(__file__).parents[3] / "terraform/modules/catalog/variables.tf"
MINUTE = 3.0
"""Seconds between two runs, in this test."""
LATE = (0.0, 1.0, 0.0)
"""Seconds by which EventBridge starts each run too late."""
PATIENCE = 0.8
"""Seconds that an event may wait, on a busy machine; usually it is a hundredth of that."""


def run_seconds() -> float:
    """How long a run of the deployed function pulls, in minutes of this test."""
    bridge = re.search(r"bridge += .*timeout = optional\(number, (\d+)\)", VARIABLES.read_text())
    assert bridge
    return (float(bridge[1]) - RESERVE_SECONDS) / 60 * MINUTE


def a_change() -> Event:
    """An event that the bridge forwards."""
    return an_event(data='{"id":"x","version":0}')


class TimedQueue(FakeQueue):
    """Notes when the message of each event was sent."""

    def __init__(self) -> None:
        super().__init__(now_utc)
        self.sent: list[tuple[str | None, float]] = []

    def enqueue(self, messages: Sequence[SyncMessage]) -> list[SyncMessage]:
        self.sent += [(message.event_id, time.monotonic()) for message in messages]
        return list(messages)


class Runs:
    """The runs of a function, each in a thread and with a connection of its own."""

    def __init__(self, open_stream: Callable[[], JetStream], queue: TimedQueue) -> None:
        self._begun = time.monotonic()
        self._open_stream = open_stream
        self._queue = queue
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(len(LATE))]
        self._stopping = threading.Event()
        self.forwarded: list[int] = []
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        starts = self._begun + number * MINUTE + LATE[number]
        if self._stopping.wait(max(0.0, starts - time.monotonic())):
            return
        done = Bridge(self._open_stream(), self._queue).drain(
            lambda: 0.0 if self._stopping.is_set() else starts + run_seconds() - time.monotonic()
        )
        self.forwarded.append(done.forwarded)

    def until_the_last_ends(self, reserve: float) -> Iterator[None]:
        """Count the hundredths of a second until then."""
        ends = self._begun + (len(LATE) - 1) * MINUTE + LATE[-1] + run_seconds() - reserve
        while time.monotonic() < ends:
            yield
            time.sleep(0.01)

    def stop(self) -> None:
        """Let no run outlive its test: it would make the stream again that the test has removed."""
        self._stopping.set()
        self.join()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


@pytest.fixture
def queue() -> TimedQueue:
    return TimedQueue()


@pytest.fixture
def begin_runs(
    open_stream: Callable[[], JetStream], queue: TimedQueue
) -> Iterator[Callable[[], Runs]]:
    begun: list[Runs] = []

    def begin() -> Runs:
        begun.append(Runs(open_stream, queue))
        return begun[-1]

    yield begin
    for runs in begun:
        runs.stop()


def test_events_wait_for_no_run_of_the_bridge_and_each_is_enqueued_once(
    open_stream: Callable[[], JetStream], begin_runs: Callable[[], Runs], queue: TimedQueue
) -> None:
    publisher, published = open_stream(), {}
    publisher.ping()
    runs = begin_runs()
    publisher.publish([first := a_change()])
    eventually(lambda: queue.sent, message="the first run has begun")

    for _ in runs.until_the_last_ends(PATIENCE):
        event = a_change()
        published[event.id] = time.monotonic()
        publisher.publish([event])
    runs.join()

    assert Counter(event for event, _ in queue.sent) == Counter([first.id, *published])
    assert max(at - published[event] for event, at in queue.sent if event in published) < PATIENCE
    assert len([number for number in runs.forwarded if number]) == len(LATE)
