"""Makes and changes the indexes and the stream: a Lambda, and `python -m functions.migrate`.

Run before the other functions of a release: they refuse to work without the indexes that they need.
The command has exit code 0 if all is as this release needs it, 1 if MongoDB is away or refuses a
change, or the stream needs a person, 2 for unusable settings. NATS may be away, as it may be for a
write: that is a warning. With CATALOG_MODE=restore, so is MongoDB, and a stream that needs a person
is one too. It takes as long as MongoDB needs to build an index. A Lambda may have too little time
for that; the build goes on, and another run waits for its end.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence

from chalicelib import telemetry
from chalicelib.bootstrap import container
from chalicelib.domain.errors import (
    StoreUnavailableError,
    StreamNotMigratedError,
    StreamUnavailableError,
)
from chalicelib.settings import SettingsError
from functions.context import Context, seconds_left

RESERVE_SECONDS = 20.0
"""Seconds to report that the time was too short; Lambda's own timeout would not say why."""
STORE_LEFT, STREAM_LEFT = "the store was not looked at", "the stream was not looked at"
STREAM_WRONG = "the stream needs a person"
UNUSABLE_SETTINGS = 2
"""The exit code for which another try is of no use: the Job of Kubernetes makes none."""


def handler(event: object, context: Context) -> dict[str, list[str]]:  # noqa: ARG001 - Lambda's
    """Migrate; give the changes. Raises StoreUnavailableError, StreamNotMigratedError."""
    changes = []
    for change in _migrate(seconds_left(context, RESERVE_SECONDS)(), _log_left):
        telemetry.log.info("migrated", change=change)
        changes.append(change)
    return {"changes": changes}


def _migrate(patience: float | None, warn: Callable[[str, str], None]) -> Iterator[str]:
    parts = container()
    try:
        yield from parts.migrate(patience)
    except StoreUnavailableError as error:
        # All must be read-only before a lost store is back: this setting must not wait for it.
        if not parts.settings.restoring:
            raise
        warn(STORE_LEFT, str(error))
    try:
        yield from parts.migrate_stream()
    except StreamNotMigratedError as error:
        # In the region that is to take over it is a mirror until then.
        if not parts.settings.restoring:
            raise
        warn(STREAM_WRONG, str(error))
    except StreamUnavailableError as error:
        warn(STREAM_LEFT, str(error))


def _log_left(what: str, reason: str) -> None:
    telemetry.log.warning(what, reason=reason)


def main() -> int:
    """Migrate; print a line for each change; give the exit code."""
    # Without a handler, process 1 of a container ignores SIGTERM.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    left: list[str] = []

    def warn(what: str, reason: str) -> None:
        print(f"warning: {what}: {reason}", file=sys.stderr)
        left.append(what)

    try:
        changes = 0
        for change in _migrate(None, warn):
            print(change, flush=True)
            changes += 1
    except SettingsError as error:
        print(f"settings: {error}", file=sys.stderr)
        return UNUSABLE_SETTINGS
    except (StoreUnavailableError, StreamNotMigratedError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: an index that is being built goes on; run this again", file=sys.stderr)
        return 1
    print(_told(changes, left))
    return 0


def _told(changes: int, left: Sequence[str]) -> str:
    if left:
        return f"{changes} changes, but {' and '.join(left)}: run this again"
    return f"{changes} changes: all is as this release needs it"


if __name__ == "__main__":
    sys.exit(main())
