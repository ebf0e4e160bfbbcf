"""The page about the command line has every command, option value and exit code, and no other."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import typer.main

from catalogctl import errors
from catalogctl.main import CODES, app
from tests.unit.test_architecture import ROOT

if TYPE_CHECKING:
    from tests.unit.catalogctl.conftest import Run

PAGE = (ROOT / "docs/catalogctl.md").read_text()
GROUP: Any = typer.main.get_command(app)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = [
    (path.name, line)
    for path in PAGES
    for line in re.findall(r"^ *(?:\.venv/bin/)?catalogctl (.+)$", path.read_text(), re.MULTILINE)
]


@pytest.mark.parametrize("command", sorted(GROUP.commands))
def test_the_page_has_an_example_of_every_command(command: str) -> None:
    assert re.search(rf"^catalogctl {command}\b", PAGE, re.MULTILINE)


@pytest.mark.parametrize("command", sorted(GROUP.commands))
def test_every_command_can_print_json_and_says_what_it_does(command: str) -> None:
    found = GROUP.commands[command]
    assert any("--json" in parameter.opts for parameter in found.params)
    assert found.help


@pytest.mark.parametrize(("page", "example"), EXAMPLES)
def test_an_example_is_a_command_with_its_options(page: str, example: str) -> None:
    words = shlex.split(re.split(r" [|>]|\)", example)[0], comments=True)
    command = GROUP.commands.get(words[0], GROUP)
    known = {
        name
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts, "--help")
    }
    assert {word for word in words if word.startswith("-")} <= known, page
    assert command is not GROUP or words[0].startswith("-")


def test_help_and_page_have_the_exit_codes_of_the_errors() -> None:
    kinds = (errors.CommandError, errors.UsageError, errors.RefusedError, errors.UnavailableError)
    codes = {0, 130, *(kind.exit_code for kind in kinds)}
    assert set(map(int, re.findall(r"^(\d+)  ", CODES, re.MULTILINE))) == codes
    assert set(map(int, re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE))) == codes


def test_help_has_every_command_and_the_exit_codes(run: Run) -> None:
    shown = run("--help").stdout
    assert all(command in shown for command in GROUP.commands)
    assert "4  the API cannot be reached" in shown
