"""Loads products of a file into the catalog through its API.

NDJSON: one JSON object per line with the writable fields of a product, or a line of an export.
CSV: UTF-8 (with or without a BOM), separated by commas (semicolons are refused), a header row with
fields of a product as columns (COLUMNS) and any number of `attributes.<key>`, whose values are
text; an empty cell means that the product has no such field.

Running the same file again creates nothing twice and so resumes what was interrupted: every
request's Idempotency-Key is made from its content, and the API repeats its first answer. So what
was loaded before counts as `loaded` again; `already there` is a sku that another request has
written. Put corrected lines in a file of their own: a request of which one line was changed is a
new request, in which products without a `sku` would be created again.
"""

from __future__ import annotations

import csv
import hashlib
import random
import re
import sys
import threading
import time
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
import simplejson

from catalogctl.client import BearerAuth, parsed
from catalogctl.errors import CommandError, RefusedError, UnavailableError, UsageError
from chalicelib.domain.product import FIELD_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAX_ITEMS = 100
MAX_BYTES = 180_000  # the API accepts 200 KB; the difference is a margin
WORKERS = 1  # with more, other consumers of the API wait longer
FORMATS = ("ndjson", "csv")
SET_BY_THE_CATALOG = frozenset(
    {"id", "version", "createdAt", "updatedAt", "syncCompletedAt", "syncStatus"}
)
_MAPS = tuple(name for name, kind in FIELD_TYPES.items() if kind is dict)
_COLUMNS = tuple(name for name in FIELD_TYPES if name not in _MAPS)
COLUMNS = ", ".join((*_COLUMNS, *(f"{name}.<key>" for name in _MAPS)))
_PATTERNS = {Decimal: re.compile(r"-?[0-9]+(\.[0-9]+)?"), int: re.compile(r"-?[0-9]+")}
_TRUTHS = {"true": True, "false": False}
_TIMEOUTS = (5, 35)  # connect, read: API Gateway gives up after 29 s
# 409 for a whole request: an earlier try, whose answer was lost, may still be running.
_PASSING_STATUSES = {408, 409, 425, 429}
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 10.0
_QUIET_TRIES = 2  # a short failure is no news; two minutes of silence would be
_ENVELOPE_BYTES = len('{"items":[]}')

Json = dict[str, Any]
Product = Json
_Sent = tuple["Batch", Future[list[Product]]]


class FileError(UsageError):
    """The file cannot be read at all; the message says why."""


class ImportStoppedError(CommandError):
    """The API could not be used; `report` counts the products that were loaded before."""

    def __init__(self, reason: str, exit_code: int = UnavailableError.exit_code) -> None:
        super().__init__(reason)
        self.exit_code = exit_code
        self.report = Report()

    def __str__(self) -> str:
        return f"{self.args[0]}\nso far: {self.report}"


@dataclass(frozen=True, slots=True, order=True)
class Refusal:
    """A line (1 is the first of the file) that was not loaded, and why."""

    line: int
    reason: str


@dataclass(slots=True)
class Report:
    """How many products were loaded, already there and refused, in how many seconds."""

    loaded: int = 0
    already_there: int = 0
    refused: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        settled = self.loaded + self.already_there + self.refused
        return (
            f"loaded {self.loaded}, already there {self.already_there}, refused {self.refused}, "
            f"{self.seconds:.1f} s, {settled / max(self.seconds, 0.001):.0f} products/s"
        )

    def to_json(self, refusals: Iterable[Refusal]) -> Json:
        """Give the numbers, and the lines that were not loaded."""
        return {
            "loaded": self.loaded,
            "alreadyThere": self.already_there,
            "refused": self.refused,
            "seconds": round(self.seconds, 3),
            "refusals": [{"line": item.line, "reason": item.reason} for item in refusals],
        }


# ---------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class Record:
    """A product as the file has it, and the line on which it begins."""

    line: int
    product: Product


def read_records(path: Path, fmt: str) -> Iterator[Record | Refusal]:
    """Yield each product of the file in order, and a Refusal for each line that is not a product.

    Raises FileError when the file cannot be read or its CSV header is wrong.
    """
    reader = _read_csv if fmt == "csv" else _read_ndjson
    # A CSV record may contain line breaks; an NDJSON line ends with \n only.
    newline = "" if fmt == "csv" else "\n"
    try:
        # Invalid bytes must refuse only their own line, not the rest of the file: see _encode.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline=newline) as lines:
            yield from reader(lines)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from error


def _read_ndjson(lines: Iterable[str]) -> Iterator[Record | Refusal]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            product = simplejson.loads(line, use_decimal=True)
        except (ValueError, RecursionError) as error:
            yield Refusal(number, f"not JSON: {error}")
            continue
        if isinstance(product, dict):
            yield Record(number, _writable(product))
        else:
            yield Refusal(number, "not a JSON object")


def _writable(product: Product) -> Product:
    """Give a line of an export without what the catalog itself has set; other lines as they are."""
    if not product.keys() >= SET_BY_THE_CATALOG:
        return product
    return {name: value for name, value in product.items() if name not in SET_BY_THE_CATALOG}


def _read_csv(lines: Iterable[str]) -> Iterator[Record | Refusal]:
    reader = csv.reader(lines, strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Refusal(line, f"not CSV: {error}")
            continue
        if not cells:
            continue
        if header is None:
            header = _header(cells, line)
        else:
            yield _csv_record(line, header, cells)


def _header(cells: list[str], line: int) -> list[str]:
    header = [cell.strip() for cell in cells]
    if len(header) == 1 and ";" in header[0]:
        raise FileError(f"line {line}: separated by semicolons; use commas")
    for column in header:
        name, _, key = column.partition(".")
        if column not in _COLUMNS and not (name in _MAPS and key):
            raise FileError(f"line {line}: unknown column {column!r}; columns are {COLUMNS}")
    if twice := [column for column, count in Counter(header).items() if count > 1]:
        raise FileError(f"line {line}: column {twice[0]!r} occurs twice")
    return header


def _csv_record(line: int, header: list[str], cells: list[str]) -> Record | Refusal:
    if len(cells) != len(header):
        return Refusal(line, f"not CSV: {len(cells)} cells, but the header has {len(header)}")
    product: Product = {}
    for column, cell in zip(header, cells, strict=True):
        if not cell:
            continue
        name, _, key = column.partition(".")
        try:
            if name in _MAPS:
                product.setdefault(name, {})[key] = cell
            else:
                product[name] = _value(FIELD_TYPES[name], cell)
        except ValueError as error:
            return Refusal(line, f"{column}: {cell!r} {error}")
    return Record(line, product)


def _value(kind: type, cell: str) -> object:
    """Give a cell as a value of JSON. Raises ValueError."""
    text = cell.strip()
    if kind is bool:
        if text.lower() not in _TRUTHS:
            raise ValueError("is not true or false")
        return _TRUTHS[text.lower()]
    if kind not in _PATTERNS:
        return cell
    if not _PATTERNS[kind].fullmatch(text):
        raise ValueError("is not a plain number")
    return Decimal(text)


def _with_made_up_prices(records: Iterable[Record | Refusal]) -> Iterator[Record | Refusal]:
    for record in records:
        if isinstance(record, Record):
            record.product.setdefault("price", Decimal(record.line % 9999 + 1) / 100)
            record.product.setdefault("quantity", record.line % 500)
        yield record


# ---------------------------------------------------------------- batches


@dataclass(slots=True)
class Batch:
    """What goes in one request: encoded products with their lines, and what was refused nearby."""

    lines: list[int] = field(default_factory=list)
    items: list[bytes] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    size: int = _ENVELOPE_BYTES
    key: str = ""
    last_line: int = 0

    @property
    def body(self) -> bytes:
        """The JSON of the request."""
        return b'{"items":[' + b",".join(self.items) + b"]}"

    def fits(self, item: bytes) -> bool:
        """Tell whether `item` may be added."""
        return self.size + len(item) + 1 <= MAX_BYTES

    def add(self, line: int, item: bytes) -> None:
        """Take one encoded product."""
        self.lines.append(line)
        self.items.append(item)
        self.size += len(item) + 1


def batches(records: Iterable[Record | Refusal]) -> Iterator[Batch]:
    """Cut the records into requests that the API accepts, each with its idempotency key.

    A batch ends after every 100th record, a bad one included: so correcting a bad line changes the
    content, and with it the key, of its own batch only.
    """
    seen: Counter[str] = Counter()
    for batch in _cut(records):
        digest = hashlib.sha256(batch.body).hexdigest()
        # The same 100 lines a second time are 100 more products, not a repetition.
        batch.key = f"{digest}-{seen[digest]}" if seen[digest] else digest
        seen[digest] += 1
        yield batch


def _cut(records: Iterable[Record | Refusal]) -> Iterator[Batch]:
    batch = Batch()
    for ordinal, record in enumerate(records, 1):
        item = _encode(record)
        if isinstance(item, bytes) and not batch.fits(item):
            yield batch
            batch = Batch()
        if isinstance(item, bytes):
            batch.add(record.line, item)
        else:
            batch.refusals.append(item)
        batch.last_line = record.line
        if ordinal % MAX_ITEMS == 0:
            yield batch
            batch = Batch()
    if batch.last_line:
        yield batch


def _encode(record: Record | Refusal) -> bytes | Refusal:
    if isinstance(record, Refusal):
        return record
    text = simplejson.dumps(
        record.product, use_decimal=True, ensure_ascii=False, separators=(",", ":")
    )
    try:
        item = text.encode()
    except UnicodeEncodeError:
        return Refusal(record.line, "not UTF-8: contains invalid bytes or escapes")
    if _ENVELOPE_BYTES + len(item) + 1 > MAX_BYTES:
        return Refusal(
            record.line, f"too large: {len(item)} bytes, at most {MAX_BYTES} can be sent"
        )
    return item


# ---------------------------------------------------------------- sending


class _TryLaterError(Exception):
    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Client:
    """Sends batches; usable by many threads. `patience`: seconds until retrying one is given up.

    `on_wait` is told, by the thread that waits, why a request is still tried again.
    """

    def __init__(
        self, api: str, token: str, patience: float, on_wait: Callable[[str], None]
    ) -> None:
        self._url = f"{api.rstrip('/')}/products/batch"
        self._auth = BearerAuth(token)
        self._patience = patience
        self._on_wait = on_wait
        self._sessions = threading.local()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End the waits of all threads: they do not try again."""
        self._stopping.set()

    def send(self, batch: Batch) -> list[Product]:
        """Return the API's result for each item. Raises ImportStoppedError."""
        if not batch.items:
            return []
        began = time.monotonic()
        tries = 0
        while True:
            try:
                return self._try(batch)
            except _TryLaterError as error:
                wait = max(_backoff(tries), error.retry_after)
                spent = time.monotonic() - began
                if tries == _QUIET_TRIES:
                    self._on_wait(f"{error}; trying again for up to {self._patience:.0f} s")
                if spent + wait > self._patience or self._stopping.wait(wait):
                    raise ImportStoppedError(
                        f"{error}; given up after {spent:.0f} s. Running it again resumes."
                    ) from error
                tries += 1

    def _try(self, batch: Batch) -> list[Product]:
        answer = self._post(batch)
        if answer.status_code in (401, 403):
            raise ImportStoppedError(
                f"{_told(answer)}: the token is not valid or lacks the scope products:write",
                RefusedError.exit_code,
            )
        if answer.status_code in _PASSING_STATUSES or answer.status_code >= 500:
            raise _TryLaterError(_told(answer), _retry_after(answer))
        results = _results(answer, len(batch.items))
        if later := [result for result in results if _is_passing(result)]:
            raise _TryLaterError(f"{self._url}: {_reason(later[0])}", _retry_after(answer))
        return results

    def _post(self, batch: Batch) -> requests.Response:
        headers = {"Content-Type": "application/json", "Idempotency-Key": batch.key}
        try:
            return self._session().post(
                self._url,
                data=batch.body,
                headers=headers,
                auth=self._auth,
                timeout=_TIMEOUTS,
                allow_redirects=False,
            )
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            raise _TryLaterError(f"{self._url}: {error}") from error
        except requests.RequestException as error:
            raise ImportStoppedError(f"{self._url}: {error}") from error

    def _session(self) -> requests.Session:
        # One per thread: requests does not promise that a session can be shared.
        if not hasattr(self._sessions, "session"):
            self._sessions.session = requests.Session()
        session: requests.Session = self._sessions.session
        return session


def _backoff(tries: int) -> float:
    longest = min(_FIRST_WAIT_SECONDS * 2 ** min(tries, 10), _LONGEST_WAIT_SECONDS)
    return random.uniform(longest / 2, longest)  # noqa: S311 - jitter, not a secret


def _retry_after(answer: requests.Response) -> float:
    """Return the seconds that Retry-After (seconds or an HTTP date) asks for; 0 without one."""
    value = answer.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())


def _results(answer: requests.Response, expected: int) -> list[Product]:
    if answer.status_code != 207:
        raise ImportStoppedError(f"{_told(answer)}: not what a catalog answers")
    body = parsed(answer)
    results = body.get("items") if isinstance(body, dict) else None
    if not isinstance(results, list) or len(results) != expected:
        raise ImportStoppedError(f"{_told(answer)} without one result per product")
    if not all(isinstance(item, dict) and isinstance(item.get("status"), int) for item in results):
        raise ImportStoppedError(f"{_told(answer)} with a result that has no status")
    return results


def _told(answer: requests.Response) -> str:
    body = parsed(answer)
    detail = body.get("detail") or body.get("title") if isinstance(body, dict) else None
    return f"{answer.url} answered {answer.status_code}" + (f" ({detail})" if detail else "")


def _is_passing(result: Product) -> bool:
    # Here 409 is a sku that exists; repeating the batch repeats the answers of the other items.
    return bool(result["status"] >= 500 or result["status"] in _PASSING_STATUSES - {409})


def _reason(result: Product) -> str:
    error = result.get("error")
    problem = error if isinstance(error, dict) else {}
    fields = [
        f"{entry.get('field')}: {entry.get('message')}"
        for entry in problem.get("errors") or []
        if isinstance(entry, dict)
    ]
    told = "; ".join(fields) or problem.get("detail") or problem.get("title") or "refused"
    return f"{result['status']} {told}"


# ---------------------------------------------------------------- the import


def import_file(  # noqa: PLR0913 - options, each with a default
    path: Path,
    api: str,
    token: str,
    *,
    fmt: str | None = None,
    made_up_prices: bool = False,
    patience: float = 120.0,
    workers: int = WORKERS,
    on_refusal: Callable[[Refusal], None] = lambda _: None,
    on_progress: Callable[[float, Report], None] = lambda _share, _report: None,
    on_wait: Callable[[str], None] = lambda _: None,
) -> Report:
    """Load the file at `path` into the catalog at `api` (with `/api`) and return what became of it.

    `fmt` is one of FORMATS, by default what the file's name says. `patience`: seconds for which a
    request is retried. `workers`: requests in flight. The callbacks run in the calling thread:
    `on_refusal` for each refused line, in order; `on_progress` with the share done, 0 to 1. But
    `on_wait` runs in the thread of a request that is tried again and again, with the reason.

    Raises FileError, and ImportStoppedError when the API could not be used.
    """
    began = time.monotonic()
    records = read_records(path, fmt or format_of(path))
    if made_up_prices:
        records = _with_made_up_prices(records)
    client = Client(api, token, patience, on_wait)
    report, last_line = Report(), _count_lines(path)
    try:
        for batch, results in _send_all(client, batches(records), workers):
            _settle(batch, results, report, on_refusal)
            report.seconds = time.monotonic() - began
            on_progress(batch.last_line / last_line, report)
    except ImportStoppedError as error:
        report.seconds = time.monotonic() - began
        error.report = report
        raise
    on_progress(1.0, report)
    return report


def format_of(path: Path) -> str:
    """Return the format that the name of the file says."""
    return "csv" if path.suffix.lower() == ".csv" else "ndjson"


def _count_lines(path: Path) -> int:
    try:
        with path.open("rb") as file:
            ends = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from error
    return ends + 1


def _send_all(
    client: Client, work: Iterable[Batch], workers: int
) -> Iterator[tuple[Batch, list[Product]]]:
    """Yield each batch with its results, in order, with `workers` requests in flight."""
    waiting: deque[_Sent] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for batch in work:
            waiting.append((batch, pool.submit(client.send, batch)))
            # A few more than can be in flight, so that one slow request does not idle the others.
            if len(waiting) >= 2 * workers:
                yield _oldest(waiting)
        while waiting:
            yield _oldest(waiting)
    finally:
        client.stop()
        pool.shutdown(cancel_futures=True)


def _oldest(waiting: deque[_Sent]) -> tuple[Batch, list[Product]]:
    batch, future = waiting.popleft()
    return batch, future.result()


def _settle(
    batch: Batch, results: list[Product], report: Report, on_refusal: Callable[[Refusal], None]
) -> None:
    refusals = list(batch.refusals)
    for line, result in zip(batch.lines, results, strict=True):
        if 200 <= result["status"] < 300:
            report.loaded += 1
        elif result["status"] == 409:
            report.already_there += 1
        else:
            refusals.append(Refusal(line, _reason(result)))
    report.refused += len(refusals)
    for refusal in sorted(refusals):
        on_refusal(refusal)


# ---------------------------------------------------------------- progress


class Progress:
    """A bar on stderr, redrawn in place on a terminal; else one line per 10 %. Keeps refusals."""

    _WIDTH = 30

    def __init__(self, path: Path) -> None:
        self.refusals: list[Refusal] = []
        self._path = path
        self._tty = sys.stderr.isatty()
        self._tenth = 0

    def show(self, share: float, report: Report) -> None:
        """Show the share that is done, 0 to 1."""
        if self._tty:
            bar = ("#" * int(share * self._WIDTH)).ljust(self._WIDTH, ".")
            end = "\n" if share >= 1 else ""
            print(f"\r\x1b[K[{bar}] {share:4.0%}  {report}", end=end, file=sys.stderr, flush=True)
        elif int(share * 10) > self._tenth:
            self._tenth = int(share * 10)
            print(f"{self._tenth * 10:3d} %  {report}", file=sys.stderr, flush=True)

    def refuse(self, refusal: Refusal) -> None:
        """Name the line that was not loaded."""
        self.refusals.append(refusal)
        self.say(f"{self._path}:{refusal.line}: {refusal.reason}")

    def say(self, text: str) -> None:
        """Print a line of its own; the bar is redrawn below it by the next `show`."""
        print(f"\r\x1b[K{text}" if self._tty else text, file=sys.stderr, flush=True)
