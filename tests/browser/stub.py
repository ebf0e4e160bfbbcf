"""An API that answers what a test has written, and serves the real page of the console.

It is for states that are hard to bring about for real. `test_whole.py` shows the console with the
real API.
"""

from __future__ import annotations

import copy
import io
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import simplejson

import app as api
from chalicelib.domain.times import rfc3339
from chalicelib.http.wsgi import Gateway
from tests.support import Json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self
    from wsgiref.types import WSGIApplication

Query = dict[str, list[str]]
Answering = Callable[[Query, Json], tuple[int, Json]]


def ago(seconds: float) -> str:
    """The time so many seconds ago, as the API writes it."""
    return rfc3339(datetime.now(UTC) - timedelta(seconds=seconds))


def an_id(number: int) -> str:
    return f"{number:024x}"


def problem(status: int, title: str, detail: str) -> tuple[int, Json]:
    kind = f"urn:product-catalog:problem:{title.lower().replace(' ', '-')}"
    return status, {"type": kind, "title": title, "status": status, "detail": detail}


def a_state(number: int, status: str = "exhausted", **changes: object) -> Json:
    """The delivery state of a product, as the API answers it."""
    error = None if status in {"pending", "delivered"} else "HTTP 503: the warehouse is closed"
    stuck = status in {"exhausted", "rejected"}
    return {
        "id": an_id(number),
        "name": f"Desk lamp {number}",
        "version": 3,
        "deleted": False,
        "status": status,
        "budget": 0,
        "attempts": 18 if stuck else 2 if error else 0,
        "deliveredVersion": 2,
        "behindSince": None if status == "delivered" else ago(7200),
        "firstAttemptAt": ago(7190),
        "nextAttemptAt": ago(-40) if status == "retrying" else None,
        "syncCompletedAt": ago(3600) if status == "delivered" else None,
        "lastError": error,
        "lastErrorKind": "http-503" if error else None,
        "failedAt": ago(600) if stuck else None,
        "traceId": "0af7651916cd43dd8448eb211c80319c",
        "held": None,
        "history": [],
        **changes,
    }


def a_summary(**changes: object) -> Json:
    """The answer of GET /sync while all is well."""
    minutes = [{"at": ago(60 * (59 - n)), "delivered": n % 7 * 10, "failed": 0} for n in range(60)]
    return {
        "products": {"pending": 0, "retrying": 0, "delivered": 300, "exhausted": 0, "rejected": 0},
        "oldestUndeliveredSeconds": None,
        "stuck": {"count": 0, "oldestSeconds": None},
        "outboxBacklog": 0,
        "unreadable": 0,
        "breaker": {"state": "closed", "since": None, "reason": None, "callsPerSecond": None},
        "control": {"paused": False, "reason": None, "until": None, "since": None},
        "catchingUp": False,
        "redrive": None,
        "throughput": {
            "deliveredPerMinute": 120.0,
            "failedPerMinute": 0.0,
            "failureKinds": {},
            "minutes": minutes,
        },
        "estimatedSecondsToConverge": 0,
        "audit": None,
        **changes,
    }


def an_audit(state: str = "done", **changes: object) -> Json:
    """The answer of GET /sync/audit."""
    begun, done = state != "none", state == "done"
    statement = (
        "at 2026-11-29T12:03:00.000Z the supply chain held the newest version of all 300 products"
    )
    return {
        "state": state,
        "checked": 300 if done else 120 if begun else 0,
        "total": 300 if begun else 0,
        "behind": 0,
        "unanswered": 0,
        "repair": True,
        "differences": dict.fromkeys(("missing", "older", "newer", "different", "undeleted"), 0),
        "repaired": 0,
        "startedAt": ago(90) if begun else None,
        "finishedAt": ago(30) if done else None,
        "startedBy": "operator",
        "stoppedBy": None,
        "statement": statement if done else None,
        "held": None,
        "rolling": None,
        "examples": [],
        **changes,
    }


def a_timeline(number: int, status: str = "exhausted") -> Json:
    """Why a product is where it is."""

    def entry(kind: str, seconds: float | None, text: str, **more: object) -> Json:
        at = None if seconds is None else ago(seconds)
        return {
            "at": at,
            "kind": kind,
            "text": text,
            "failed": False,
            "future": False,
            "details": {},
            **more,
        }

    failed = {
        "statusCode": 503,
        "durationSeconds": 0.21,
        "error": "HTTP 503: the warehouse is closed",
    }
    return {
        "id": an_id(number),
        "name": f"Desk lamp {number}",
        "status": status,
        "summary": "It is exhausted: 18 attempts have failed, the last with HTTP 503.",
        "held": None,
        "traceId": "0af7651916cd43dd8448eb211c80319c",
        "entries": [
            entry("write", 7200, "Version 3 was written.", details={"version": 3}),
            entry("event", 7200, "The event product:updated was stored with it."),
            entry("message", 7199, "The bridge put a message into the queue."),
            entry("attempt", 7190, "Attempt 1 failed: HTTP 503.", failed=True, details=failed),
            entry("attempt", 6500, "Attempt 2 failed: HTTP 503.", failed=True, details=failed),
            entry("letter", 600, "It is exhausted, and has a dead letter.", failed=True),
            entry("next", None, "Nothing more is tried: replay it.", future=True),
        ],
    }


class StubCatalog:
    """The catalog of a test: its attributes are what is answered."""

    def __init__(self) -> None:
        self.summary = a_summary()
        self.states: list[Json] = []
        self.audit = an_audit("none")
        self.acts: list[Json] = []
        self.poison: list[Json] = []
        self.letters_counted = True
        self.failing: tuple[int, Json] | None = None
        """What every request is answered with, while it is set."""
        self.asked: list[tuple[str, str, Query, Json]] = []
        """What was asked of the API: (method, path, query, body)."""
        self.gate, self.arrived = threading.Event(), threading.Event()
        """While the gate is not set, a request waits at it, and has arrived."""
        self.gate.set()
        self._lock = threading.Lock()

    # ---- what tests look at ----

    def sent(self, method: str, path: str) -> list[Json]:
        """The bodies that came with this request."""
        return [body for how, where, _, body in self.asked if (how, where) == (method, path)]

    def state(self, product_id: str) -> Json | None:
        return next((each for each in self.states if each["id"] == product_id), None)

    # ---- the API ----

    def answer(self, method: str, path: str, query: Query, body: Json) -> tuple[int, Json]:
        with self._lock:
            self.asked.append((method, path, query, body))
        if not self.gate.is_set():
            self.arrived.set()
            self.gate.wait(30)
        with self._lock:
            if self.failing:
                return self.failing
            for (verb, pattern), answering in self._routes().items():
                if verb == method and (found := re.fullmatch(pattern, path)):
                    return answering(query, {**body, **found.groupdict()})
        return problem(404, "No such route", f"no such route: {path}")

    def _routes(self) -> dict[tuple[str, str], Answering]:
        return {
            ("GET", "/sync"): lambda _, __: (200, self.summary),
            ("PUT", "/sync/control"): self._control,
            ("GET", "/sync/products"): self._behind,
            ("POST", "/sync/redrive"): self._redrive,
            ("GET", "/sync/dead-letters"): self._letters,
            ("GET", "/sync/acts"): lambda _, __: (200, {"items": self.acts, "nextCursor": None}),
            ("GET", "/sync/audit"): lambda _, __: (200, self.audit),
            ("POST", "/sync/audit"): self._start_audit,
            ("GET", "/products"): self._products,
            ("GET", "/products/(?P<id>[^/]+)/sync"): self._sync,
            ("POST", "/products/(?P<id>[^/]+)/sync"): self._replay,
            ("GET", "/products/(?P<id>[^/]+)/sync/timeline"): self._timeline,
            ("GET", "/products/(?P<id>[^/]+)"): self._product,
        }

    def _control(self, _: Query, body: Json) -> tuple[int, Json]:
        control = {"paused": body["paused"], "reason": None, "until": None, "since": ago(0), **body}
        self.summary["control"] = control
        self._act("pause" if body["paused"] else "resume", body.get("reason"))
        return 200, control

    def _behind(self, query: Query, _: Json) -> tuple[int, Json]:
        found = [
            each
            for each in self.states
            if each["status"]
            in query.get("status", ["pending", "retrying", "exhausted", "rejected"])
            and query.get("errorKind", [each["lastErrorKind"]]) == [each["lastErrorKind"]]
            and query.get("q", [""])[0].lower() in (each["lastError"] or "").lower()
        ]
        begin, limit = int(query.get("cursor", ["0"])[0]), int(query["limit"][0])
        more = str(begin + limit) if begin + limit < len(found) else None
        return 200, {"items": found[begin : begin + limit], "nextCursor": more}

    def _redrive(self, _: Query, body: Json) -> tuple[int, Json]:
        wanted = [body["status"]] if "status" in body else ["exhausted", "rejected"]
        chosen = [each for each in self.states if each["status"] in wanted]
        if not body.get("dryRun"):
            for each in chosen:
                each["status"] = "pending"
            self._act("redrive", body.get("reason"), details={"count": len(chosen)})
        return 202, {"count": len(chosen), "dryRun": bool(body.get("dryRun"))}

    def _letters(self, _: Query, __: Json) -> tuple[int, Json]:
        kept = (
            "name",
            "version",
            "deleted",
            "lastError",
            "lastErrorKind",
            "attempts",
            "failedAt",
            "behindSince",
        )
        items = [
            {
                "productId": each["id"],
                "reason": each["status"],
                "letterSent": True,
                **{key: each[key] for key in kept},
            }
            for each in self.states
            if each["status"] in {"exhausted", "rejected"}
        ]
        number = len(items) if self.letters_counted else None
        return 200, {"count": number, "items": items, "nextCursor": None, "poison": self.poison}

    def _start_audit(self, _: Query, body: Json) -> tuple[int, Json]:
        self.audit = an_audit("running", repair=body["repair"])
        self._act("audit", body.get("reason"))
        return 202, self.audit

    def _products(self, query: Query, _: Json) -> tuple[int, Json]:
        items = [
            self._fields(each)
            for each in self.states
            if query.get("sku", [each.get("sku")]) == [each.get("sku")]
            and each["name"].startswith(query.get("name", [""])[0])
        ]
        return 200, {"items": items, "nextCursor": None}

    def _product(self, _: Query, body: Json) -> tuple[int, Json]:
        state = self.state(body["id"])
        if state is None or state["deleted"]:
            return problem(404, "Product not found", f"no product has the id {body['id']}")
        return 200, self._fields(state)

    def _sync(self, _: Query, body: Json) -> tuple[int, Json]:
        state = self.state(body["id"])
        missing = problem(404, "Product not found", f"no product has the id {body['id']}")
        return missing if state is None else (200, state)

    def _replay(self, _: Query, body: Json) -> tuple[int, Json]:
        state = self.state(body["id"])
        if state is None:
            return problem(404, "Product not found", f"no product has the id {body['id']}")
        state |= {"status": "pending", "budget": state["budget"] + 1, "failedAt": None}
        self._act("replay", body.get("reason"), productId=state["id"])
        return 202, state

    def _timeline(self, _: Query, body: Json) -> tuple[int, Json]:
        state = self.state(body["id"])
        if state is None:
            return problem(404, "Product not found", f"no product has the id {body['id']}")
        return 200, a_timeline(int(state["id"], 16), state["status"])

    def _act(self, what: str, why: str | None, **more: object) -> None:
        act = {"id": str(len(self.acts)), "at": ago(0), "who": "operator", "what": what, "why": why}
        self.acts.insert(0, {**act, "productId": None, "details": {}, **more})

    @staticmethod
    def _fields(state: Json) -> Json:
        return {
            "id": state["id"],
            "name": state["name"],
            "price": simplejson.RawJSON("19.90"),
            "quantity": 3,
            "attributes": {"colour": "black"},
            "version": state["version"],
            "createdAt": ago(90000),
            "updatedAt": ago(7200),
            "syncCompletedAt": None,
            "syncStatus": state["status"],
        }


# ---- serving it ----


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:  # noqa: ANN401 - as the base class has it
        """Say nothing."""


class StubServer:
    """Serves a `StubCatalog`, and the page, on 127.0.0.1."""

    def __init__(self) -> None:
        self.catalog = StubCatalog()
        self._page = cast("WSGIApplication", Gateway(api.app))
        self._server = make_server("127.0.0.1", 0, self._serve, _Server, _Quiet)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self.api = f"http://127.0.0.1:{self._server.server_port}/api"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join(5)
        self._server.server_close()

    def _serve(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401 - of WSGI
        path = environ["PATH_INFO"].removeprefix("/api")
        if path == "/console":
            # wsgiref gives the connection itself, which does not end where the request does.
            return self._page({**environ, "wsgi.input": io.BytesIO()}, start_response)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = simplejson.loads(environ["wsgi.input"].read(length) or b"{}")
        method = environ["REQUEST_METHOD"]
        query = parse_qs(environ.get("QUERY_STRING", ""))
        status, content = self.catalog.answer(method, path, query, copy.deepcopy(body))
        kind = "application/json" if status < 400 else "application/problem+json"
        start_response(f"{status} Whatever", [("Content-Type", kind)])
        return [simplejson.dumps(content).encode()]
