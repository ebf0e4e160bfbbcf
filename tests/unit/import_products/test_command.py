"""The command: its arguments, its exit codes and what it prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import simplejson

from tests.unit.import_products.catalog import Catalog
from tests.unit.import_products.files import TOKEN, line, lines
from tools import import_products

if TYPE_CHECKING:
    from collections.abc import Callable


def test_the_command_ends_with_0_and_a_summary_when_all_is_loaded(
    catalog: Catalog, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(write(lines(3))), "--api", catalog.url, "--token", TOKEN]
    assert import_products.main(arguments) == 0
    assert capsys.readouterr().out.startswith("loaded 3, already there 0, refused 0, ")


def test_the_command_ends_with_1_and_names_file_and_line_of_a_refusal(
    catalog: Catalog, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(f"{line(1)}\nnonsense\n")
    assert import_products.main([str(path), "--api", catalog.url, "--token", TOKEN]) == 1
    assert f"{path}:2: not JSON" in capsys.readouterr().err


def test_the_command_ends_with_2_when_the_api_cannot_be_used(
    catalog: Catalog, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    catalog.fail(403)
    assert import_products.main([str(write(lines(1))), "--api", catalog.url, "--token", "x"]) == 2
    assert "stopped: " in capsys.readouterr().err


def test_the_command_ends_with_2_when_there_is_no_such_file(
    catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    assert import_products.main(["none.csv", "--api", catalog.url, "--token", TOKEN]) == 2
    assert "none.csv: No such file" in capsys.readouterr().err


def test_the_command_takes_api_and_token_from_the_environment(
    catalog: Catalog, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATALOG_API", catalog.url)
    monkeypatch.setenv("CATALOG_TOKEN", "from-the-environment")
    assert import_products.main([str(write(lines(1)))]) == 0
    assert catalog.requests[0].authorization == "Bearer from-the-environment"


def test_the_command_takes_api_and_token_from_the_embedded_stack(
    catalog: Catalog, write: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / ".run").mkdir()
    stack = {"api": catalog.url, "token": "from-the-stack"}
    (tmp_path / ".run" / "stack.json").write_text(simplejson.dumps(stack))
    assert import_products.main([str(write(lines(1)))]) == 0
    assert catalog.requests[0].authorization == "Bearer from-the-stack"


def test_the_command_without_an_api_is_a_usage_error(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        import_products.main([str(write(lines(1)))])
    assert "give --api and --token" in capsys.readouterr().err


def test_progress_is_a_line_every_tenth_when_stderr_is_no_terminal(
    catalog: Catalog, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(write(lines(3000))), "--api", catalog.url, "--token", TOKEN]
    import_products.main(arguments)
    shown = [text.split(" %")[0].strip() for text in capsys.readouterr().err.splitlines()]
    assert shown == [str(tenth) for tenth in range(10, 101, 10)]


def test_progress_is_a_bar_on_a_terminal(
    catalog: Catalog,
    write: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    import_products.main([str(write(lines(3))), "--api", catalog.url, "--token", TOKEN])
    last = capsys.readouterr().err.split("\r")[-1]
    assert f"[{'#' * 30}] 100%  loaded 3, " in last
