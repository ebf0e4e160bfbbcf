"""The command line, run in this process against an API whose answers the test writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
import simplejson
import typer.main
from typer.testing import CliRunner

from catalogctl import client, output
from catalogctl.main import app
from tests.http import ScriptedServer, reply

if TYPE_CHECKING:
    from typer.testing import Result

    from tests.support import Json

    Run = Callable[..., Result]

NOON = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
ID = "6b05e78b3969dfca0964608b"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No stack or setting of the developer's; always noon, in UTC, on a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    for name in ("API", "TOKEN", "JWT_SECRET", "JWT_ISSUER", "JWT_AUDIENCE"):
        monkeypatch.delenv(f"CATALOG_{name}", raising=False)
    for name in ("NATS_URL", "NATS_CREDENTIALS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(output, "now", lambda: NOON)
    monkeypatch.setattr(client, "RETRIES", client.RETRIES.new(backoff_factor=0))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.delenv("TZ")
    time.tzset()


# Typer makes all commands anew at each call, which takes longer than what most tests do.
command_of = cache(typer.main.get_command)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command with these arguments."""
    monkeypatch.setattr("typer.testing._get_command", command_of)

    def invoke(*arguments: str, typed: str | None = None) -> Result:
        return CliRunner().invoke(app, arguments, input=typed, prog_name="catalogctl")

    return invoke


class Api:
    """The scripted API: gives its answers one after the other, and remembers what was asked."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server

    def answer(self, *documents: object, status: int = 200) -> None:
        """Answer the next requests with these documents as JSON."""
        for document in documents:
            text = simplejson.dumps(document, use_decimal=True)
            self.server.answers.append(reply(status, text))

    def asked(self) -> list[str]:
        """What was asked: method and path with its query."""
        return [f"{seen.method} {seen.path}" for seen in self.server.seen]

    def query(self, number: int = -1) -> dict[str, list[str]]:
        """The query of one of the requests, the last one by default."""
        return parse_qs(urlsplit(self.server.seen[number].path).query)

    def sent(self, number: int = -1) -> Json:
        """The body of one of the requests, the last one by default."""
        body: Json = self.server.seen[number].json()
        return body


@pytest.fixture
def api(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Api:
    """The API that the environment names."""
    monkeypatch.setenv("CATALOG_API", f"{server.url}/api")
    monkeypatch.setenv("CATALOG_TOKEN", "a-token")
    return Api(server)
