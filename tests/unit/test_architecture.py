"""Imports point one way. The rooms of the design, and who may import whom, held by a test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Each module's permitted imports of our own. Adapters know the ports' vocabulary (models, errors,
# delivery's results), never a use case; use cases know the ports, never an adapter.
PURE = {"models", "errors", "backoff", "exact_json"}
VOCABULARY = PURE | {"delivery", "ports"}
USE_CASE = VOCABULARY | {"outbox", "telemetry"}
ALLOWED: dict[str, set[str]] = {
    "exact_json": set(),
    "errors": set(),
    "backoff": set(),
    "models": {"exact_json", "errors"},
    "delivery": PURE,
    "ports": PURE | {"delivery"},
    "telemetry": set(),
    "settings": {"backoff"},
    "tokens": set(),
    "outbox": VOCABULARY | {"telemetry"},
    "catalog": USE_CASE,
    "bridge": USE_CASE,
    "sync": USE_CASE,
    "reconcile": USE_CASE,
    "mongo": VOCABULARY,
    "jetstream": VOCABULARY,
    "sqs": VOCABULARY,
    "supply_chain": VOCABULARY,
    "openapi": PURE | {"catalog"},
    "wsgi": {"exact_json", "telemetry"},
    "bootstrap": {path.stem for path in (ROOT / "chalicelib").glob("*.py")},
}
HANDLERS = {"bootstrap", "models", "errors", "telemetry", "settings", "wsgi"}
API = {"bootstrap", "models", "errors", "telemetry", "exact_json", "catalog", "openapi", "tokens"}
LIBRARIES = {
    "chalice": {"app.py", "chalicelib/wsgi.py"},
    "asyncio": {"chalicelib/jetstream.py"},
    "nats": {"chalicelib/jetstream.py"},
    "pymongo": {"chalicelib/mongo.py", "chalicelib/bootstrap.py"},
    "boto3": {"chalicelib/bootstrap.py"},
    "requests": {"chalicelib/supply_chain.py"},
    "gunicorn": {"functions/server.py"},
}


def sources() -> list[Path]:
    folders = [ROOT / "chalicelib", ROOT / "functions"]
    return [ROOT / "app.py", *(path for folder in folders for path in sorted(folder.glob("*.py")))]


def imported(path: Path) -> set[str]:
    """Every module a file imports, at whatever depth of the file, as dotted names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where a name comes from"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours(path: Path) -> set[str]:
    """The modules of chalicelib that a file imports."""
    return {name.split(".")[1] for name in imported(path) if name.startswith("chalicelib.")} - {
        "__init__"
    }


@pytest.mark.parametrize("module", sorted(ALLOWED))
def test_a_module_imports_only_what_its_room_may(module: str) -> None:
    assert ours(ROOT / "chalicelib" / f"{module}.py") <= ALLOWED[module]


def test_every_module_has_a_room() -> None:
    modules = {path.stem for path in (ROOT / "chalicelib").glob("*.py")} - {"__init__"}
    assert modules == set(ALLOWED)


@pytest.mark.parametrize("path", sorted((ROOT / "functions").glob("*.py")), ids=lambda p: p.stem)
def test_a_handler_imports_the_bootstrap_and_no_other_handler(path: Path) -> None:
    assert ours(path) <= HANDLERS
    # The host starts its web server by name, in the one role that has it.
    others = {name for name in imported(path) if name.startswith("functions.")}
    assert others <= ({"functions.server.serve"} if path.stem == "run" else set())


def test_the_api_imports_the_bootstrap_and_the_contract() -> None:
    assert ours(ROOT / "app.py") <= API


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_a_library_is_imported_only_where_it_belongs(library: str) -> None:
    users = {
        str(path.relative_to(ROOT))
        for path in sources()
        if any(name.split(".")[0] == library for name in imported(path))
    }
    assert users == LIBRARIES[library]


def test_only_the_settings_read_the_environment() -> None:
    readers = {
        path.name
        for path in sources()
        if any(name == "os" or name.startswith("os.") for name in imported(path))
    }
    assert readers == {"settings.py"}


def test_the_pure_modules_do_no_input_or_output() -> None:
    pure = [ROOT / "chalicelib" / f"{name}.py" for name in (*sorted(PURE), "delivery", "ports")]
    forbidden = {"socket", "threading", "pathlib", "subprocess", "time", "random", "io", "logging"}
    for path in pure:
        assert {name.split(".")[0] for name in imported(path)} & forbidden == set(), path


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
