"""API Gateway for the container host: the same Chalice app as a WSGI application.

Builds the event that API Gateway would send without an authorizer, so that the app checks the
token. Answers requests without a route (404) and requests that are too large (413) itself, and
leaves out the body of the answer to HEAD. Not used on Lambda.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from chalice.app import Chalice
from chalice.local import LambdaEventConverter, RouteMatcher

from chalicelib.domain.errors import CatalogError, PayloadTooLargeError
from chalicelib.domain.exact_json import Json
from chalicelib.http.contract import OPERATIONS
from chalicelib.http.problems import NoSuchRouteError, problem_response
from chalicelib.http.responses import readable

BASE = "/api"
REQUEST_LIMIT = 10 * 1024 * 1024
"""Bytes: API Gateway's own limit for a request."""

OPERATION = "catalog.operation"
"""In the environ, once it has been answered: the name of the operation, or NO_OPERATION."""
NO_OPERATION = "none"
_NAMES = {(operation.method, operation.path): operation.name for operation in OPERATIONS}

Environ = MutableMapping[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]


class Gateway:
    """A WSGI application that puts a Chalice app under `/api`."""

    def __init__(self, app: Chalice) -> None:
        self._app = app
        self._matcher = RouteMatcher(list(app.routes))
        self._events = LambdaEventConverter(self._matcher, app.api.binary_types)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        answer = self._answer(environ)
        content = answer.get("body") or ""
        body = content if isinstance(content, bytes) else content.encode()
        headers = {**answer["headers"], "Content-Length": str(len(body))}
        status = HTTPStatus(answer["statusCode"])
        if status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
            # These answers have no body, and so none of its headers.
            del headers["Content-Length"]
            headers.pop("Content-Type", None)
        start_response(f"{status.value} {status.phrase}", list(headers.items()))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _answer(self, environ: Environ) -> dict[str, Any]:
        method = environ["REQUEST_METHOD"]
        environ[OPERATION] = NO_OPERATION
        path = quote(environ.get("PATH_INFO", ""), encoding="latin-1")
        if not path.endswith("//"):
            # As API Gateway does.
            path = path.removesuffix("/")
        if not self._exists(path):
            return self._refusal(NoSuchRouteError(f"no such route: {path}"))
        body = _read_body(environ)
        if body is None:
            limit = f"a request may have {REQUEST_LIMIT} bytes at most"
            return self._refusal(PayloadTooLargeError(limit))
        url = path.removeprefix(BASE) + "?" + environ.get("QUERY_STRING", "")
        event = self._events.create_lambda_event(method, url, _headers(environ), body)
        environ[OPERATION] = _operation(method, event)
        answer: dict[str, Any] = self._app(event, None)
        return answer

    def _refusal(self, error: CatalogError) -> dict[str, Any]:
        response = readable(problem_response(error))
        answer: dict[str, Any] = response.to_dict(self._app.api.binary_types)
        return answer

    def _exists(self, path: str) -> bool:
        if not path.startswith(f"{BASE}/") or "//" in path:
            return False
        try:
            self._matcher.match_route(path.removeprefix(BASE))
        except ValueError:
            return False
        return True


def _operation(method: str, event: Json) -> str:
    path = event["requestContext"]["resourcePath"]
    return _NAMES.get(("GET" if method == "HEAD" else method, path), NO_OPERATION)


def _read_body(environ: Environ) -> bytes | None:
    """Read the body; None if it is larger than API Gateway's limit."""
    body: bytes = environ["wsgi.input"].read(REQUEST_LIMIT + 1)
    return body if len(body) <= REQUEST_LIMIT else None


def _headers(environ: Environ) -> dict[str, str]:
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    if environ.get("CONTENT_TYPE"):
        headers["content-type"] = environ["CONTENT_TYPE"]
    return headers
