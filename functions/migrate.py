"""Makes and changes the indexes and the stream: a Lambda, and `python -m functions.migrate`.

Run before the other functions of a release: they refuse to work without the indexes that they need.
The command has exit code 0 if all is as this release needs it, 1 if MongoDB is away or refuses a
change, or the stream needs a person, 2 for unusable settings. NATS may be away, as it may be for a
write: that is a warning. It takes as long as MongoDB needs to build an index. A Lambda may have too
little time for that; the build goes on, and another run waits for its end.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator

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
NOT_LOOKED_AT = "the stream was not looked at"
UNUSABLE_SETTINGS = 2
"""The exit code for which another try is of no use: the Job of Kubernetes makes none."""


def handler(event: object, context: Context) -> dict[str, list[str]]:  # noqa: ARG001 - Lambda's
    """Migrate; give the changes. Raises StoreUnavailableError, StreamNotMigratedError."""
    changes = []
    for change in _migrate(seconds_left(context, RESERVE_SECONDS)(), _log_stream_away):
        telemetry.log.info("migrated", change=change)
        changes.append(change)
    return {"changes": changes}


def _migrate(patience: float | None, warn: Callable[[str], None]) -> Iterator[str]:
    parts = container()
    yield from parts.migrate(patience)
    try:
        yield from parts.migrate_stream()
    except StreamNotMigratedError:
        raise
    except StreamUnavailableError as error:
        warn(str(error))


def _log_stream_away(reason: str) -> None:
    telemetry.log.warning(NOT_LOOKED_AT, reason=reason)


def _print_stream_away(reason: str) -> None:
    print(f"warning: {NOT_LOOKED_AT}: {reason}", file=sys.stderr)


def main() -> int:
    """Migrate; print a line for each change; give the exit code."""
    # Without a handler, process 1 of a container ignores SIGTERM.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        changes = 0
        for change in _migrate(None, _print_stream_away):
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
    print(f"{changes} changes: all is as this release needs it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
