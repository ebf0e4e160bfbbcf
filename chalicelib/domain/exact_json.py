"""JSON in which a number keeps its exact decimal value, in both directions."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any, NoReturn

import simplejson

Json = dict[str, Any]
"""A JSON object."""
DEPTH_LIMIT = 100
"""Levels of nested arrays and objects. Python's recursion limit differs between versions, and code
that recurses over parsed JSON must stay far below it."""

# Also matches an unclosed string to its end, without backtracking: the scan stays linear.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


# Made once: the modules' own functions make a new one at each call.
_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse)
_ENCODER = simplejson.JSONEncoder(use_decimal=True, ensure_ascii=False, separators=(",", ":"))


def loads(text: str | bytes) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Parse JSON; numbers with a fraction or an exponent become `Decimal`.

    Raises ValueError for anything that RFC 8259 does not allow (bytes must be UTF-8), and for text
    that is nested deeper than DEPTH_LIMIT.
    """
    decoded = text if isinstance(text, str) else text.decode("utf-8-sig")
    _check_depth(decoded)
    try:
        return _DECODER.decode(decoded)
    except ArithmeticError as error:
        raise ValueError("a number out of any range") from error


def _check_depth(text: str) -> None:
    """Count the brackets outside of strings before parsing, which recurses."""
    if text.count("[") + text.count("{") <= DEPTH_LIMIT:
        return
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > DEPTH_LIMIT:
            raise ValueError(f"nested deeper than {DEPTH_LIMIT} levels")


def dumps(value: object) -> str:
    """Write JSON; a `Decimal` becomes a JSON number, digit by digit."""
    return _ENCODER.encode(value)
