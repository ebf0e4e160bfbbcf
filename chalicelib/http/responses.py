"""Answers of the API: JSON, a product with its entity tag, one item of a batch."""

from __future__ import annotations

from collections.abc import Iterable

from chalice.app import Response

from chalicelib.bootstrap import allowed_origin
from chalicelib.domain import exact_json
from chalicelib.domain.errors import CatalogError
from chalicelib.domain.exact_json import Json
from chalicelib.http.contract import HEADERS
from chalicelib.http.problems import MethodNotAllowedError, problem_body, problem_response


def respond(status: int, content: object, **headers: str) -> Response:
    """Answer with JSON."""
    return Response(
        exact_json.dumps(content), {"Content-Type": "application/json", **headers}, status
    )


def respond_product(status: int, product: Json, **headers: str) -> Response:
    """Answer with a product and its entity tag."""
    return respond(status, product, ETag=entity_tag(product), **headers)


def not_modified(product: Json) -> Response:
    """Answer 304: the caller has this version."""
    return Response("", {"ETag": entity_tag(product)}, 304)


def no_content() -> Response:
    """Answer 204, without a body."""
    return Response("", {}, 204)


def methods_of_path(methods: Iterable[str]) -> Response:
    """Answer OPTIONS: the methods of a path, to a browser too that asks for a page's request."""
    allow = _allow(methods)
    response = Response("", {"Allow": allow}, 204)
    if allowed_origin():
        response.headers |= {
            "Access-Control-Allow-Methods": allow,
            "Access-Control-Allow-Headers": ",".join(["Authorization", "Content-Type", *HEADERS]),
            "Access-Control-Max-Age": "600",
        }
    return readable(response)


def method_not_allowed(method: str, methods: Iterable[str]) -> Response:
    """Answer 405: the path has other methods."""
    allow = _allow(methods)
    response = problem_response(
        MethodNotAllowedError(f"the path has no method {method}, but {allow}")
    )
    response.headers["Allow"] = allow
    return readable(response)


def _allow(methods: Iterable[str]) -> str:
    """Name the methods of a path: also what every path, and every path with a GET, has."""
    given = {*methods, "OPTIONS"}
    return ", ".join(sorted(given | {"HEAD"} if "GET" in given else given))


def readable(response: Response) -> Response:
    """Add the headers by which a browser lets pages of the allowed origin read an answer."""
    if allowed := allowed_origin():
        response.headers |= {
            "Access-Control-Allow-Origin": allowed,
            "Access-Control-Expose-Headers": "ETag,Location,Retry-After",
            "Vary": "Origin",
        }
    return response


def entity_tag(product: Json) -> str:
    """Give the entity tag of a product: its version."""
    return f'"{product["version"]}"'


def batch_item(outcome: Json | CatalogError) -> Json:
    """Give the result of one item: the status and body that a single request would have got."""
    if isinstance(outcome, CatalogError):
        problem = problem_body(outcome)
        return {"status": problem["status"], "error": problem}
    return {"status": 201, "product": outcome}
