"""The trace of a request, as X-Ray and as W3C Trace Context write it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import telemetry
from chalicelib.domain.trace import PATTERN, from_traceparent, id_of, to_traceparent

ID, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ROOT = "Root=1-0af76519-16cd43dd8448eb211c80319c"
FULL = f"{ROOT};Parent={PARENT};Sampled=1"


@pytest.mark.parametrize(
    ("traceparent", "trace"),
    [
        (f"00-{ID}-{PARENT}-01", FULL),
        (f"00-{ID}-{PARENT}-00", f"{ROOT};Parent={PARENT};Sampled=0"),
        # Of the flags only the lowest bit is known.
        (f"00-{ID}-{PARENT}-03", FULL),
        (f"00-{ID}-{PARENT}-02", f"{ROOT};Parent={PARENT};Sampled=0"),
        (f" 00-{ID}-{PARENT}-01\t", FULL),
        # A later version may have more to say.
        (f"01-{ID}-{PARENT}-01", FULL),
        (f"cc-{ID}-{PARENT}-01-what-the-future-will-be-like", FULL),
    ],
)
def test_a_traceparent_is_a_trace_of_xray(traceparent: str, trace: str) -> None:
    assert from_traceparent(traceparent) == trace


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "nonsense",
        ROOT,
        f"00-{ID}-{PARENT}",
        f"00-{ID}-{PARENT}-01-more",
        f"00-{ID}-{PARENT}-01-",
        f"01-{ID}-{PARENT}-01more",
        f"ff-{ID}-{PARENT}-01",
        f"0-{ID}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{ID}-{'0' * 16}-01",
        f"00-{ID.upper()}-{PARENT}-01",
        f"00-{ID}-{PARENT.upper()}-01",
        f"00-{ID[1:]}-{PARENT}-01",
        f"00-{ID}-{PARENT}0-01",
        f"00-{ID}-{PARENT}-0x",
        f"00-{ID}-{PARENT}-01, 00-{ID}-{PARENT}-01",
        f"01-{ID}-{PARENT}-01-a\nb",
    ],
)
def test_anything_else_is_no_traceparent(value: str | None) -> None:
    assert from_traceparent(value) is None


@pytest.mark.parametrize(
    ("trace", "traceparent"),
    [
        (FULL, f"00-{ID}-{PARENT}-01"),
        (f"{ROOT};Parent={PARENT}", f"00-{ID}-{PARENT}-01"),
        (f"{ROOT};Parent={PARENT};Sampled=0", f"00-{ID}-{PARENT}-00"),
        (f"{ROOT};Parent={PARENT};Sampled=?", f"00-{ID}-{PARENT}-01"),
        # A load balancer writes its own part first; the fields may come in any order.
        (f"Self=1-67891234-12456789abcdef012345678;{FULL}", f"00-{ID}-{PARENT}-01"),
        (f"Sampled=0; Parent={PARENT}; {ROOT};Lineage=a87bd80c:1", f"00-{ID}-{PARENT}-00"),
    ],
)
def test_a_trace_of_xray_is_a_traceparent(trace: str, traceparent: str) -> None:
    assert to_traceparent(trace) == traceparent


@pytest.mark.parametrize(
    "trace",
    [
        None,
        "",
        "Root=1-2-3",
        "anything",
        "Root=1-00000000-000000000000000000000000",
        f"{ROOT[:-1]}g",
        f"{ROOT}\x00",
        f"X{ROOT}",
    ],
)
def test_what_xray_does_not_know_is_no_traceparent(trace: str | None) -> None:
    assert (to_traceparent(trace), id_of(trace)) == (None, None)


@pytest.mark.parametrize("parent", ["", ";Parent=", f";Parent={'0' * 16}", ";Parent=x"])
def test_a_trace_without_a_parent_always_has_the_same_one(parent: str) -> None:
    made = to_traceparent(f"{ROOT}{parent}")
    assert made is not None
    assert made == to_traceparent(ROOT)
    assert from_traceparent(made) is not None


@pytest.mark.parametrize("trace", [ROOT, FULL, f"Self=1-2-3;{ROOT}"])
def test_the_id_of_a_trace_is_that_of_its_traceparent(trace: str) -> None:
    assert id_of(trace) == ID
    assert (to_traceparent(trace) or "").split("-")[1] == ID


def test_a_trace_of_ours_is_a_traceparent() -> None:
    assert re.fullmatch(PATTERN, to_traceparent(telemetry.new_trace()) or "")


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8), st.booleans())
def test_a_trace_comes_back_as_it_was(trace_id: bytes, parent: bytes, sampled: bool) -> None:
    traceparent = f"00-{trace_id.hex()}-{parent.hex()}-0{sampled:d}"
    trace = from_traceparent(traceparent)
    assert (trace is None) == (not any(trace_id) or not any(parent))
    assert trace is None or to_traceparent(trace) == traceparent


@given(st.text())
def test_any_text_is_a_trace_or_none(text: str) -> None:
    for made in (to_traceparent(text), from_traceparent(text)):
        assert made is None or made.isascii()
