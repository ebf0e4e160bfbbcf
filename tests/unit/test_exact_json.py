"""Exact JSON: numbers digit by digit, and how deep it may be nested."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain import exact_json
from chalicelib.domain.errors import PoisonMessageError
from chalicelib.domain.exact_json import DEPTH_LIMIT
from chalicelib.domain.messages import parse_sync_message, sync_message_for

if TYPE_CHECKING:
    from collections.abc import Callable

JSON_VALUES = st.recursive(
    # Brackets, quotes and backslashes are what can mislead the scan.
    st.none() | st.integers() | st.text() | st.text(alphabet='[]{}"\\,:\n'),
    lambda children: st.lists(children) | st.dictionaries(st.text(alphabet='[]{}"\\ab'), children),
    max_leaves=20,
)
ODD_TEXTS = st.text(alphabet='[]{}"\\,:1 ', max_size=40)


def depth_of(value: object) -> int:
    if not isinstance(value, list | dict):
        return 0
    children = value.values() if isinstance(value, dict) else value
    return 1 + max((depth_of(child) for child in children), default=0)


def depth_of_parser(text: str) -> int:
    """How deep the parser of Python gets into a text, valid or not, before it gives up."""
    depth = deepest = 0
    decoder: Any = json.JSONDecoder()

    def counted(parse: Callable[..., object]) -> Callable[..., object]:
        def parse_one_deeper(*args: object) -> object:
            nonlocal depth, deepest
            depth += 1
            deepest = max(depth, deepest)
            result = parse(*args)
            depth -= 1
            return result

        return parse_one_deeper

    decoder.parse_object = counted(decoder.parse_object)
    decoder.parse_array = counted(decoder.parse_array)
    # The one in C does not call back.
    decoder.scan_once = json.scanner.py_make_scanner(decoder)  # type: ignore[attr-defined]  # not in typeshed
    with suppress(ValueError):
        decoder.decode(text)
    return deepest


def loads_within(limit: int, text: str, monkeypatch: pytest.MonkeyPatch) -> object:
    with monkeypatch.context() as patch:
        patch.setattr(exact_json, "DEPTH_LIMIT", limit)
        return exact_json.loads(text)


@given(value=JSON_VALUES, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_the_scan_finds_the_depth_that_the_parser_makes(
    value: object, *, ascii_only: bool, indent: int | None
) -> None:
    text, depth = json.dumps(value, ensure_ascii=ascii_only, indent=indent), depth_of(value)
    monkeypatch = pytest.MonkeyPatch()
    assert loads_within(depth, text, monkeypatch) == value
    if depth:
        with pytest.raises(ValueError, match=f"nested deeper than {depth - 1} levels"):
            loads_within(depth - 1, text, monkeypatch)


@given(text=ODD_TEXTS)
def test_in_no_text_valid_or_not_the_parser_gets_deeper_than_the_scan(text: str) -> None:
    depth = depth_of_parser(text)
    if depth:
        with pytest.raises(ValueError, match=f"nested deeper than {depth - 1} levels"):
            loads_within(depth - 1, text, pytest.MonkeyPatch())


@pytest.mark.parametrize("depth", [DEPTH_LIMIT - 1, DEPTH_LIMIT])
@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"a":', "}")])
def test_nesting_up_to_the_limit_is_read(depth: int, start: str, end: str) -> None:
    assert depth_of(exact_json.loads(start * depth + "1" + end * depth)) == depth


@pytest.mark.parametrize("depth", [DEPTH_LIMIT + 1, 945, 3000, 100_000])
@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"a":', "}"), ('{"[\\"":[', "]}")])
@pytest.mark.parametrize("closed", [True, False])
def test_nesting_beyond_the_limit_is_refused(
    depth: int, start: str, end: str, *, closed: bool
) -> None:
    text = start * depth + ("1" + end * depth if closed else "")
    for given_as in (text, text.encode()):
        with pytest.raises(ValueError, match=r"^nested deeper than 100 levels$"):
            exact_json.loads(given_as)


def test_brackets_side_by_side_and_within_strings_do_not_nest() -> None:
    assert exact_json.loads("[" + "[]," * 50_000 + "{}]")[-1] == {}
    assert exact_json.loads('["' + "[" * 100_000 + '\\"{"]') == ["[" * 100_000 + '"{']


@pytest.mark.parametrize(
    "text", ['"' * 200_000, '\\"' * 100_000, '"' + '\\"' * 100_000, "[]" * 100_000, "\\" * 200_000]
)
def test_the_scan_is_linear(text: str) -> None:
    started = time.monotonic()
    with pytest.raises(ValueError, match=r".+"):
        exact_json.loads(text)
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("text", ['{"a":1}', "[1]"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le"])
def test_json_in_another_encoding_than_utf8_is_refused(text: str, encoding: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        exact_json.loads(text.encode(encoding))


def test_a_byte_order_mark_is_passed_over() -> None:
    assert exact_json.loads(b"\xef\xbb\xbf[1]") == [1]


# ---- messages and events ----


READERS: dict[str, Callable[[str], object]] = {
    "message": parse_sync_message,
    "event": lambda text: sync_message_for(text.encode(), None),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("depth", [DEPTH_LIMIT + 1, 945, 100_000])
@pytest.mark.parametrize("start", ["[", '{"a":'])
def test_what_is_nested_too_deep_is_poison(reader: str, depth: int, start: str) -> None:
    with pytest.raises(PoisonMessageError, match="nested deeper than 100 levels"):
        READERS[reader](start * depth)


def test_what_is_nested_within_a_message_does_no_harm() -> None:
    deep = "[" * 99 + "]" * 99
    message = parse_sync_message(f'{{"productId": "p", "version": 1, "budget": 0, "more": {deep}}}')
    assert (message.product_id, message.version) == ("p", 1)


# ---- numbers and texts ----


@pytest.mark.parametrize("text", ["12.50", "0.0001", "1.10", "123456789012345678.123456789"])
def test_a_fraction_is_read_and_written_digit_by_digit(text: str) -> None:
    assert exact_json.dumps(exact_json.loads(text)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_any_decimal_survives_the_way_through_json(value: Decimal) -> None:
    assert exact_json.loads(exact_json.dumps([value])) == [value]


@pytest.mark.parametrize(
    "text",
    ["", "{", "NaN", "[Infinity]", "[-Infinity]", "01", "{'a':1}", "[" * 100_000, b"\xff\xfe\x00"],
)
def test_what_is_not_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        exact_json.loads(text)


@pytest.mark.parametrize("text", ["1e999999999999999999999", "1" * 5000])
def test_a_number_out_of_any_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        exact_json.loads(text)


def test_text_is_written_as_it_is() -> None:
    assert exact_json.dumps({"a": "naïve 🚀"}) == '{"a":"naïve 🚀"}'
