"""`pip install .` installs all that the command line needs, and no more of the service."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

from tests.unit.test_architecture import ROOT, imported, top_levels

DISTRIBUTIONS = {"jwt": "pyjwt", "nats": "nats-py"}
"""Where a module has another name."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def file_of(name: str) -> Path | None:
    """The file of one of our modules, also where a name in it is imported."""
    parts = name.split(".")
    for path in (ROOT.joinpath(*parts), ROOT.joinpath(*parts[:-1])):
        if path.with_suffix(".py").is_file():
            return path.with_suffix(".py")
    return None


def needed_files() -> set[Path]:
    """The files of the command line, and what they import of the project, and so on."""
    found: set[Path] = set()
    left = set((ROOT / "catalogctl").glob("*.py"))
    while left:
        found |= left
        names = {name for path in left for name in imported(path)}
        left = {path for name in names if (path := file_of(name))} - found
    return found


def plain(name: str) -> str:
    """A distribution's name without extras and versions, as PyPI compares it."""
    (found,) = re.findall(r"^[\w-]+", name)
    return str(found).lower().replace("_", "-")


def test_every_package_that_is_needed_is_installed_and_no_other() -> None:
    needed = {".".join(path.parent.relative_to(ROOT).parts) for path in needed_files()}
    assert needed | {"chalicelib"} == set(PROJECT["tool"]["setuptools"]["packages"])


def test_every_library_that_is_needed_is_a_dependency_and_no_other() -> None:
    modules = {name for path in needed_files() for name in top_levels(path)}
    foreign = modules - set(sys.stdlib_module_names) - {"catalogctl", "chalicelib"}
    needed = {DISTRIBUTIONS.get(module, module) for module in foreign}
    assert needed == {plain(name) for name in PROJECT["project"]["dependencies"]}


def test_the_script_is_the_application() -> None:
    assert PROJECT["project"]["scripts"] == {"catalogctl": "catalogctl.main:app"}
