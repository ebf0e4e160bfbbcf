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
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chalicelib import telemetry
from chalicelib.bootstrap import Container, container
from chalicelib.domain.errors import CatalogError
from chalicelib.settings import SettingsError

Handler = Callable[[dict[str, Any], "HostContext"], dict[str, Any]]

POLLERS = 4
"""Batches of messages that one sync process handles in parallel."""
LONG_POLL_SECONDS = 3
"""Seconds. Short for a long poll, since a stopping process waits for it."""
RUN_SECONDS = 60
"""How many seconds a scheduled function may run, as on Lambda."""
AWAY_SECONDS = 1.0

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

    host, port = parts.settings.api_host, parts.settings.api_port
    if stopping.is_set():
        # The signal came before gunicorn had installed its handlers.
        return
    heartbeat.beat(f"{'127.0.0.1' if host == '0.0.0.0' else host}:{port}")  # noqa: S104 - compared
    serve(host, port)


def run_bridge(_: Container) -> None:
    """Forward events until told to stop."""
    handler = load("functions.bridge.handler")
    while not stopping.is_set():
        _survive(lambda: handler({}, HostContext(RUN_SECONDS)))


def run_reconcile(parts: Container) -> None:
    """Reconcile every minute; more often if the grace is shorter than 5 minutes."""
    handler = load("functions.reconcile.handler")
    interval = min(60.0, max(1.0, parts.settings.reconcile_grace / 5))
    while not stopping.is_set():
        _survive(lambda: handler({}, HostContext(RUN_SECONDS)))
        stopping.wait(interval)


def run_sync(parts: Container) -> None:
    """Poll with several threads, each with one batch at a time."""
    handler = load("functions.sync.handler")

    def poll() -> None:
        while not stopping.is_set():
            _survive(lambda: sync_once(parts, handler))

    threads = [threading.Thread(target=poll, name=f"poller-{n}") for n in range(POLLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def sync_once(parts: Container, handler: Handler) -> None:
    """Receive, handle and delete messages, as Lambda's event source mapping does."""
    records = parts.queue.receive_records(LONG_POLL_SECONDS)
    if not records:
        return
    answer = handler({"Records": records}, HostContext(RUN_SECONDS))
    kept = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
    parts.queue.delete(
        [record["receiptHandle"] for record in records if record["messageId"] not in kept]
    )


def _survive(step: Callable[[], object]) -> None:
    """Do one step; neither a dependency that is away nor a bug ends the process."""
    heartbeat.beat()
    try:
        step()
    except CatalogError as error:
        telemetry.log.warning("a dependency is away", reason=str(error))
        stopping.wait(AWAY_SECONDS)
    except Exception:  # noqa: BLE001 - logged; the next message may be a good one
        telemetry.log.exception("the handler failed")
        stopping.wait(AWAY_SECONDS)


ROLES: dict[str, Callable[[Container], None]] = {
    "api": run_api,
    "bridge": run_bridge,
    "sync": run_sync,
    "reconcile": run_reconcile,
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
        parts = container()
    except SettingsError as error:
        print(f"settings: {error}", file=sys.stderr)
        return 2
    ROLES[arguments.role](parts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
