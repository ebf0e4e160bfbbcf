"""A mongod on the PATH is the embedded stack's MongoDB, started as a replica set of one member.

tests/mongod.py stands in for it, so these tests show the commands that are sent, not that a mongod
accepts them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest

from embedded.processes import free_port, port_is_free
from embedded.servers import ServerProcesses
from embedded.services import ROOT, endpoints, server_service
from embedded.stack import Stack
from tests.support import RunningStack, eventually, stack_environment, stopped_for_sure


@pytest.fixture
def mongod(tmp_path: Path) -> Path:
    program = tmp_path / "bin" / "mongod"
    program.parent.mkdir()
    start = f'cd {ROOT} && exec {sys.executable} -m tests.mongod "$@"'
    program.write_text(f"#!/bin/sh\n{start}\n")
    program.chmod(0o755)
    return program


class Running:
    """The stand-in alone, without the rest of the stack."""

    def __init__(self, folder: Path, program: Path) -> None:
        self._folder = folder
        self._environ = {**os.environ, "MONGOD": str(program)}
        self._processes = ServerProcesses(folder)

    def start(self, port: int) -> str:
        """Start it, wait until it is ready, and give its URI."""
        others = dict.fromkeys(("nats", "sqs", "supplyChain", "api"), 0)
        where = endpoints(self._environ, {"mongodb": port, **others})
        service = server_service("mongodb", port, self._folder, self._environ, where)
        self._processes.start({"mongodb": service})
        return where.mongodb

    def down(self) -> None:
        self._processes.stop(["mongodb"])

    def changes(self) -> list[str]:
        """The addresses that the replica set was given."""
        return (self._folder / "data" / "mongod" / "changes").read_text().split()


@pytest.fixture
def running(tmp_path: Path, mongod: Path) -> Iterator[Running]:
    own = Running(tmp_path / "run", mongod)
    with stopped_for_sure(own):
        yield own


def is_primary(uri: str) -> bool:
    with pymongo.MongoClient[dict[str, Any]](uri) as client:
        return bool(client.admin.command("hello")["isWritablePrimary"])


def test_a_new_mongod_is_initiated_and_a_restarted_one_is_not(running: Running) -> None:
    port = free_port()
    assert is_primary(running.start(port))
    running.down()
    eventually(lambda: port_is_free(port), 5, "the port is not free")
    assert is_primary(running.start(port))
    assert running.changes() == [f"127.0.0.1:{port}"]


def test_a_mongod_that_gets_another_port_keeps_its_data(running: Running) -> None:
    first, second = free_port(), free_port()
    with pymongo.MongoClient[dict[str, Any]](running.start(first)) as client:
        client.test.kept.insert_one({"_id": 1})
    running.down()
    with pymongo.MongoClient[dict[str, Any]](running.start(second)) as client:
        assert client.test.kept.find_one() == {"_id": 1}
    assert running.changes() == [f"127.0.0.1:{first}", f"127.0.0.1:{second}"]


def test_a_stack_delivers_with_the_mongod_of_the_path_and_says_which(
    tmp_path: Path, mongod: Path
) -> None:
    environ = {**os.environ, "PATH": f"{mongod.parent}:{os.environ['PATH']}"}
    environ.pop("MONGOD", None)
    own = Stack(tmp_path / "run", stack_environment(environ, {}))
    with stopped_for_sure(own):
        stack = RunningStack(own)
        assert stack.settings["store"] == f"mongod {mongod}"
        product = stack.create()
        eventually(lambda: product["id"] in stack.supply_chain.products(), 20, "not delivered")
    assert sorted(it.name for it in (tmp_path / "run" / "data").iterdir()) == [
        *("mongod", "nats", "sqs", "supplyChain")
    ]
