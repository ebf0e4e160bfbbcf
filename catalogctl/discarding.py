"""Poison messages: written to a file first, then discarded, and nothing that is not in the file."""

from __future__ import annotations

import os
import time
from pathlib import Path

from catalogctl.client import Api
from catalogctl.errors import CommandError, UsageError
from catalogctl.exporting import lines
from chalicelib.domain.exact_json import Json

DISCARD = "/sync/dead-letters/discard"
SETTLED_SECONDS = 2.0
"""A message is stored a moment after the time that it has, which is of another machine's clock. So
long after the end of what is selected none comes that belongs to it."""


def count(api: Api, wanted: Json) -> Json:
    """Say how many messages are selected, and up to when they may have come."""
    return api.post(DISCARD, {**wanted, "dryRun": True})


def export(path: Path, api: Api, wanted: Json) -> int:
    """Write the messages as NDJSON into a new file; give their number.

    They are on the disk when this returns.
    """
    try:
        with path.open("xb") as file:
            written = 0
            for page in api.pages("/sync/dead-letters/poison", **wanted):
                file.write(lines(page["items"]))
                written += len(page["items"])
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise UsageError(f"{path} exists: name a new file") from error
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}. Nothing was discarded.") from error
    return written


def discard(api: Api, wanted: Json, exported: int, why: str | None, begun: float) -> int:
    """Discard what was exported; give the number of messages.

    `begun`: when it was first counted, by the monotonic clock.
    """
    time.sleep(max(0.0, begun + SETTLED_SECONDS - time.monotonic()))
    if (found := count(api, wanted)["count"]) != exported:
        raise CommandError(
            f"{exported:,} messages were exported, and {found:,} are selected now: nothing was "
            "discarded. Run it again, with another file."
        )
    total: int = 0
    while True:
        done = api.post(DISCARD, {**wanted, "why": why})
        total += int(done["count"])
        if not (done["left"] and done["count"]):
            return total
