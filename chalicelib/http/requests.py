"""What the API reads of a request: body, query, origin, preconditions."""

from __future__ import annotations

import re
from typing import Any

from chalice.app import Request

from chalicelib import telemetry
from chalicelib.domain import exact_json
from chalicelib.domain.errors import (
    FieldError,
    InvalidRequestError,
    MalformedRequestError,
    PayloadTooLargeError,
)
from chalicelib.domain.exact_json import Json
from chalicelib.domain.product import SIZE_LIMIT
from chalicelib.http import authorizer
from chalicelib.usecases.catalog import Origin, Precondition


def body(request: Request, *, required: bool = True) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Parse the JSON body.

    Raises MalformedRequestError if it cannot be read as JSON, PayloadTooLargeError above
    SIZE_LIMIT bytes.
    """
    raw = request.raw_body
    if not raw and not required:
        return {}
    if len(raw) > SIZE_LIMIT:
        raise PayloadTooLargeError(f"a body may have {SIZE_LIMIT} bytes at most")
    try:
        return exact_json.loads(raw)
    except ValueError as error:
        raise MalformedRequestError(f"the body cannot be read as JSON: {error}") from error


def query(request: Request) -> Json:
    """Give the query's parameters."""
    return dict(request.query_params or {})


def query_or_body(request: Request) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Give the parameters of the query and of an optional JSON body together.

    Raises as `body`, and InvalidRequestError for a name that is in both.
    """
    asked, given = query(request), body(request, required=False)
    if not isinstance(given, dict):
        return given
    if twice := [FieldError(name, "is given twice") for name in asked.keys() & given.keys()]:
        raise InvalidRequestError(twice)
    return asked | given


def origin(request: Request) -> Origin:
    """Give the caller, the idempotency key and the trace of a request.

    Raises InvalidRequestError for a key that is empty or longer than 255 characters, or whose token
    has no `sub`.
    """
    principal, key = authorizer.principal(request), _header(request, "Idempotency-Key")
    if key is not None and not 0 < len(key) <= 255:
        raise InvalidRequestError([FieldError("Idempotency-Key", "must have 1 to 255 characters")])
    if key is not None and not principal:
        # Keys are scoped to the token's `sub`. Callers without one would share their keys. Keys
        # scoped to the token itself would end with it, and a repetition with the next token would
        # create a second product.
        fault = FieldError("Idempotency-Key", "needs a token with a sub claim")
        raise InvalidRequestError([fault])
    trace = _header(request, "X-Amzn-Trace-Id") or telemetry.new_trace()
    return Origin(principal, key, trace)


def precondition(request: Request) -> Precondition:
    """Parse If-Match: the versions that may be changed. Raises InvalidRequestError."""
    return Precondition(_entity_tags(request, "If-Match", strong=True))


def is_known(request: Request, version: int) -> bool:
    """Say whether If-None-Match names this version. Raises InvalidRequestError."""
    tags = _entity_tags(request, "If-None-Match", strong=False)
    if _header(request, "If-None-Match") is None:
        return False
    return tags is None or str(version) in tags


_ENTITY_TAG = re.compile(r'\s*(W/)?"([^"]*)"\s*(?:,|$)')


def _entity_tags(request: Request, name: str, *, strong: bool) -> list[str] | None:
    """Parse If-Match or If-None-Match (RFC 9110); None means any version."""
    value = _header(request, name)
    if value is None or value.strip() == "*":
        return None
    tags, position = [], 0
    while position < len(value):
        found = _ENTITY_TAG.match(value, position)
        if found is None:
            fault = FieldError(name, 'must be * or entity tags such as "3"')
            raise InvalidRequestError([fault])
        if not (strong and found[1]):
            tags.append(found[2])
        position = found.end()
    return tags


def _header(request: Request, name: str) -> str | None:
    value: str | None = request.headers.get(name.lower())
    return value
