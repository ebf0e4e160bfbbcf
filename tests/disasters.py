"""What the tests of docs/disaster.md share, on the embedded stack and on emulators of AWS.

RESTORE_PRODUCTS: how many products there are, for the measurements that the page quotes.
"""

from __future__ import annotations

import os
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
from requests import Response
from typer.testing import CliRunner, Result

from catalogctl.errors import UnavailableError
from catalogctl.main import app
from embedded.services import ROOT
from tests.support import Json, RunningStack, code_block, eventually

Dump = dict[str, list[dict[str, Any]]]
Ctl = Callable[..., Json]
PRODUCTS = int(os.environ.get("RESTORE_PRODUCTS", "40"))
PATIENCE = 60.0 + PRODUCTS / 10


def ctl_of(stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> Ctl:
    """What runs a command on the stack, and gives its JSON. A command that fails fails the test."""
    monkeypatch.setenv("CATALOG_API", stack.settings["api"])
    monkeypatch.setenv("CATALOG_TOKEN", stack.settings["token"])

    def run(*arguments: str) -> Json:
        def reached() -> Result | None:
            ended = CliRunner().invoke(app, [*arguments, "--json"])
            return None if ended.exit_code == UnavailableError.exit_code else ended

        # What was begun by a call whose answer is unknown may be begun a second time.
        ended = eventually(reached, PATIENCE, "the API answers")
        assert ended.exit_code == 0, ended.output
        document: Json = simplejson.loads(ended.stdout, use_decimal=True)
        return document

    return run


def answered(call: Callable[[], Response], *wanted: int) -> Response:
    """The first answer that is not 503: the machine may be too slow for MongoDB's time limits."""

    def given() -> Response | None:
        answer = call()
        return None if answer.status_code == 503 else answer

    answer = eventually(given, PATIENCE, "the API answers")
    assert answer.status_code in wanted, answer.text
    return answer


def parsed(answer: Response) -> Json:
    found: Json = simplejson.loads(answer.text, use_decimal=True)
    return found


def seen(stack: RunningStack, path: str) -> Json:
    return parsed(answered(lambda: stack.api.get(path), 200))


def all_products(stack: RunningStack) -> dict[str, Json]:
    """Every product of the catalog, by id."""
    found: dict[str, Json] = {}
    cursor = ""
    while True:
        page = seen(stack, f"/products?limit=100{cursor}")
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
    with database(stack) as client:
        there = client["catalog"]
        return {name: list(there[name].find()) for name in there.list_collection_names()}


def put_back(stack: RunningStack, kept: Dump) -> None:
    """Restore all collections. The indexes stay."""
    with database(stack) as client:
        there = client["catalog"]
        for name in {*there.list_collection_names(), *kept}:
            there[name].delete_many({})
            if documents := kept.get(name):
                there[name].insert_many(documents)


def database(stack: RunningStack) -> MongoClient[dict[str, Any]]:
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
