"""A supply chain API that fails on purpose, for the demo and the tests.

    python -m embedded.fake_supply_chain --port 8900 --state supply-chain.jsonl --failure-rate 0.3

`POST /supply-chain` (upsert), `GET` and `DELETE /supply-chain/{id}` behave like the real one,
except that a share of the calls fails in one of the `FAILURE_KINDS`. Under `/_control` one changes
how it fails (`GET`, `PUT /_control`), reads its products (`/_control/products`) and its calls
(`/_control/calls?id=`, `/_control/summary`), or deletes all of them (`DELETE /_control/products`):
docs/fake-supply-chain.md. `embedded.supply_chain` does it for a running stack.

With `--state` the products and the control settings survive SIGKILL; saved settings win over the
command line, so that a restart with the same flags goes on as it was. Calls are in memory only.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import socket
import struct
import sys
import threading
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import simplejson
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook, WebhookVerificationError

if TYPE_CHECKING:
    from collections.abc import Callable

FAILURE_KINDS = (
    "http_500",
    "http_503",
    "http_429",
    "http_404",
    "timeout",
    "reset",
    "garbage",
    "lost_answer",
)
MAX_CALLS = 200_000
JsonObject = dict[str, Any]
_RETRY_AFTER_SECONDS = "1"
_GARBAGE = b"\x16\x03\x00 this is no HTTP\x00\xff\r\n\r\n"
_CLIENT_POLL_SECONDS = 0.02


class InvalidError(ValueError):
    """What the caller sent breaks a rule; `errors` is `[{field, message}]`."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__("; ".join(f"{error['field']}: {error['message']}" for error in errors))
        self.errors = errors


# ---------------------------------------------------------------- settings


@dataclass(frozen=True, slots=True)
class Settings:
    """How the API fails. Seconds are real seconds; `kinds` is never empty.

    `down`: every call is answered 503. `calls_per_second`: what is above is answered 429.
    `signing_secrets`: a call that none of them has signed (Standard Webhooks) is answered 401;
    without any, signatures are not checked.
    """

    failure_rate: float = 0.3
    kinds: tuple[str, ...] = FAILURE_KINDS
    timeout_seconds: float = 3.0
    reject_ids: tuple[str, ...] = ()
    fail_ids: tuple[str, ...] = ()
    latency_seconds: float = 0.0
    down: bool = False
    calls_per_second: float | None = None
    signing_secrets: tuple[str, ...] = ()
    seed: int | None = None

    def to_json(self) -> JsonObject:
        """Return the settings under the names that `/_control` uses."""
        return {name: getattr(self, rule.attribute) for name, rule in _RULES.items()}

    def changed_by(self, changes: object) -> Settings:
        """Return these settings with `changes` (a part of `to_json`) applied.

        Raises InvalidError naming every field that is unknown or wrong.
        """
        if not isinstance(changes, dict):
            raise InvalidError([{"field": "", "message": "must be a JSON object"}])
        values: dict[str, Any] = {}
        errors = []
        for name, value in changes.items():
            try:
                values[_rule(name).attribute] = _rule(name).convert(value)
            except ValueError as error:
                errors.append({"field": str(name), "message": str(error)})
        if errors:
            raise InvalidError(errors)
        return replace(self, **values)


@dataclass(frozen=True, slots=True)
class _Rule:
    attribute: str
    convert: Callable[[object], object]


def _rule(name: object) -> _Rule:
    if name not in _RULES:
        raise ValueError(f"unknown setting; known are {', '.join(_RULES)}")
    return _RULES[str(name)]


def _number(value: object, most: float, message: str) -> float:
    # bool is an int in Python, but `true` is no number in JSON.
    if (
        isinstance(value, int | float | Decimal)
        and not isinstance(value, bool)
        and 0 <= value <= most
    ):
        return float(value)
    raise ValueError(message)


def _share(value: object) -> float:
    return _number(value, 1, "must be a number from 0 to 1")


def _seconds(value: object) -> float:
    return _number(value, 3600, "must be a number of seconds from 0 to 3600")


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError("must be a list of strings")
    return tuple(value)


def _kinds(value: object) -> tuple[str, ...]:
    kinds = _strings(value)
    if not kinds or not set(kinds) <= set(FAILURE_KINDS):
        raise ValueError(f"must be a list of at least one of {', '.join(FAILURE_KINDS)}")
    return kinds


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - as the other rules
    return value


def _limit(value: object) -> float | None:
    message = "must be a number of calls per second from 0.01 to 100000, or null for no limit"
    if value is None:
        return None
    if (rate := _number(value, 100_000, message)) < 0.01:
        raise ValueError(message)
    return rate


def _signing_secrets(value: object) -> tuple[str, ...]:
    secrets = _strings(value)
    try:
        for secret in secrets:
            Webhook(secret)
    except (ValueError, EmptyWebhookSecretError):
        raise ValueError("must be a list of secrets of Standard Webhooks") from None
    return secrets


def _seed(value: object) -> int | None:
    if isinstance(value, bool) or not (value is None or isinstance(value, int)):
        raise ValueError("must be an integer or null")
    return value


_RULES = {
    "failureRate": _Rule("failure_rate", _share),
    "kinds": _Rule("kinds", _kinds),
    "timeoutSeconds": _Rule("timeout_seconds", _seconds),
    "rejectIds": _Rule("reject_ids", _strings),
    "failIds": _Rule("fail_ids", _strings),
    "latencySeconds": _Rule("latency_seconds", _seconds),
    "down": _Rule("down", _switch),
    "callsPerSecond": _Rule("calls_per_second", _limit),
    "signingSecrets": _Rule("signing_secrets", _signing_secrets),
    "seed": _Rule("seed", _seed),
}


# ---------------------------------------------------------------- the world


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class Call:
    """One call as the log shows it. `time` is its arrival; `status` None means no HTTP answer.

    `outcome`: stored, repeat, stale, deleted, read, absent, rejected, or a failure kind.
    `concurrent`: another call for the same product was in progress when this one began.
    """

    method: str
    id: str | None = None
    version: int | None = None
    idempotency_key: str | None = None
    webhook_id: str | None = None
    webhook_timestamp: str | None = None
    webhook_signature: str | None = None
    traceparent: str | None = None
    x_amzn_trace_id: str | None = None
    time: str = field(default_factory=_now)
    outcome: str = ""
    status: int | None = None
    concurrent: bool = False

    def to_json(self) -> JsonObject:
        """Return the call with camelCase names."""
        return {_camel(name): value for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer for the caller. `status` None: the outcome says how the connection breaks."""

    outcome: str
    status: int | None = None
    body: JsonObject | None = None
    retry_after: str | None = None


class Meter:
    """Compares calls with a limit. A second's worth may come at once, and one call in any case."""

    def __init__(self) -> None:
        self._spent_until = 0.0

    def admits(self, rate: float, now: float) -> bool:
        """Say whether a call is within `rate` per second; `now` in seconds."""
        each = 1 / rate
        start = max(self._spent_until, now - max(1.0, each))
        if start + each > now + 1e-6:
            return False
        self._spent_until = start + each
        return True


class SupplyChain:
    """The products, the calls and the settings of the supply chain. Every method is thread-safe.

    `state_file` None keeps everything in memory.
    """

    def __init__(self, settings: Settings, state_file: Path | None = None) -> None:
        self.settings = settings
        self._products: dict[str, JsonObject] = {}
        self._calls: deque[Call] = deque(maxlen=MAX_CALLS)
        self._outcomes: Counter[str] = Counter()
        self._concurrent = 0
        self._meter = Meter()
        self._in_progress: dict[str, dict[int, Callable[[], bool]]] = {}
        self._lock = threading.Lock()
        self._journal = Journal(state_file) if state_file else None
        if self._journal:
            for change in self._journal.load():
                self._replay(change)
            self._journal.rewrite(self._snapshot())
        self._dice = random.Random(self.settings.seed)

    def begin(self, call: Call, client_gone: Callable[[], bool]) -> None:
        """Note that `call` is in progress, until `end`.

        A call whose client has left (it timed out, it was killed) no longer makes another one
        concurrent: nobody is waiting for its answer. A question changes nothing, and may come
        at any time.
        """
        if call.id is None or call.method == "GET":
            return
        with self._lock:
            others = self._in_progress.setdefault(call.id, {})
            call.concurrent = any(not gone() for gone in others.values())
            others[id(call)] = client_gone

    def end(self, call: Call) -> None:
        """Note that `call` is over. To be called before its answer leaves."""
        with self._lock:
            others = self._in_progress.get(call.id or "", {})
            others.pop(id(call), None)
            if not others:
                self._in_progress.pop(call.id or "", None)

    def settle(self, call: Call, body: object = None) -> Answer:
        """Decide what happens to `call`, apply it, log it, and return what to answer."""
        with self._lock:
            return self._log(call, self._decide(call, body))

    def refuse(self, call: Call, status: int, reason: str) -> Answer:
        """Log a call that cannot be understood, and return what to answer."""
        with self._lock:
            return self._log(call, _rejected(status, reason))

    def configure(self, changes: object) -> Settings:
        """Merge `changes` into the settings and keep them. Raises InvalidError."""
        with self._lock:
            self.settings = self.settings.changed_by(changes)
            if "seed" in (changes if isinstance(changes, dict) else {}):
                self._dice = random.Random(self.settings.seed)
            self._save({"settings": self.settings.to_json()})
            return self.settings

    def products(self) -> list[JsonObject]:
        """Return the whole body of every product held."""
        with self._lock:
            return list(self._products.values())

    def calls(self, product_id: str | None = None) -> list[JsonObject]:
        """Return the last `MAX_CALLS` calls in the order in which they took effect."""
        with self._lock:
            calls = list(self._calls)
        return [call.to_json() for call in calls if product_id in (None, call.id)]

    def summary(self) -> JsonObject:
        """Return the counts since the start or the last reset."""
        with self._lock:
            return {
                "products": len(self._products),
                "calls": self._outcomes.total(),
                "failed": sum(self._outcomes[kind] for kind in FAILURE_KINDS),
                "stale": self._outcomes["stale"],
                "concurrent": self._concurrent,
                "byOutcome": dict(self._outcomes),
            }

    def tamper(self, change: object) -> JsonObject:
        """Change a product that is held behind everybody's back; return what is held then.

        `{"id", "lose": true}` loses it, `{"id", "version"?, "name"?…}` gives it other values.
        Raises InvalidError, KeyError if it is not held.
        """
        wanted = change if isinstance(change, dict) else {}
        product_id = wanted.get("id")
        if not isinstance(product_id, str):
            raise InvalidError([{"field": "id", "message": "must be a string"}])
        with self._lock:
            held = self._products[product_id]
            if wanted.get("lose"):
                self._save({"deleted": product_id})
                return self._products.pop(held["id"])
            changed = {**held, **wanted}
            if reason := _fault(changed):
                field_, _, message = reason.partition(": ")
                raise InvalidError([{"field": field_, "message": message}])
            self._save({"stored": changed})
            self._products[held["id"]] = changed
            return changed

    def reset(self) -> None:
        """Forget every product and every call; the settings stay."""
        with self._lock:
            self._save({"reset": True})
            self._products.clear()
            self._calls.clear()
            self._outcomes.clear()
            self._concurrent = 0

    def _log(self, call: Call, answer: Answer) -> Answer:
        call.outcome, call.status = answer.outcome, answer.status
        self._calls.append(call)
        self._outcomes[call.outcome] += 1
        self._concurrent += call.concurrent
        return answer

    def _decide(self, call: Call, body: object) -> Answer:
        if self.settings.down:
            return _failed("http_503")
        limit = self.settings.calls_per_second
        if limit is not None and not self._meter.admits(limit, time.monotonic()):
            return _failed("http_429")
        if call.method == "POST" and (reason := _fault(body)):
            return _rejected(422, reason)
        if call.id in self.settings.reject_ids:
            return _rejected(422, "this product can never be accepted")
        kind = self._failure(call)
        if kind is None:
            return self._apply(call, body)
        if kind != "lost_answer":
            return _failed(kind)
        # Only what was accepted can have its answer lost; a refusal is answered.
        answer = self._apply(call, body)
        return _failed(kind) if (answer.status or 0) < 300 else answer

    def _failure(self, call: Call) -> str | None:
        # Always two random numbers, so that with a seed the n-th call gets the same ones.
        unlucky = self._dice.random() < self.settings.failure_rate
        kind = self._dice.choice(self.settings.kinds)
        return kind if unlucky or call.id in self.settings.fail_ids else None

    def _apply(self, call: Call, body: object) -> Answer:
        if call.method == "POST" and isinstance(body, dict):
            return self._upsert(body)
        held = self._products.get(call.id or "")
        if held is None:
            return Answer("absent", 404, _problem(404, "no such product"))
        if call.method == "DELETE":
            self._save({"deleted": call.id})
            del self._products[held["id"]]
            return Answer("deleted", 204)
        return Answer("read", 200, held)

    def _upsert(self, product: JsonObject) -> Answer:
        held = self._products.get(product["id"])
        if held and product["version"] < held["version"]:
            reason = f"version {held['version']} is held, {product['version']} is older"
            return Answer("stale", 409, _problem(409, reason))
        if held == product:
            return Answer("repeat", 200, held)
        self._save({"stored": product})
        self._products[product["id"]] = product
        return Answer("stored", 200 if held else 201, product)

    def _save(self, change: JsonObject) -> None:
        if self._journal:
            self._journal.append(change)

    def _replay(self, change: JsonObject) -> None:
        if "settings" in change:
            self.settings = self.settings.changed_by(change["settings"])
        elif "stored" in change:
            self._products[change["stored"]["id"]] = change["stored"]
        elif "deleted" in change:
            self._products.pop(change["deleted"], None)
        elif "reset" in change:
            self._products.clear()

    def _snapshot(self) -> list[JsonObject]:
        products = [{"stored": product} for product in self._products.values()]
        return [{"settings": self.settings.to_json()}, *products]


def _is_signed(call: Call, body: bytes, secrets: tuple[str, ...]) -> bool:
    """Return whether one of the secrets has signed the call; also if there are no secrets."""
    headers = {
        "webhook-id": call.webhook_id or "",
        "webhook-timestamp": call.webhook_timestamp or "",
        "webhook-signature": call.webhook_signature or "",
    }
    return not secrets or any(_verifies(secret, body, headers) for secret in secrets)


def _verifies(secret: str, body: bytes, headers: dict[str, str]) -> bool:
    # ValueError: a header that has another form.
    with contextlib.suppress(WebhookVerificationError, ValueError):
        Webhook(secret).verify(body, headers, json_parse=False)
        return True
    return False


def _fault(body: object) -> str | None:
    """Return why `body` is no product, None if it is one."""
    if not isinstance(body, dict):
        return "the body must be a JSON object"
    if not isinstance(body.get("id"), str) or not body["id"]:
        return "id: must be a string that is not empty"
    if _version_of(body) is None:
        return "version: must be an integer of at least 0"
    if not isinstance(body.get("name"), str):
        return "name: must be a string"
    return None


def _version_of(body: JsonObject) -> int | None:
    version = body.get("version")
    usable = isinstance(version, int) and not isinstance(version, bool) and version >= 0
    return version if usable else None


def _rejected(status: int, reason: str) -> Answer:
    return Answer("rejected", status, _problem(status, reason))


def _failed(kind: str) -> Answer:
    if not kind.startswith("http_"):
        return Answer(kind)
    status = int(kind.removeprefix("http_"))
    retry_after = _RETRY_AFTER_SECONDS if status == 429 else None
    return Answer(kind, status, _problem(status, "failed on purpose"), retry_after)


def _problem(status: int, detail: str) -> JsonObject:
    title = HTTPStatus(status).phrase
    return {"type": "about:blank", "title": title, "status": status, "detail": detail}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


# ---------------------------------------------------------------- the state file


class Journal:
    """An append-only file with one change as JSON per line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def load(self) -> list[JsonObject]:
        """Return the changes in order, without a last line that a kill cut off.

        Raises ValueError, naming the line, when any other line is damaged.
        """
        *lines, _cut_off = self._path.read_bytes().split(b"\n")
        return [self._change(number, line) for number, line in enumerate(lines, 1)]

    def rewrite(self, changes: list[JsonObject]) -> None:
        """Replace the file by `changes`, in one step, and append from there."""
        fresh = self._path.with_name(f"{self._path.name}.new")
        fresh.write_bytes(b"".join(_line(change) for change in changes))
        fresh.replace(self._path)
        # Unbuffered: what is written is with the kernel before the caller gets its answer.
        self._file = self._path.open("ab", buffering=0)

    def append(self, change: JsonObject) -> None:
        """Write one change; when this returns, SIGKILL cannot lose it."""
        self._file.write(_line(change))

    def _change(self, number: int, line: bytes) -> JsonObject:
        try:
            change = _parse(line)
        except ValueError as error:
            raise ValueError(f"{self._path}:{number}: damaged: {error}") from error
        if not isinstance(change, dict):
            raise ValueError(f"{self._path}:{number}: damaged: not a JSON object")  # noqa: TRY004 - a damaged file, not a wrong argument
        return change


def _line(change: JsonObject) -> bytes:
    return _dump(change) + b"\n"


def _dump(value: object) -> bytes:
    return simplejson.dumps(value, use_decimal=True, separators=(",", ":")).encode()


def _parse(data: bytes) -> object:
    """Return the JSON value with exact numbers. Raises ValueError."""
    try:
        return simplejson.loads(data, use_decimal=True)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


# ---------------------------------------------------------------- HTTP


class Server(ThreadingHTTPServer):
    """Serves one `SupplyChain`; a port of 0 takes a free one."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, host: str, port: int, chain: SupplyChain) -> None:
        self.chain = chain
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"http://{self.server_address[0]!s}:{self.server_port}"

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - the type in typeshed
        """Close without the base class's shutdown, which would send a FIN before our RST."""
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as above
        """Keep quiet about clients that left; anything else is a bug to be seen."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave together, flushed by the base class after each call
    server: Server

    def _dispatch(self) -> None:
        # Read whatever the path, or the rest of the body would be taken for the next request.
        data = self._read_body()
        path = urlsplit(self.path).path
        if path == "/health":
            self._send(200, {"status": "ok"})
        elif path == "/_control" or path.startswith("/_control/"):
            self._control(path, data)
        else:
            self._supply_chain(path, data)

    # The names that the base class looks for.
    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _dispatch  # noqa: N815 - see above

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - base class
        """Print nothing: the calls log tells more."""

    # -- the supply chain

    def _supply_chain(self, path: str, data: bytes) -> None:
        chain, call = self.server.chain, self._call()
        try:
            call.id, body = _product_call(self.command, path, data)
        except _NotUnderstoodError as error:
            self._answer(chain.refuse(call, error.status, str(error)))
            return
        call.version = _version_of(body) if isinstance(body, dict) else None
        if not _is_signed(call, data, chain.settings.signing_secrets):
            self._answer(chain.refuse(call, 401, "no signature of a secret that is known here"))
            return
        chain.begin(call, self._client_gone)
        try:
            time.sleep(chain.settings.latency_seconds)
            answer = chain.settle(call, body)
            if answer.outcome == "timeout":
                self._hold(chain.settings.timeout_seconds)
        finally:
            chain.end(call)
        self._answer(answer)

    def _call(self) -> Call:
        return Call(
            method=self.command,
            idempotency_key=self.headers["Idempotency-Key"],
            webhook_id=self.headers["webhook-id"],
            webhook_timestamp=self.headers["webhook-timestamp"],
            webhook_signature=self.headers["webhook-signature"],
            traceparent=self.headers["traceparent"],
            x_amzn_trace_id=self.headers["X-Amzn-Trace-Id"],
        )

    def _answer(self, answer: Answer) -> None:
        if answer.status is not None:
            self._send(answer.status, answer.body, retry_after=answer.retry_after)
            return
        self.close_connection = True
        if answer.outcome == "garbage":
            self.wfile.write(_GARBAGE)
        elif answer.outcome in ("reset", "lost_answer"):
            # Lingering for 0 s makes close() send RST instead of FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _hold(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._client_gone():
            time.sleep(_CLIENT_POLL_SECONDS)

    def _client_gone(self) -> bool:
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    # -- the control plane

    def _control(self, path: str, data: bytes) -> None:
        chain = self.server.chain
        match self.command, path:
            case "GET", "/_control":
                self._send(200, chain.settings.to_json())
            case "PUT", "/_control":
                self._configure(data)
            case "GET", "/_control/products":
                self._send(200, {"items": chain.products()})
            case "PATCH", "/_control/products":
                self._tamper(data)
            case "DELETE", "/_control/products":
                chain.reset()
                self._send(204, None)
            case "GET", "/_control/calls":
                ids = parse_qs(urlsplit(self.path).query).get("id", [None])
                self._send(200, {"items": chain.calls(ids[0])})
            case "GET", "/_control/summary":
                self._send(200, chain.summary())
            case _:
                self._send(404, _problem(404, f"no {self.command} {path}"))

    def _tamper(self, data: bytes) -> None:
        try:
            self._send(200, self.server.chain.tamper(_parse(data)))
        except KeyError:
            self._send(404, _problem(404, "no such product is held"))
        except InvalidError as error:
            self._send(422, {**_problem(422, str(error)), "errors": error.errors})
        except ValueError as error:
            self._send(400, _problem(400, f"not JSON: {error}"))

    def _configure(self, data: bytes) -> None:
        try:
            settings = self.server.chain.configure(_parse(data))
        except InvalidError as error:
            self._send(422, {**_problem(422, str(error)), "errors": error.errors})
        except ValueError as error:
            self._send(400, _problem(400, f"not JSON: {error}"))
        else:
            self._send(200, settings.to_json())

    # -- bytes

    def _read_body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or "Transfer-Encoding" in self.headers:
            # Where this body ends is not known, so nothing after it can be read.
            self.close_connection = True
            return b""
        return self.rfile.read(int(length))

    def _send(self, status: int, body: JsonObject | None, retry_after: str | None = None) -> None:
        data = b"" if body is None else _dump(body)
        self.send_response(status)
        if retry_after:
            self.send_header("Retry-After", retry_after)
        if body is not None:
            self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class _NotUnderstoodError(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def _product_call(method: str, path: str, data: bytes) -> tuple[str | None, object]:
    """Return (product id, body) of a call on `/supply-chain`. Raises _NotUnderstoodError."""
    if method == "POST" and path == "/supply-chain":
        try:
            body = _parse(data)
        except ValueError as error:
            raise _NotUnderstoodError(400, f"not JSON: {error}") from error
        product_id = body.get("id") if isinstance(body, dict) else None
        return product_id if isinstance(product_id, str) else None, body
    product_id = unquote(path.removeprefix("/supply-chain/"))
    if method in ("GET", "DELETE") and path.startswith("/supply-chain/") and product_id:
        return product_id, None
    raise _NotUnderstoodError(404, f"no {method} {path}")


# ---------------------------------------------------------------- the process


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m embedded.fake_supply_chain", description="A supply chain API that fails."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, help="file that keeps products and settings")
    parser.add_argument("--failure-rate", type=float, default=0.3, help="0 to 1, default 0.3")
    parser.add_argument("--kinds", default=",".join(FAILURE_KINDS), help="default: %(default)s")
    arguments = parser.parse_args(argv)
    try:
        arguments.settings = Settings().changed_by(
            {"failureRate": arguments.failure_rate, "kinds": arguments.kinds.split(",")}
        )
    except InvalidError as error:
        parser.error(str(error))
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, then return 0 at once."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    arguments = _arguments(argv)
    chain = SupplyChain(arguments.settings, arguments.state)
    with Server(arguments.host, arguments.port, chain) as server:
        print(f"supply chain at {server.url}", flush=True)
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
