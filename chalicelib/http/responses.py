"""Answers of the API: JSON, a product with its entity tag, one item of a batch."""

from __future__ import annotations

from chalice.app import Response

from chalicelib.domain import exact_json
from chalicelib.domain.errors import CatalogError
from chalicelib.domain.exact_json import Json
from chalicelib.http.problems import problem_body


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


def entity_tag(product: Json) -> str:
    """Give the entity tag of a product: its version."""
    return f'"{product["version"]}"'


def batch_item(outcome: Json | CatalogError) -> Json:
    """Give the result of one item: the status and body that a single request would have got."""
    if isinstance(outcome, CatalogError):
        problem = problem_body(outcome)
        return {"status": problem["status"], "error": problem}
    return {"status": 201, "product": outcome}
