"""The API fails: what is tried again, and what stops the import."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from catalogctl.importing import ImportStoppedError, import_file
from tests.unit.catalogctl.importing.catalog import Catalog, Seen
from tests.unit.catalogctl.importing.files import TOKEN, lines

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 409])
def test_a_passing_failure_is_tried_again_under_the_same_key(
    catalog: Catalog, write: Callable[..., Path], status: int
) -> None:
    catalog.fail(status)
    assert import_file(write(lines(1)), catalog.url, TOKEN).loaded == 1
    assert catalog.requests[0].key == catalog.requests[1].key


def test_a_passing_failure_of_one_item_is_tried_again(
    catalog: Catalog, write: Callable[..., Path]
) -> None:
    catalog.fail(207, {"items": [{"status": 503, "error": {"detail": "away"}}]})
    assert import_file(write(lines(1)), catalog.url, TOKEN).loaded == 1


def test_retry_after_in_seconds_is_honoured(catalog: Catalog, write: Callable[..., Path]) -> None:
    catalog.fail(503, Retry_After="1")
    assert import_file(write(lines(1)), catalog.url, TOKEN).seconds >= 1


def test_retry_after_as_a_date_is_honoured(catalog: Catalog, write: Callable[..., Path]) -> None:
    later = datetime.now(UTC) + timedelta(seconds=100)
    catalog.fail(503, Retry_After=format_datetime(later, usegmt=True))
    with pytest.raises(ImportStoppedError, match="answered 503"):
        import_file(write(lines(1)), catalog.url, TOKEN, patience=60)


def test_a_retry_after_that_is_neither_is_ignored(
    catalog: Catalog, write: Callable[..., Path]
) -> None:
    catalog.fail(503, Retry_After="soon")
    assert import_file(write(lines(1)), catalog.url, TOKEN).loaded == 1


def test_patience_ends_with_a_word_on_how_to_resume(
    catalog: Catalog, write: Callable[..., Path]
) -> None:
    catalog.failures = [(503, {}, {"detail": "the store is away"})] * 1000
    with pytest.raises(ImportStoppedError, match=r"the store is away.*Running it again resumes"):
        # Longer than a first request takes on a machine that runs other tests.
        import_file(write(lines(1)), catalog.url, TOKEN, patience=1.0)
    assert len(catalog.requests) > 1


def test_an_api_that_cannot_be_reached_is_tried_until_patience_ends(
    write: Callable[..., Path],
) -> None:
    with pytest.raises(ImportStoppedError, match="Running it again resumes"):
        import_file(write(lines(1)), "http://127.0.0.1:1/api", TOKEN, patience=0.2)


def test_a_wait_for_the_api_is_told_once_with_its_reason(
    catalog: Catalog, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalogctl.importing._FIRST_WAIT_SECONDS", 0.001)
    catalog.failures = [(503, {}, {"detail": "the store is away"})] * 6
    told: list[str] = []

    assert import_file(write(lines(1)), catalog.url, TOKEN, on_wait=told.append).loaded == 1

    (reason,) = told
    assert reason.endswith("answered 503 (the store is away); trying again for up to 120 s")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_stops_at_once(
    catalog: Catalog, write: Callable[..., Path], status: int
) -> None:
    catalog.fail(status)
    with pytest.raises(ImportStoppedError, match="the token is not valid or lacks the scope"):
        import_file(write(lines(1)), catalog.url, TOKEN)
    assert len(catalog.requests) == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {}),
        (301, None),
        (404, None),
        (207, None),
        (207, {"items": []}),
        (207, {"items": [{}]}),
    ],
)
def test_an_answer_that_no_catalog_gives_stops_at_once(
    catalog: Catalog, write: Callable[..., Path], status: int, body: object
) -> None:
    catalog.fail(status, body)
    with pytest.raises(ImportStoppedError, match=f"answered {status}"):
        import_file(write(lines(1)), catalog.url, TOKEN)
    assert len(catalog.requests) == 1


def test_a_redirect_is_not_followed(catalog: Catalog, write: Callable[..., Path]) -> None:
    catalog.fail(307, Location="/api/products/batch")
    with pytest.raises(ImportStoppedError, match="answered 307"):
        import_file(write(lines(1)), catalog.url, TOKEN)


def test_a_url_that_is_none_stops_at_once(write: Callable[..., Path]) -> None:
    with pytest.raises(ImportStoppedError, match="No scheme supplied"):
        import_file(write(lines(1)), "catalog.example/api", TOKEN)


def test_a_stop_reports_what_was_settled_before(
    catalog: Catalog, write: Callable[..., Path]
) -> None:
    path = write(lines(100) + '{"name": "last"}\n')
    original = catalog.answer

    def answer(seen: Seen) -> tuple[int, dict[str, str], object]:
        return (401, {}, None) if seen.items[0]["name"] == "last" else original(seen)

    catalog.answer = answer  # type: ignore[method-assign]
    with pytest.raises(ImportStoppedError) as stopped:
        import_file(path, catalog.url, TOKEN, workers=1)
    assert stopped.value.report.loaded == 100
