"""Where the command line finds the catalog."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from catalogctl.connection import Connection
from catalogctl.errors import UsageError
from catalogctl.events import Source
from chalicelib.domain.events import StreamNames
from tests.http import ScriptedServer

if TYPE_CHECKING:
    from tests.unit.catalogctl.conftest import Api, Run

STACK = {
    "api": "http://127.0.0.1:8000/api",
    "token": "of-the-stack",
    "nats": "nats://127.0.0.1:4222",
    "jwtSecret": "s" * 32,
}


def write_stack(folder: Path, content: object = STACK) -> None:
    (folder / ".run").mkdir(exist_ok=True)
    (folder / ".run/stack.json").write_text(json.dumps(content))


def test_the_environment_names_api_and_token(api: Api, run: Run) -> None:
    run("show", "x")
    assert api.server.seen[0].path == "/api/products/x/sync"
    assert api.server.seen[0].headers["Authorization"] == "Bearer a-token"


def test_options_win_over_the_environment(
    monkeypatch: pytest.MonkeyPatch, server: ScriptedServer, run: Run
) -> None:
    monkeypatch.setenv("CATALOG_API", "http://127.0.0.1:1/api")
    monkeypatch.setenv("CATALOG_TOKEN", "another")
    run("--api", f"{server.url}/api/", "--token", "given", "show", "x")
    assert server.seen[0].path == "/api/products/x/sync"
    assert server.seen[0].headers["Authorization"] == "Bearer given"


def test_a_stack_is_found_in_a_folder_above(tmp_path: Path) -> None:
    write_stack(tmp_path)
    (tmp_path / "a/b").mkdir(parents=True)
    found = Connection(folder=tmp_path / "a/b")
    assert found.address_and_token() == (STACK["api"], STACK["token"])
    assert found.nats() == Source(STACK["nats"])
    assert found.secret() == STACK["jwtSecret"]


def test_the_nearest_stack_wins(tmp_path: Path) -> None:
    write_stack(tmp_path)
    (tmp_path / "a").mkdir()
    write_stack(tmp_path / "a", {**STACK, "token": "nearer"})
    assert Connection(folder=tmp_path / "a").address_and_token()[1] == "nearer"


def test_a_token_of_ones_own_goes_to_the_stack(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_stack(tmp_path)
    monkeypatch.setenv("CATALOG_TOKEN", "mine")
    assert Connection().address_and_token() == (STACK["api"], "mine")


def test_the_token_of_the_stack_goes_to_no_other_api(tmp_path: Path) -> None:
    write_stack(tmp_path)
    with pytest.raises(UsageError, match="no token for https://catalog"):
        Connection("https://catalog.example/api").address_and_token()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({**STACK, "token": ""}, "the stack has no token of its own: set CATALOG_TOKEN"),
        ([], "has no addresses: make up writes it again"),
    ],
)
def test_a_stack_that_cannot_be_used_is_told(tmp_path: Path, content: object, reason: str) -> None:
    write_stack(tmp_path, content)
    with pytest.raises(UsageError, match=reason):
        Connection().address_and_token()


def test_a_file_of_a_stack_that_is_no_json_is_named(tmp_path: Path) -> None:
    write_stack(tmp_path)
    (tmp_path / ".run/stack.json").write_text("{")
    with pytest.raises(UsageError, match=r"stack\.json cannot be read .*make up writes it again"):
        Connection().nats()


def test_without_an_api_the_command_ends_with_2_and_the_remedy(run: Run) -> None:
    ended = run("status")
    assert ended.exit_code == 2
    assert ended.stderr == (
        "error: there is no API: set CATALOG_API, or start a stack with make up\n"
    )


def test_nats_of_the_environment_wins_with_its_credentials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_stack(tmp_path)
    monkeypatch.setenv("NATS_URL", "tls://nats.example")
    monkeypatch.setenv("NATS_CREDENTIALS", "user.creds")
    assert Connection().nats() == Source("tls://nats.example", "user.creds")


def test_the_stream_is_that_of_the_environments_prefix(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NATS_URL", "tls://nats.example")
    monkeypatch.setenv("NATS_PREFIX", "staging")
    assert Connection().nats().names.stream == "staging-PRODUCTS"
    monkeypatch.delenv("NATS_URL")
    write_stack(tmp_path, {**STACK, "nats": "nats://127.0.0.1:4222", "natsPrefix": "mine"})
    assert Connection().nats() == Source("nats://127.0.0.1:4222", names=StreamNames.of("mine"))


def test_without_nats_the_remedy_is_told() -> None:
    with pytest.raises(UsageError, match="set NATS_URL"):
        Connection().nats()
