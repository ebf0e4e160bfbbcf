"""Imports point one way: who may import whom, by folder."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What the files of a part may import; `domain` is chalicelib/domain, `settings` a single file.
ALLOWED: dict[str, set[str]] = {
    "domain": {"domain"},
    "usecases": {"usecases", "domain", "telemetry"},
    "adapters": {"adapters", "usecases.ports", "domain"},
    "settings": {"domain"},
    "metrics": set(),
    "telemetry": {"metrics"},
    "bootstrap": {"domain", "usecases", "adapters", "settings", "telemetry"},
    "http": {"http", "bootstrap", "usecases", "domain", "telemetry"},
    "app": {"http", "bootstrap", "usecases", "domain", "telemetry"},
    "functions": {"http", "bootstrap", "domain", "telemetry", "metrics", "settings"},
    "catalogctl": {"domain", "adapters.jetstream", "usecases.listing", "usecases.ports"},
}
LIBRARIES = {
    "chalice": {"app", "http"},
    "asyncio": {"adapters.jetstream", "catalogctl.events"},
    "nats": {"adapters.jetstream", "catalogctl.events"},
    "pymongo": {"adapters.mongo", "bootstrap"},
    "bson": {"adapters.mongo"},
    "boto3": {"bootstrap"},
    "botocore": {"adapters.sqs", "bootstrap"},
    "certifi": {"adapters.http_deadline"},
    "urllib3": {
        "adapters.supply_chain",
        "adapters.http_deadline",
        "adapters.http_failures",
        "catalogctl.client",
    },
    "jwt": {"adapters.tokens", "catalogctl.tokens"},
    "gunicorn": {"functions"},
    "prometheus_client": {"functions"},
    "requests": {"catalogctl.client", "catalogctl.importing"},
    "rich": {"catalogctl.output"},
    "typer": {"catalogctl.main", "catalogctl.output"},
}
"""Who imports a library: exactly these parts, or files of a part."""


def sources() -> list[Path]:
    folders = [ROOT / "chalicelib", ROOT / "functions", ROOT / "catalogctl"]
    return [ROOT / "app.py", *(path for folder in folders for path in sorted(folder.rglob("*.py")))]


def place(path: Path) -> str:
    """Where a file is, as a dotted name without `chalicelib`: `adapters.mongo.store`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removeprefix("chalicelib.")


@cache
def imported(path: Path) -> frozenset[str]:
    """Every module a file imports, at whatever depth of the file, as dotted names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where a name comes from"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def within(name: str, parts: set[str]) -> bool:
    """Whether a dotted name is one of these parts, or lies in one."""
    return any(f"{name}.".startswith(f"{part}.") for part in parts)


@pytest.mark.parametrize("path", sources(), ids=place)
def test_a_file_imports_only_what_its_room_may(path: Path) -> None:
    if path.name == "__init__.py":
        assert imported(path) == set(), "a package says what it is, and imports nothing"
        return
    ours = {n.removeprefix("chalicelib.") for n in imported(path) if n.startswith("chalicelib.")}
    part = place(path).split(".")[0]
    assert {name for name in ours if not within(name, ALLOWED[part])} == set()


@pytest.mark.parametrize("path", sources(), ids=place)
def test_only_the_command_line_imports_the_command_line(path: Path) -> None:
    assert "catalogctl" not in top_levels(path) or place(path).startswith("catalogctl.")


@pytest.mark.parametrize("path", sorted((ROOT / "functions").glob("*.py")), ids=lambda p: p.stem)
def test_a_handler_imports_no_other_handler(path: Path) -> None:
    others = {name for name in imported(path) if name.startswith("functions.")}
    # The host starts its servers by name, where they are wanted.
    servers = {
        "run": {"functions.server.serve", "functions.exporter.serve"},
        "server": {"functions.exporter.measured"},
    }.get(path.stem, set())
    assert {name for name in others - servers if not within(name, {"functions.context"})} == set()


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_a_library_is_imported_only_where_it_belongs(library: str) -> None:
    users = {place(path) for path in sources() if within(library, top_levels(path))}
    allowed = LIBRARIES[library]
    assert {user for user in users if not within(user, allowed)} == set()
    assert {part for part in allowed if not any(within(user, {part}) for user in users)} == set()


def top_levels(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def test_only_the_settings_read_the_environment() -> None:
    service = [path for path in sources() if not place(path).startswith("catalogctl.")]
    assert {place(path) for path in service if "os" in top_levels(path)} == {"settings"}


def test_only_the_connection_of_the_command_line_reads_the_environment() -> None:
    folder = ROOT / "catalogctl"
    readers = {path.stem for path in folder.glob("*.py") if "environ" in names_in(path)}
    assert readers == {"connection"}


def names_in(path: Path) -> set[str]:
    """Every attribute and name that a file uses."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return attributes | {node.id for node in nodes if isinstance(node, ast.Name)}


# simplejson writes an exact decimal as a JSON number, which json cannot; it does no I/O.
DOMAIN_LIBRARIES = {"pydantic", "simplejson"}
INPUT_OUTPUT = {"socket", "threading", "pathlib", "subprocess", "time", "random", "io", "logging"}


@pytest.mark.parametrize("path", sorted((ROOT / "chalicelib/domain").glob("*.py")), ids=place)
def test_the_domain_is_pure(path: Path) -> None:
    foreign = top_levels(path) - set(sys.stdlib_module_names) - {"chalicelib"}
    assert foreign <= DOMAIN_LIBRARIES
    assert top_levels(path) & INPUT_OUTPUT == set()


def test_nothing_is_opened_at_import() -> None:
    """Module level calls of our own code make plain values; clients are made by the bootstrap."""
    openers = {"MongoClient", "JetStream", "SqsQueue", "HttpSupplyChain", "container", "Session"}
    for path in sources():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.Assign, ast.AnnAssign, ast.Expr)):
                called = {
                    call.func.id
                    for call in ast.walk(node)
                    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
                }
                assert called & openers == set(), path


def test_a_unit_test_cannot_start_a_process() -> None:
    with pytest.raises(AssertionError, match="starts no process"):
        subprocess.run([sys.executable, "-c", ""], check=True)
