"""Bodies and parameters that are checked by their models; an error names the fields at fault."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    StringConstraints,
    ValidationError,
)

from chalicelib.domain.errors import FieldError, InvalidRequestError
from chalicelib.domain.exact_json import Json
from chalicelib.domain.failures import KIND
from chalicelib.domain.times import in_milliseconds

Model = TypeVar("Model", bound=BaseModel)

READ_ONLY = frozenset({"id", "version", "createdAt", "updatedAt", "deletedAt"}) | {
    "syncCompletedAt",
    "syncStatus",
}
"""Fields of a product that the server makes."""
_TIME = "must be a time of RFC 3339, such as 2026-01-31T22:00:00Z"
_DATE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}T")


def text_of_time(value: object) -> object:
    """Refuse numbers, also as text, which pydantic takes for seconds since 1970."""
    if value is not None and not (isinstance(value, str) and _DATE.match(value)):
        raise ValueError(_TIME)
    if isinstance(value, str) and " " in value:
        # What a + in a query is read as.
        raise ValueError(f"{_TIME}; in a query a + is written as %2B")
    return value


def true_or_false(value: object) -> object:
    """Take what JSON and a query write, and nothing that only looks like it."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def in_utc(time: datetime) -> datetime:
    """Give a time as it is stored: in UTC, in milliseconds. Raises ValueError if it has no UTC."""
    try:
        return in_milliseconds(time.astimezone(UTC))
    except OverflowError:
        raise ValueError("must be a time from year 1 to year 9999 in UTC") from None


OptionalTime = Annotated[
    Annotated[AwareDatetime, AfterValidator(in_utc)] | None, BeforeValidator(text_of_time)
]
"""A time of RFC 3339, as it is stored; None if none is given."""


ErrorKind = Annotated[str, StringConstraints(pattern=f"^({KIND})$")] | None
"""A kind of the errors of the supply chain."""


def validated(model: type[Model], body: object, *, unknown: str | None = None) -> Model:
    """Validate a body. Raises InvalidRequestError, which names the fields at fault.

    `unknown` is what it says of a field that the model does not have.
    """
    try:
        return model.model_validate(body)
    except ValidationError as error:
        found = [_field_error(dict(item), unknown) for item in error.errors()]
        raise InvalidRequestError(found) from None


def _field_error(item: Json, unknown: str | None) -> FieldError:
    path = ".".join(str(part) for part in item["loc"] if part != "[key]")
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        message = unknown or ("is read-only" if path in READ_ONLY else "is not a known field")
    if item["type"] == "timezone_aware":
        message = _TIME
    if item["type"] in {"model_type", "dict_type"} and not path:
        message = "must be a JSON object"
    # A field's name may contain a lone surrogate, which the answer cannot.
    return FieldError(path.encode("utf-8", "replace").decode() or "body", message)
