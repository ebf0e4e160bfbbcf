"""`catalogctl import`: its exit codes and what it prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import simplejson

from tests.unit.catalogctl.importing.catalog import Catalog
from tests.unit.catalogctl.importing.files import TOKEN, line, lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.catalogctl.conftest import Run


@pytest.fixture(autouse=True)
def known(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names the catalog."""
    monkeypatch.setenv("CATALOG_API", catalog.url)
    monkeypatch.setenv("CATALOG_TOKEN", TOKEN)


def test_it_ends_with_0_and_a_summary_when_all_is_loaded(
    run: Run, write: Callable[..., Path]
) -> None:
    ended = run("import", str(write(lines(3))))
    assert ended.exit_code == 0
    assert ended.stdout.startswith("loaded 3, already there 0, refused 0, ")


def test_it_ends_with_1_and_names_file_and_line_of_a_refusal(
    run: Run, write: Callable[..., Path]
) -> None:
    path = write(f"{line(1)}\nnonsense\n")
    ended = run("import", str(path))
    assert ended.exit_code == 1
    assert f"{path}:2: not JSON" in ended.stderr


def test_json_has_the_numbers_and_the_refused_lines(run: Run, write: Callable[..., Path]) -> None:
    ended = run("import", str(write(f"{line(1)}\nnonsense\n")), "--json")
    told = simplejson.loads(ended.stdout)
    assert (told["loaded"], told["alreadyThere"], told["refused"]) == (1, 0, 1)
    assert told["refusals"][0]["line"] == 2


def test_it_ends_with_3_when_the_api_refuses_the_token(
    run: Run, catalog: Catalog, write: Callable[..., Path]
) -> None:
    catalog.fail(403)
    ended = run("import", str(write(lines(1))))
    assert ended.exit_code == 3
    assert "lacks the scope products:write\nso far: loaded 0" in ended.stderr


def test_it_ends_with_4_when_the_api_fails_for_too_long(
    run: Run, catalog: Catalog, write: Callable[..., Path]
) -> None:
    catalog.failures = [(503, {}, None)] * 1000
    ended = run("import", str(write(lines(1))), "--patience", "0.1")
    assert ended.exit_code == 4
    assert "Running it again resumes." in ended.stderr


def test_it_ends_with_2_when_there_is_no_such_file(run: Run) -> None:
    ended = run("import", "none.csv")
    assert ended.exit_code == 2
    assert "none.csv: No such file" in ended.stderr


def test_an_interruption_ends_it_with_130(
    run: Run, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("catalogctl.importing.import_file", interrupted)
    ended = run("import", str(write(lines(1))))
    assert (ended.exit_code, ended.stderr) == (130, "interrupted\n")


def test_a_line_of_an_export_is_loaded_without_what_the_catalog_sets_itself(
    run: Run, catalog: Catalog, write: Callable[..., Path]
) -> None:
    exported = line(
        *(1,),
        id="6b05e78b3969dfca0964608b",
        version=3,
        createdAt="then",
        updatedAt="then",
        syncCompletedAt=None,
        syncStatus="pending",
    )
    assert run("import", str(write(exported))).exit_code == 0
    assert catalog.products() == [simplejson.loads(line(1), use_decimal=True)]


def test_progress_is_a_line_every_tenth_when_stderr_is_no_terminal(
    run: Run, write: Callable[..., Path]
) -> None:
    ended = run("import", str(write(lines(3000))))
    shown = [text.split(" %")[0].strip() for text in ended.stderr.splitlines()]
    assert shown == [str(tenth) for tenth in range(10, 101, 10)]


def test_progress_is_a_bar_on_a_terminal(
    run: Run, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("typer.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    ended = run("import", str(write(lines(3))))
    last = ended.stderr.split("\r")[-1]
    assert f"[{'#' * 30}] 100%  loaded 3, " in last
