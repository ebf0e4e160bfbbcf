"""The kinds of failures, and that each has a pattern which finds its errors and no others."""

from __future__ import annotations

import re

import pytest

from chalicelib.domain.failures import KIND, kind_of, pattern_of

ERRORS = {
    "HTTP 503: busy": "http-503",
    "HTTP 503": "http-503",
    "HTTP 200, but it answers with version 3": "http-200",
    "HTTP 404, but the GET of the product failed: no answer within 10 s": "http-404",
    "no answer within 10 s": "timeout",
    "every worker that tried it has crashed": "worker",
    "api.example.com refused the connection": "connection",
    "HTTP is not spoken here": "connection",
    "HTTP 5000": "connection",
    "the answer ended early\nHTTP 503": "connection",
}


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_has_a_kind(error: str) -> None:
    assert kind_of(error) == ERRORS[error]
    assert re.fullmatch(KIND, ERRORS[error])


def test_no_error_has_no_kind() -> None:
    assert kind_of(None) is None


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("kind", sorted({*ERRORS.values(), "http-50"}))
def test_a_pattern_finds_the_errors_of_its_kind_only(error: str, kind: str) -> None:
    assert bool(re.search(pattern_of(kind), error)) == (kind_of(error) == kind)
