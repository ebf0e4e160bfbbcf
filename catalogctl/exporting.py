"""All products as NDJSON, one per line, in the order of their ids. A file is gone on with."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from catalogctl.client import Api
from catalogctl.errors import CommandError, UsageError
from chalicelib.domain import exact_json
from chalicelib.domain.exact_json import Json
from chalicelib.domain.sync_state import Position
from chalicelib.usecases.listing import next_cursor
from chalicelib.usecases.ports import Order

_BLOCK = 1 << 16
_BEGINNING = b'{"id":"'
_ID = re.compile("[0-9a-f]{24}")


def pages_after(api: Api, last_id: str | None) -> Iterator[list[Json]]:
    """Give the products after this id, a list per page."""
    cursor = next_cursor(Position(last_id), Order.ID) if last_id else None
    return (page["items"] for page in api.pages("/products", cursor=cursor))


def lines(products: list[Json]) -> bytes:
    """Write products as NDJSON; prices digit by digit."""
    return "".join(f"{exact_json.dumps(product)}\n" for product in products).encode()


def export_to(path: Path, api: Api) -> tuple[int, str | None]:
    """Append what the file lacks; give how many products that were, and after which id.

    A page is on the disk before the next one is asked for. A line that a crash has torn is cut off.
    """
    try:
        with path.open("a+b") as file:
            last = last_id(file, path)
            return _append(file, pages_after(api, last)), last
    except IsADirectoryError as error:
        raise UsageError(f"{path} is a folder: name a file") from error
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}. Running it again goes on.") from error


def _append(file: BinaryIO, pages: Iterator[list[Json]]) -> int:
    count = 0
    for products in pages:
        file.write(lines(products))
        file.flush()
        os.fsync(file.fileno())
        count += len(products)
    return count


def last_id(file: BinaryIO, path: Path) -> str | None:
    """Cut the file after its last whole line, and give the id in that line; None: it has none.

    Raises UsageError for a file that is no export, which is left as it is.
    """
    end = _end_of_lines(file, file.seek(0, os.SEEK_END))
    file.seek(0)
    beginning = file.read(len(_BEGINNING))
    if not _BEGINNING.startswith(beginning):
        raise _no_export(path)
    found = _id_of(_last_line(file, end), path) if end else None
    file.truncate(end)
    return found


def _last_line(file: BinaryIO, end: int) -> bytes:
    start = _end_of_lines(file, end - 1)
    file.seek(start)
    return file.read(end - start)


def _end_of_lines(file: BinaryIO, limit: int) -> int:
    """Give the place after the last line break before `limit`; 0 without one."""
    while limit > 0:
        start = max(0, limit - _BLOCK)
        file.seek(start)
        found = file.read(limit - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        limit = start
    return 0


def _id_of(line: bytes, path: Path) -> str:
    try:
        found = exact_json.loads(line)["id"]
    except (ValueError, TypeError, KeyError):
        found = None
    if not (isinstance(found, str) and _ID.fullmatch(found)):
        raise _no_export(path)
    return found


def _no_export(path: Path) -> UsageError:
    return UsageError(f"{path} is no export of products: name another file")
