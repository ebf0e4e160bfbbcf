"""The virtual clock, and the processes that run on it, one at a time, in the order of their times.

A process crashes as a whole: each of its tasks ends at its next step, and no clean-up of theirs has
any effect. A task is a greenlet, so that the real, blocking code of the use cases runs unchanged.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TypeVar

from greenlet import getcurrent, greenlet

START = datetime(2026, 1, 1, tzinfo=UTC)
TOGETHER_SECONDS = (0.0, 0.02, 1.0)
"""How long finished work waits for other work of its batch; none, and very long, are among them."""
Item = TypeVar("Item")
Result = TypeVar("Result")


class Crashed(BaseException):
    """The process has ended. Not an Exception, so that no code can handle it."""


@dataclass
class Process:
    """Tasks that crash together. `skew`: error of the process's clock, in seconds."""

    name: str
    skew: float = 0.0
    dead: bool = False
    when_crashed: Callable[[], None] = lambda: None
    tasks: list[greenlet] = field(default_factory=list)


class Scheduler:
    """Runs tasks in the order of their times; `now` is the true time in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._hub = getcurrent()
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, greenlet]] = []
        self._owner: dict[greenlet, Process] = {}
        self._waiting: dict[str, list[tuple[greenlet, int]]] = {}
        self._wake: dict[greenlet, int] = {}

    # ---- for whoever runs the simulation ----

    def spawn(self, process: Process, work: Callable[[], object], after: float = 0.0) -> None:
        """Start a task of a process, `after` seconds from now."""

        def run() -> None:
            try:
                work()
            except Crashed:
                return
            finally:
                process.tasks.remove(task)
                del self._owner[task]

        task = greenlet(run, parent=self._hub)
        self._owner[task] = process
        process.tasks.append(task)
        self._at(self.now + after, task)

    def crash(self, process: Process) -> None:
        """End a process: its tasks do not go on after their current step."""
        process.dead = True
        process.when_crashed()
        for task in process.tasks:
            if task is not getcurrent():
                self._at(self.now, task)

    def run(self, until: float) -> None:
        """Run tasks until the time `until`, or until none is left."""
        while self._due and self._due[0][0] <= until:
            time, number, task = heapq.heappop(self._due)
            if self._wake.get(task) != number or task.dead:
                continue
            self.now = max(self.now, time)
            del self._wake[task]
            task.switch()
        self.now = max(self.now, until)

    # ---- for the tasks ----

    @property
    def process(self) -> Process:
        """The process of the task that runs."""
        return self._owner[getcurrent()]

    def sleep(self, seconds: float) -> None:
        """Let other tasks run for `seconds`. Raises Crashed if the process ends meanwhile."""
        process = self.process
        if not process.dead:
            self._at(self.now + seconds, getcurrent())
            self._hub.switch()
        if process.dead:
            raise Crashed

    def wait(self, name: str, seconds: float) -> None:
        """Sleep until `name` is notified, at most for `seconds`."""
        task = getcurrent()
        self._at(self.now + seconds, task)
        self._waiting.setdefault(name, []).append((task, self._wake[task]))
        process = self.process
        self._hub.switch()
        if process.dead:
            raise Crashed

    def notify(self, name: str) -> None:
        """Wake the tasks that wait for `name`."""
        for task, number in self._waiting.pop(name, []):
            if self._wake.get(task) == number:
                self._at(self.now, task)

    def in_parallel(
        self,
        work: Callable[[Item], Result],
        items: Sequence[Item],
        random: Random,
    ) -> Iterator[list[tuple[Item, Result]]]:
        """Do work for each item, each as a task of this process; groups as they come, in any order.

        `random` decides how long a finished one waits for others. Raises what the work has raised.
        """
        process, name = self.process, f"parallel {next(self._numbers)}"
        done: list[tuple[Item, Result]] = []
        errors: list[Exception] = []

        def one(item: Item) -> None:
            try:
                done.append((item, work(item)))
            except Exception as error:  # noqa: BLE001 - raised by whoever takes the results
                errors.append(error)
            self.notify(name)

        for item in items:
            self.spawn(process, lambda item=item: one(item))  # type: ignore[misc]  # bound per turn
        missing = len(items)
        while missing:
            if errors:
                raise errors[0]
            if not done:
                self.wait(name, 3600.0)
                continue
            self.sleep(random.choice(TOGETHER_SECONDS))
            group, done[:] = done[:], []
            random.shuffle(group)
            missing -= len(group)
            yield group

    def clock(self, process: Process) -> Callable[[], datetime]:
        """The clock of a process, to the millisecond."""
        return lambda: moment(self.now + process.skew)

    def _at(self, time: float, task: greenlet) -> None:
        # Only the newest call decides when a task continues: older entries are skipped.
        number = next(self._numbers)
        self._wake[task] = number
        heapq.heappush(self._due, (time, number, task))


def seconds(time: datetime) -> float:
    """Give the true time of a datetime, in seconds."""
    return (time - START).total_seconds()


def moment(seconds: float) -> datetime:
    """The true time as a datetime, to the millisecond."""
    return START + timedelta(milliseconds=round(seconds * 1000))
