"""A small catalog over real HTTP, as far as the importer uses it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import simplejson


@dataclass
class Seen:
    """One request as the catalog saw it."""

    key: str
    authorization: str
    size: int
    items: list[dict[str, Any]]
    text: str


@dataclass
class Catalog:
    """Answers `failures` first, one per request, then creates; the same key repeats its answer."""

    url: str = ""
    failures: list[tuple[int, dict[str, str], object]] = field(default_factory=list)
    requests: list[Seen] = field(default_factory=list)
    created: dict[str, dict[str, Any]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(self, status: int, body: object = None, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.failures.append((status, named, body))

    def answer(self, seen: Seen) -> tuple[int, dict[str, str], object]:
        with self.lock:
            self.requests.append(seen)
            if self.failures:
                return self.failures.pop(0)
            results = [self._create(f"{seen.key}/{n}", item) for n, item in enumerate(seen.items)]
            return 207, {}, {"items": results}

    def _create(self, key: str, item: dict[str, Any]) -> dict[str, Any]:
        skus = {held["sku"] for held in self.created.values() if "sku" in held}
        if key not in self.created and item.get("sku") in skus:
            return {"status": 409, "error": {"status": 409, "detail": "the sku exists"}}
        if not item.get("name"):
            errors = [{"field": "name", "message": "must have 1 to 200 characters"}]
            return {"status": 422, "error": {"detail": "breaks a rule", "errors": errors}}
        self.created[key] = item
        return {"status": 201, "product": item}

    def products(self) -> list[dict[str, Any]]:
        return list(self.created.values())


def handler_of(catalog: Catalog) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            items = simplejson.loads(text, use_decimal=True)["items"]
            key, auth = self.headers["Idempotency-Key"], self.headers["Authorization"]
            found = self.path == "/api/products/batch"
            seen = Seen(key, auth, len(text.encode()), items, text)
            status, headers, body = catalog.answer(seen) if found else (404, {}, None)
            data = simplejson.dumps(body, use_decimal=True).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
