"""What the API reads of a request: body, query, origin, preconditions."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from chalice.app import MultiDict, Request
from pydantic import BaseModel

from chalicelib import telemetry
from chalicelib.domain import exact_json
from chalicelib.domain.errors import (
    FieldError,
    InvalidRequestError,
    MalformedRequestError,
    PayloadTooLargeError,
)
from chalicelib.domain.events import HEADER_VALUE, TRACE_HEADER
from chalicelib.domain.exact_json import Json
from chalicelib.domain.product import SIZE_LIMIT
from chalicelib.domain.trace import TRACEPARENT, from_traceparent, id_of
from chalicelib.http import authorizer
from chalicelib.http.contract import ENTITY_TAG, HEADERS
from chalicelib.usecases.catalog import Origin, Precondition


def body(request: Request, *, required: bool = True) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Parse the JSON body.

    Raises MalformedRequestError if it cannot be read as JSON, PayloadTooLargeError above
    SIZE_LIMIT bytes.
    """
    raw = request.raw_body
    if not raw and not required:
        return {}
    if not raw:
        raise MalformedRequestError("the body is empty; JSON is required")
    if len(raw) > SIZE_LIMIT:
        raise PayloadTooLargeError(f"a body may have {SIZE_LIMIT} bytes at most")
    try:
        return exact_json.loads(raw)
    except ValueError as error:
        raise MalformedRequestError(f"the body cannot be read as JSON: {error}") from error


def query(request: Request, model: type[BaseModel] | None) -> Json:
    """Give the query's parameters; those that are a list in the model, as lists.

    Raises InvalidRequestError for a parameter that is repeated and is no list; without a model, for
    every parameter. The model itself refuses those that it does not know.
    """
    given = request.query_params or MultiDict({})
    values: dict[str, list[str]] = {name: given.getlist(name) for name in given}
    if model is None and values:
        raise InvalidRequestError([FieldError(name, "is not a known parameter") for name in values])
    lists = _list_parameters(model) if model else frozenset()
    repeated = [name for name, each in values.items() if len(each) > 1 and name not in lists]
    if repeated:
        raise InvalidRequestError([FieldError(name, "may be given once only") for name in repeated])
    return {name: each if name in lists else each[0] for name, each in values.items()}


@cache
def _list_parameters(model: type[BaseModel]) -> frozenset[str]:
    """Give the names of a query model's parameters that may be repeated."""
    properties = model.model_json_schema()["properties"]
    return frozenset(
        name
        for name, schema in properties.items()
        if any(kind.get("type") == "array" for kind in schema.get("anyOf", [schema]))
    )


def query_or_body(request: Request, model: type[BaseModel]) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Give the parameters of the query and of an optional JSON body together.

    Raises as `body` and `query`, and InvalidRequestError for a name that is in both.
    """
    asked, given = query(request, model), body(request, required=False)
    if not isinstance(given, dict):
        return given
    if twice := [FieldError(name, "is given twice") for name in asked.keys() & given.keys()]:
        raise InvalidRequestError(twice)
    return asked | given


def origin(request: Request) -> Origin:
    """Give the caller, the idempotency key and the trace of a request.

    Raises InvalidRequestError for a key that does not fit its pattern, or whose token has no `sub`.
    """
    principal, key = authorizer.principal(request), _header(request, "Idempotency-Key")
    if key is not None and not _fits(key, "Idempotency-Key"):
        message = "must have 1 to 255 printable ASCII characters"
        raise InvalidRequestError([FieldError("Idempotency-Key", message)])
    if key is not None and not principal:
        # Keys are scoped to the token's `sub`. Callers without one would share their keys. Keys
        # scoped to the token itself would end with it, and a repetition with the next token would
        # create a second product.
        fault = FieldError("Idempotency-Key", "needs a token with a sub claim")
        raise InvalidRequestError([fault])
    return Origin(principal, key, trace(request))


def trace(request: Request) -> str:
    """Give the trace of a request: the caller's `traceparent`, or X-Ray's header, or a new one.

    What is neither is ignored: nothing could be found by it.
    """
    given, xray = from_traceparent(_header(request, TRACEPARENT)), _header(request, TRACE_HEADER)
    if given is None and xray is not None and id_of(xray) and HEADER_VALUE.fullmatch(xray):
        given = xray
    return given or telemetry.new_trace()


def precondition(request: Request) -> Precondition:
    """Parse If-Match: the versions that may be changed. Raises InvalidRequestError."""
    return Precondition(_entity_tags(request, "If-Match", strong=True))


def is_known(request: Request, version: int) -> bool:
    """Say whether If-None-Match names this version. Raises InvalidRequestError."""
    tags = _entity_tags(request, "If-None-Match", strong=False)
    if _header(request, "If-None-Match") is None:
        return False
    return tags is None or str(version) in tags


def _entity_tags(request: Request, name: str, *, strong: bool) -> list[str] | None:
    """Parse If-Match or If-None-Match (RFC 9110); None means any version."""
    value = _header(request, name)
    if value is None or value.strip() == "*":
        return None
    if not _fits(value, name):
        raise InvalidRequestError([FieldError(name, 'must be * or entity tags such as "3"')])
    tags = re.findall(ENTITY_TAG, value)
    return [version for weak, version in tags if not (strong and weak)]


def _fits(value: str, name: str) -> bool:
    """Say whether a header's value fits the pattern of the contract."""
    return re.fullmatch(HEADERS[name]["schema"]["pattern"], value) is not None


def _header(request: Request, name: str) -> str | None:
    value: str | None = request.headers.get(name.lower())
    return value
