"""Work for several items in parallel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Protocol, TypeVar

from chalicelib import telemetry

Item = TypeVar("Item")
Result = TypeVar("Result")

TOGETHER_SECONDS = 0.02
"""How long a finished call waits for others of its batch, to be recorded with them.

A bulk write of ten results costs little more than one of one. The calls of a batch begin together,
and most take about the same time."""


class Parallel(Protocol):
    """Does work for several items in parallel."""

    def __call__(
        self, work: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[list[tuple[Item, Result]]]:
        """Give what is finished, as it comes: groups of items with their results.

        Each item is in one group. A slow item delays no other group.
        """


class InThreads:
    """Uses a thread for each item, and keeps the threads for the next items.

    A call must not wait for a thread while its lease runs, so `threads` is more than a process
    makes calls at a time.
    """

    def __init__(self, threads: int = 1000) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="call")

    def __call__(
        self, work: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[list[tuple[Item, Result]]]:
        """Give groups as `Parallel` does. A single item is done in the caller's own thread."""
        if len(items) == 1:
            with telemetry.waiting():
                result = work(items[0])
            yield [(items[0], result)]
            return
        done: SimpleQueue[tuple[Item, Future[Result]]] = SimpleQueue()
        for item in items:
            future = self._pool.submit(work, item)
            future.add_done_callback(lambda future, item=item: done.put((item, future)))  # type: ignore[misc]  # bound per turn
        missing = len(items)
        while missing:
            with telemetry.waiting():
                group = _gather(done, missing, TOGETHER_SECONDS)
            missing -= len(group)
            yield [(item, future.result()) for item, future in group]


def _gather(queue: SimpleQueue[Item], limit: int, seconds: float) -> list[Item]:
    """Wait for an item, then for others: until there are `limit`, at most `seconds` long."""
    items = [queue.get()]
    end = time.monotonic() + seconds
    while len(items) < limit:
        try:
            items.append(queue.get(timeout=max(0.0, end - time.monotonic())))
        except Empty:
            break
    return items
