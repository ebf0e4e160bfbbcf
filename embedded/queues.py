"""Creates the queues of an SQS server in a container: `python -m embedded.queues ENDPOINT`.

Such a server may be empty after a restart, so missing queues are created again. FILE
(`--heartbeat`), for health checks, exists while the queues do, and is removed when they cannot be
created.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from chalicelib.settings import Settings, SettingsError, read_settings
from embedded.services import StackError, create_queues

LOOK_SECONDS = 5.0

stopping = threading.Event()


def look_after(endpoint: str, settings: Settings, heartbeat: Path) -> None:
    """Create missing queues periodically, until told to stop."""
    while not stopping.is_set():
        try:
            create_queues(endpoint, settings)
        except StackError as error:
            heartbeat.unlink(missing_ok=True)
            print(error, file=sys.stderr, flush=True)
        else:
            heartbeat.touch()
        stopping.wait(LOOK_SECONDS)


def main() -> int:
    """Read the command line and the settings; 2 if those are not usable."""
    parser = argparse.ArgumentParser(prog="python -m embedded.queues", description="make queues")
    parser.add_argument("endpoint")
    parser.add_argument("--heartbeat", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args()
    try:
        settings = read_settings()
    except SettingsError as error:
        print(f"settings: {error}", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    look_after(arguments.endpoint, settings, arguments.heartbeat)
    return 0


if __name__ == "__main__":
    sys.exit(main())
