"""JSON in which a number keeps its exact decimal value, in both directions."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, NoReturn

import simplejson

Json = dict[str, Any]
"""A JSON object."""


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def loads(text: str | bytes) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Parse JSON; numbers with a fraction or an exponent become `Decimal`.

    Raises ValueError for anything that RFC 8259 does not allow, and for nesting too deep to parse.
    """
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except ArithmeticError as error:
        raise ValueError("a number out of any range") from error


def dumps(value: object) -> str:
    """Write JSON; a `Decimal` becomes a JSON number, digit by digit."""
    return simplejson.dumps(value, use_decimal=True, ensure_ascii=False, separators=(",", ":"))
