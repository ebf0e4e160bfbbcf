"""Tells whether the role of this container is alive: `python -m functions.alive FILE`.

FILE is the heartbeat of `functions.run`: touched at each step of a loop, or with the address of the
API in it. Exit code 1 and a reason if the role is not alive. A dependency that is away is no
reason, since a restart would not bring it back. Imports little, since it runs every few seconds.
"""

from __future__ import annotations

import http.client
import sys
import time
from pathlib import Path

STALE_SECONDS = 300
"""Seconds. Longer than any step: a batch whose calls all time out, or a run of the bridge."""
ANSWER_SECONDS = 4


def fault(heartbeat: Path) -> str | None:
    """Say what is wrong with the role, None if nothing is."""
    try:
        address, age = heartbeat.read_text(), time.time() - heartbeat.stat().st_mtime
    except OSError as error:
        return f"no heartbeat: {error}"
    if address:
        return _unanswered(address)
    return None if age < STALE_SECONDS else f"no heartbeat for {age:.0f} s"


def _unanswered(address: str) -> str | None:
    """Give the reason why the API does not answer, None if it does."""
    connection = http.client.HTTPConnection(address, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/api/health")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{address} does not answer: {error!r}"
    finally:
        connection.close()
    return None if status == http.client.OK else f"{address} answers {status}"


def main() -> int:
    """Give exit code 1, with the reason on stderr, if the role is not alive."""
    reason = fault(Path(sys.argv[1]))
    if reason:
        print(reason, file=sys.stderr)
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main())
