"""What the tests of docs/disaster.md share, on the embedded stack and on emulators of AWS."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import simplejson
from pymongo import MongoClient
from typer.testing import CliRunner

from catalogctl.main import app
from embedded.services import ROOT
from tests.support import Json, RunningStack, code_block

Dump = dict[str, list[dict[str, Any]]]
Ctl = Callable[..., Json]


def ctl_of(stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> Ctl:
    """What runs a command on the stack, and gives its JSON. A command that fails fails the test."""
    monkeypatch.setenv("CATALOG_API", stack.settings["api"])
    monkeypatch.setenv("CATALOG_TOKEN", stack.settings["token"])

    def run(*arguments: str) -> Json:
        ended = CliRunner().invoke(app, [*arguments, "--json"])
        assert ended.exit_code == 0, ended.output
        document: Json = simplejson.loads(ended.stdout, use_decimal=True)
        return document

    return run


def all_products(stack: RunningStack) -> dict[str, Json]:
    """Every product of the catalog, by id."""
    found: dict[str, Json] = {}
    cursor = ""
    while True:
        page = stack.get(f"/products?limit=100{cursor}")
        found |= {item["id"]: item for item in page["items"]}
        if page["nextCursor"] is None:
            return found
        cursor = f"&cursor={page['nextCursor']}"


def quarantined(stack: RunningStack) -> int:
    """How many messages are in the quarantine."""
    return int(stack.get("/sync/dead-letters")["poisonCount"])


# ---- what MongoDB's own tools do ----


def dump(stack: RunningStack) -> Dump:
    """All collections as they are now."""
    with _database(stack) as client:
        there = client["catalog"]
        return {name: list(there[name].find()) for name in there.list_collection_names()}


def put_back(stack: RunningStack, kept: Dump) -> None:
    """Restore all collections. The indexes stay."""
    with _database(stack) as client:
        there = client["catalog"]
        for name in {*there.list_collection_names(), *kept}:
            there[name].delete_many({})
            if documents := kept.get(name):
                there[name].insert_many(documents)


def _database(stack: RunningStack) -> MongoClient[dict[str, Any]]:
    return MongoClient(stack.settings["mongodb"])


# ---- the listener of docs/events.md ----


def write_listener(folder: Path) -> None:
    """Save the program of the page."""
    (folder / "listener.py").write_text(code_block(ROOT / "docs/events.md", "python"))


@contextmanager
def listener_in(folder: Path, nats_url: str) -> Iterator[None]:
    """Let the program of the folder listen, with its copy of the catalog beside it."""
    process = subprocess.Popen([sys.executable, "listener.py", nats_url], cwd=folder)
    try:
        yield
        assert process.poll() is None, "it has ended"
    finally:
        process.kill()
        process.wait()


def heard(folder: Path) -> dict[str, int]:
    """The newest version of each product that the listener knows."""
    return dict(asked(folder, "SELECT id, version FROM products"))


def events_of(folder: Path, product_id: str) -> list[str]:
    """The types of the events of a product that the listener has seen."""
    found = asked(folder, "SELECT event_id, 0 FROM seen WHERE event_id LIKE ?", f"{product_id}:%")
    return [name.split(":", 2)[2] for name, _ in found]


def asked(folder: Path, question: str, *arguments: str) -> list[Any]:
    """What the listener's copy answers; nothing until it has made its tables."""
    with closing(sqlite3.connect(folder / "copy.db")) as database:
        try:
            return database.execute(question, arguments).fetchall()
        except sqlite3.OperationalError:
            return []
