"""What the commands of the embedded stack say, without a stack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from embedded import demo, reports, stack
from embedded.processes import free_port
from embedded.reports import CHANGED, ENDED, address_of, changes
from embedded.services import SERVERS, Endpoints, StackError
from embedded.stack import Stack
from tests.http import ScriptedServer, refused_port, reply

if TYPE_CHECKING:
    from embedded.stack import StackInfo

CANARY = "hunter2"


def endpoints(api: str, supply_chain: str = "") -> Endpoints:
    return Endpoints(
        api=api,
        supply_chain=supply_chain,
        mongodb="mongodb://127.0.0.1:1",
        nats=f"nats://user:{CANARY}@nats.example",
        sqs="https://sqs.example",
        queue="https://sqs.example/1/q",
        dlq="https://sqs.example/1/d",
        bulk_queue="",
    )


def ready(status: str, **dependencies: str) -> bytes:
    return reply(200, json.dumps({"status": status, "dependencies": dependencies}))


# ---- addresses ----


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"mongodb+srv://user:{CANARY}@a.example/x?w=1", "mongodb+srv://a.example/x"),
        (f"mongodb://u:{CANARY}@a:1,b:2/?authMechanismProperties={CANARY}", "mongodb://a:1,b:2/"),
        (f"mongodb://user:{CANARY}@{CANARY}@a.example", "mongodb://a.example"),
        (f"nats://{CANARY}@a:4222", "nats://a:4222"),
        ("https://sqs.example/1/q", "https://sqs.example/1/q"),
    ],
)
def test_an_address_is_shown_without_what_may_be_secret(url: str, shown: str) -> None:
    assert address_of(url) == shown


# ---- given servers that do not answer ----


@pytest.mark.parametrize("host", ["127.0.0.1:{}", "nowhere.invalid:{}"])
def test_up_stops_at_a_given_mongodb_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(reports, "PATIENCE_SECONDS", 0.2)
    where = host.format(refused_port())
    uri = f"mongodb://user:{CANARY}@{where}/?w=1"
    own = Stack(tmp_path, {"MONGODB_URI": uri, "PORT": str(free_port())})
    with pytest.raises(StackError) as caught:
        own.up()
    assert str(caught.value).startswith(f"MONGODB_URI: mongodb://{where}/ cannot be used: {where}")
    assert CANARY not in str(caught.value)
    assert own.status() == {}


def test_given_servers_that_answer_are_no_reason_for_a_warning(server: ScriptedServer) -> None:
    server.answers.append(ready("ok", mongodb="ok", nats="ok", sqs="ok"))
    # Any answer will do, and it knows no HEAD.
    server.answers.append(reply(404))
    assert reports.warnings((), endpoints(server.url, f"{server.url}/v1")) == []
    assert [seen.path for seen in server.seen] == ["/ready", "/v1"]


def test_a_given_server_that_does_not_answer_is_named_with_what_happens_meanwhile(
    server: ScriptedServer,
) -> None:
    server.answers.append(ready("degraded", mongodb="ok", nats="unreachable", sqs="no answer"))
    chain = f"http://user:{CANARY}@127.0.0.1:{refused_port()}"
    nats, sqs, supply_chain = reports.warnings(["mongodb"], endpoints(server.url, chain))
    told = "NATS_URL: nats://nats.example does not answer (unreachable): writes are accepted; "
    assert nats.startswith(told)
    assert "their events wait in the outbox" in nats
    told = "SYNC_QUEUE_URL: https://sqs.example/1/q does not answer (no answer): "
    assert sqs.startswith(told)
    told = f"SUPPLY_CHAIN_URL: {address_of(chain)} does not answer (the connection was refused): "
    assert supply_chain.startswith(told)
    assert CANARY not in nats + sqs + supply_chain


def test_a_given_supply_chain_that_hangs_is_left_in_time(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "PATIENCE_SECONDS", 0.2)
    server.answers.append(server.silent)
    assert reports.supply_chain_missing(server.url) == "no answer within 0.2 s"


def test_embedded_servers_are_not_asked() -> None:
    assert reports.warnings(SERVERS, endpoints("http://127.0.0.1:1")) == []


@pytest.mark.parametrize("answer", [reply(503, "<html>"), reply(200, "[]"), reply(200, "{}")])
def test_an_api_that_says_nothing_usable_is_not_ready(
    server: ScriptedServer, answer: bytes
) -> None:
    server.answers.append(answer)
    assert reports.api_state(server.url)[0].startswith("nothing usable answers at ")


# ---- what up did ----


def test_what_up_did_is_told_by_groups() -> None:
    before = {"api": 1, "sync": None, "nats": 3, "sqs": 4}
    after = {"api": 1, "sync": 5, "nats": 6, "mongodb": 7}
    assert changes(before, after) == [
        "running already: api",
        "started: mongodb",
        f"{ENDED}: sync",
        f"{CHANGED}: nats",
        "stopped: sqs",
    ]


def test_a_first_up_has_only_started() -> None:
    assert changes({}, {"api": 1, "sync": 2}) == ["started: api, sync"]


# ---- the console ----

SERVED = {
    "api": "http://127.0.0.1:1/api",
    "processes": {},
    **dict.fromkeys(("supplyChain", "mongodb", "store", "nats", "queueUrl"), ""),
}


@pytest.mark.parametrize(
    ("token", "link"),
    [
        (CANARY, f"http://127.0.0.1:1/api/console#token={CANARY}"),
        ("", "http://127.0.0.1:1/api/console"),
    ],
)
def test_up_says_where_the_console_is_with_the_token_that_it_has(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    token: str,
    link: str,
) -> None:
    monkeypatch.setattr(Stack, "status", lambda _: {})
    monkeypatch.setattr(Stack, "up", lambda _: {**SERVED, "token": token})
    assert stack.run("up", Stack(tmp_path, {})) == 0
    assert f"console       {link}\n" in capsys.readouterr().out


def test_the_demo_says_where_to_watch_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_: object) -> int:
        raise demo.DemoError("no further")

    monkeypatch.setattr(demo, "load", load)
    info = cast("StackInfo", {**SERVED, "token": CANARY})
    with pytest.raises(demo.DemoError):
        demo.show(info, 0)
    assert f"http://127.0.0.1:1/api/console#token={CANARY}\n" in capsys.readouterr().out


# ---- status ----


def test_without_a_stack_the_status_says_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stack.run("status", Stack(tmp_path / "none", {})) == 1
    assert capsys.readouterr().out.endswith("none: make up starts one\n")


@pytest.mark.parametrize(
    ("pid", "advice"),
    [(1, "everything runs, but no write is accepted: see "), (None, "something is missing: ")],
)
def test_the_status_tells_a_process_that_has_ended_from_a_server_that_does_not_answer(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    server: ScriptedServer,
    pid: int | None,
    advice: str,
) -> None:
    server.answers.append(ready("away", mongodb="unreachable"))
    names = ("supplyChain", "mongodb", "store", "nats", "queueUrl")
    info = {"api": server.url, "processes": {"api": 1}, **dict.fromkeys(names, "")}
    monkeypatch.setattr(Stack, "status", lambda _: {"api": pid})
    monkeypatch.setattr(Stack, "info", lambda _: info)

    assert stack.run("status", Stack(tmp_path, {})) == 1
    assert advice in capsys.readouterr().out


# ---- the folder ----


def test_a_run_dir_that_is_a_file_is_an_error_that_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match=r"^RUN_DIR: .*file is a file; name a folder"):
        Stack(tmp_path / "file", {}).up()
    with pytest.raises(StackError, match=r"^RUN_DIR: .*Not a directory.*of your own$"):
        Stack(tmp_path / "file" / "run", {}).up()


def test_a_run_dir_that_cannot_be_written_to_is_an_error_that_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touch(*_: object) -> None:
        # As for anybody but root.
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", touch)
    with pytest.raises(StackError, match=r"^RUN_DIR: .*cannot be written to \(Permission denied\)"):
        Stack(tmp_path, {}).up()
