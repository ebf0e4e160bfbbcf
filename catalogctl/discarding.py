"""Poison messages: written to a file first, then discarded, and nothing that is not in the file."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

from catalogctl.client import Api
from catalogctl.errors import CommandError, UsageError
from catalogctl.exporting import lines
from chalicelib.domain import exact_json
from chalicelib.domain.exact_json import Json

DISCARD = "/sync/dead-letters/discard"


AT_ONCE = 1_000
"""Messages that a request names."""


def count(api: Api, wanted: Json) -> Json:
    """Say how many messages are selected, and at which time."""
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


def discard(api: Api, path: Path, why: str | None) -> int:
    """Discard the messages that the file has, and no others; give how many were still there.

    By their ids, not by the time until which they were exported: letters have the time of another
    machine, and one that is written after the export may have an earlier one.
    """
    total = 0
    with path.open("rb") as file:
        while names := [exact_json.loads(line)["messageId"] for line in islice(file, AT_ONCE)]:
            total += _discard_these(api, names, why)
    return total


def _discard_these(api: Api, names: list[str], why: str | None) -> int:
    total = 0
    while True:
        done = api.post(DISCARD, {"messageIds": names, "why": why})
        total += int(done["count"])
        if not (done["left"] and done["count"]):
            return total
