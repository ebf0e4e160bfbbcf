"""The container host: runs the same handlers where there is no Lambda.

    python -m functions.run [--heartbeat FILE] api|bridge|sync|reconcile

It does what AWS does around them: serves the app as API Gateway does, long-polls SQS and deletes
the messages that a batch response does not name, and calls the scheduled functions periodically.
After SIGTERM or SIGINT each role finishes its current work, and the process exits with 0.
FILE is the heartbeat for `functions.alive`, the health check of containers.
"""

from __future__ import annotations

import argparse
import importlib
import math
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol, Self, TypeVar

from chalicelib import telemetry
from chalicelib.bootstrap import Container, container
from chalicelib.domain.errors import CatalogError
from chalicelib.settings import SettingsError

Result = TypeVar("Result")
Records = list[dict[str, Any]]
Handler = Callable[[dict[str, Any], "HostContext"], dict[str, Any]]

PARALLEL = 2
"""Batches that a sync process handles in parallel, apart from slow ones.

Two keep it busy: one waits for answers while the other is prepared. With more, each is smaller."""
BATCHES = 48
"""Threads that receive and handle batches, slow ones included.

If one call in twenty hangs for 10 s, so do four in ten batches of ten: that leaves 12 a second."""
BULK_PARALLEL = 1
BULK_BATCHES = 24
"""The same for bulk messages: they never use a whole process, so single changes need not wait."""
BULK_POLLERS = 1
"""Long polls of the bulk queue at a time. One is enough, since nobody waits for a bulk message."""
SLOW_SECONDS = 0.25
"""A batch that has waited this long for its calls does not count as in hand. Its reads and writes
do count: with more batches a busy store would be slower still."""
HUNG_SECONDS = 10.0
"""A batch that takes longer, whatever it does, does not count either: something does not answer."""
LONG_POLL_SECONDS = 3
"""Seconds. Short for a long poll, since a stopping process waits for it."""
SPREAD_SECONDS = 0.02
DELETED_AT_ONCE = 10
"""As many as SQS deletes with one request."""
DELETE_SECONDS = 0.2
"""How long a message waits to be deleted together with others. Far below a visibility timeout."""
RUN_SECONDS = 60
"""How many seconds a scheduled function may run, as on Lambda."""
AWAY_SECONDS = 1.0
LOOK_SECONDS = 1.0
"""Between two looks whether an outage or a pause has ended, which reconcile should not wait for."""

stopping = threading.Event()


class HostContext:
    """Lambda's context of a run; no time is left when the host is stopping."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the run is cut off."""
        left = 0.0 if stopping.is_set() else self._deadline - time.monotonic()
        return max(0, int(left * 1000))


class Heartbeat:
    """The file that `functions.alive` checks; none unless the command line names one."""

    path: Path | None = None

    def beat(self, address: str = "") -> None:
        """Touch the file, or write the API's address into it."""
        if self.path is None:
            return
        try:
            self.path.write_text(address)
        except OSError as error:
            # The health check will restart the process; until then it works on.
            telemetry.log.warning("no heartbeat", reason=str(error))


heartbeat = Heartbeat()


def load(name: str) -> Handler:
    """Find a handler by its name, as Lambda does."""
    module, _, attribute = name.rpartition(".")
    handler: Handler = getattr(importlib.import_module(module), attribute)
    return handler


def run_api(parts: Container) -> None:
    """Serve the Chalice app under `/api` until told to stop (gunicorn handles the signals)."""
    from functions.server import serve  # noqa: PLC0415 - only this role has gunicorn

    settings = parts.settings
    host, port = settings.api_host, settings.api_port
    if stopping.is_set():
        # The signal came before gunicorn had installed its handlers.
        return
    heartbeat.beat(f"{'127.0.0.1' if host == '0.0.0.0' else host}:{port}")  # noqa: S104 - compared
    serve(host, port, settings.metrics_port)


def run_bridge(_: Container) -> None:
    """Forward events until told to stop."""
    handler = load("functions.bridge.handler")
    while not stopping.is_set():
        _survive(lambda: handler({}, HostContext(RUN_SECONDS)))


def run_reconcile(parts: Container) -> None:
    """Reconcile every minute; more often if the grace is shorter than 5 minutes.

    And at once after an outage or a pause: what waits is then brought forward.
    """
    handler = load("functions.reconcile.handler")
    interval = min(60.0, max(1.0, parts.settings.reconcile_grace / 5))
    while not stopping.is_set():
        _survive(lambda: handler({}, HostContext(RUN_SECONDS)))
        _rest(interval)


def _rest(seconds: float) -> None:
    """Wait for `seconds`, or until a run is needed at once, or the host stops."""
    looks = math.ceil(seconds / LOOK_SECONDS)
    for _ in range(looks):
        if stopping.wait(seconds / looks) or _survive(_is_needed):
            return


def _is_needed() -> bool:
    # Asked for each time: there is a new container after the secrets have been rotated.
    return container().reconcile.is_needed()


def run_sync(parts: Container) -> None:
    """Receive and handle batches of both queues, each in its own threads, until told to stop."""
    handler = load("functions.sync.handler")
    turns = Turns(parts.settings.sync_pollers, PARALLEL)
    bulk = None
    if parts.bulk_queue is not None:
        own_turns = Turns(BULK_POLLERS, BULK_PARALLEL)
        own = (parts.bulk_queue, own_turns, BULK_BATCHES, handler, _write_notes)
        bulk = threading.Thread(target=consume, args=own, name="bulk")
        bulk.start()
    consume(parts.queue, turns, BATCHES, handler, _write_notes)
    if bulk is not None:
        bulk.join()
    container().activity.write()


def _write_notes() -> None:
    # Asked for each time: there is a new container after the secrets have been rotated.
    parts = container()
    parts.admissions.write_if_due()
    parts.activity.write_if_due()


class Source(Protocol):
    """A queue, as its consumer sees it."""

    def receive_records(self, wait: int) -> Records:
        """Long-poll up to `wait` seconds; records of a Lambda event."""

    def delete(self, receipts: Sequence[str]) -> None:
        """Remove these."""


def consume(
    queue: Source, turns: Turns, batches: int, handler: Handler, idle: Callable[[], None]
) -> None:
    """Receive from a queue, with up to `batches` threads, until told to stop.

    `idle` is called when nothing came: no batch may follow soon.
    """
    with Deletions(queue.delete) as deletions:

        def work() -> None:
            while not stopping.is_set():
                with turns.receiving():
                    records = receive(queue)
                if records:
                    with turns.handling():
                        _survive(partial(handle, records, handler, deletions.add))
                else:
                    idle()

        threads = [threading.Thread(target=work, name=f"batch-{n}") for n in range(batches)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


class Turns:
    """Says when a thread may receive from a queue: `pollers` at a time.

    While `parallel` batches are in hand no receive begins: what arrives waits in the queue, and the
    next batches are larger, which costs less. A batch that only waits does not count (`Batch`), so
    that slow calls do not keep the others waiting.
    """

    def __init__(self, pollers: int, parallel: int) -> None:
        self._pollers = pollers
        self._parallel = parallel
        self._door = threading.Lock()
        self._changed = threading.Condition()
        self._receiving = 0
        self._in_hand: list[Batch] = []

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Wait for a turn, or until the host stops; it ends with the block."""
        # One thread at a time waits for a change, so that a change wakes only one.
        with self._door, self._changed:
            while not (stopping.is_set() or self._may_receive()):
                self._changed.wait(SLOW_SECONDS)
            self._receiving += 1
        try:
            yield
        finally:
            with self._changed:
                self._receiving -= 1
                self._changed.notify()

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Count a batch as in hand during the block."""
        batch = Batch()
        with self._changed:
            self._in_hand.append(batch)
        outer = telemetry.while_waiting.set(batch.waiting)
        try:
            yield
        finally:
            telemetry.while_waiting.reset(outer)
            with self._changed:
                self._in_hand.remove(batch)
                self._changed.notify()

    def _may_receive(self) -> bool:
        in_hand = sum(batch.counts for batch in self._in_hand)
        return self._receiving < self._pollers and in_hand < self._parallel


class Batch:
    """A batch in hand, which counts unless it only waits."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._waiting_since = math.inf
        self._waited = 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait for the supply chain or the stream during the block; several waits add up."""
        self._waiting_since = since = time.monotonic()
        try:
            yield
        finally:
            self._waiting_since = math.inf
            self._waited += time.monotonic() - since

    @property
    def counts(self) -> bool:
        """Whether it keeps another batch from being received."""
        # Read once: its thread goes on meanwhile.
        since, now = self._waiting_since, time.monotonic()
        slow = since < math.inf and self._waited + now - since >= SLOW_SECONDS
        return not slow and now - self._begun < HUNG_SECONDS


def receive(queue: Source) -> Records:
    """Long-poll for a batch; empty if nothing came or the host stops."""
    # Pollers that wait in step would all look for a message at the same moments.
    if stopping.wait(random.uniform(0, SPREAD_SECONDS)):  # noqa: S311 - not a secret
        return []
    return _survive(lambda: queue.receive_records(LONG_POLL_SECONDS)) or []


def handle(records: Records, handler: Handler, delete: Callable[[Sequence[str]], None]) -> None:
    """Handle and delete messages, as Lambda's event source mapping does."""
    answer = handler({"Records": records}, HostContext(RUN_SECONDS))
    kept = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
    delete([record["receiptHandle"] for record in records if record["messageId"] not in kept])


class Deletions:
    """Deletes the messages of several batches together, since each request costs much.

    They wait DELETE_SECONDS at most. A message that is visible again before that, or whose deletion
    fails, is received again and acknowledged as a duplicate.
    """

    def __init__(self, delete: Callable[[Sequence[str]], None]) -> None:
        self._delete = delete
        self._receipts: SimpleQueue[str] = SimpleQueue()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="deletions")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Delete what is left."""
        self._end.set()
        self._thread.join()

    def add(self, receipts: Sequence[str]) -> None:
        """Delete these soon."""
        for receipt in receipts:
            self._receipts.put(receipt)

    def _run(self) -> None:
        ended = False
        while not ended:
            ended = self._end.wait(DELETE_SECONDS)
            # Only what is there now: what comes meanwhile waits for others again.
            waiting = [self._receipts.get() for _ in range(self._receipts.qsize())]
            for start in range(0, len(waiting), DELETED_AT_ONCE):
                _survive(partial(self._delete, waiting[start : start + DELETED_AT_ONCE]))


def _survive(step: Callable[[], Result]) -> Result | None:
    """Do one step; neither a dependency that is away nor a bug ends the process."""
    heartbeat.beat()
    try:
        return step()
    except CatalogError as error:
        telemetry.log.warning("a dependency is away", reason=str(error))
    except Exception:  # noqa: BLE001 - logged; the next message may be a good one
        telemetry.log.exception("the handler failed")
    telemetry.count(handler_failed=1)
    stopping.wait(AWAY_SECONDS)
    return None


def _with_metrics(role: str, run: Callable[[Container], None], parts: Container) -> None:
    """Run a role of one process, and serve its metrics meanwhile if they have a port."""
    host, port = parts.settings.api_host, parts.settings.metrics_port
    if port is None:
        run(parts)
        return
    from functions.exporter import serve  # noqa: PLC0415 - only where metrics are served

    try:
        end = serve(role, host, port)
    except OSError as error:
        raise SettingsError(f"METRICS_PORT: {host}:{port} cannot be listened on: {error}") from None
    try:
        run(parts)
    finally:
        end()


ROLES: dict[str, Callable[[Container], None]] = {
    "api": run_api,
    "bridge": partial(_with_metrics, "bridge", run_bridge),
    "sync": partial(_with_metrics, "sync", run_sync),
    "reconcile": partial(_with_metrics, "reconcile", run_reconcile),
}


def main() -> int:
    """Run one role until SIGTERM or SIGINT; 2 if the settings are not usable."""
    parser = argparse.ArgumentParser(description="Run one role of the product catalog.")
    parser.add_argument("role", choices=sorted(ROLES))
    parser.add_argument("--heartbeat", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    heartbeat.path = arguments.heartbeat
    # First of all: without a handler, process 1 of a container ignores SIGTERM.
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stopping.set())
    try:
        ROLES[arguments.role](container())
    except SettingsError as error:
        print(f"settings: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
