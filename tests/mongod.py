"""A stand-in for mongod: takes its command line and its commands of a replica set.

SecantusDB serves under it. Until replSetInitiate has named it, and whenever the configuration has
another address than its own, it is not primary, as mongod is not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from secantus import cli, commands

Document = dict[str, Any]
Handler = Callable[[Document, Any], Document]


class Member:
    """The replica set's only member; its configuration is kept in the folder of the data."""

    def __init__(self, replica_set: str, address: str, file: Path) -> None:
        self._set, self._address, self._file = replica_set, address, file

    def config(self) -> Document | None:
        return json.loads(self._file.read_text()) if self._file.exists() else None

    def is_primary(self) -> bool:
        config = self.config()
        return config is not None and config["members"][0]["host"] == self._address

    def initiate(self, request: Document, _: object) -> Document:
        if self.config():
            return _refusal(23, "AlreadyInitialized")
        return self._keep({"version": 1, **request["replSetInitiate"]})

    def get_config(self, _: Document, __: object) -> Document:
        return {"ok": 1.0, "config": self.config()}

    def reconfigure(self, request: Document, _: object) -> Document:
        if not self.is_primary() and not request.get("force"):
            return _refusal(10107, "NotWritablePrimary")
        return self._keep(request["replSetReconfig"])

    def hello(self, usual: Handler) -> Handler:
        def answer(request: Document, context: object) -> Document:
            given = usual(request, context)
            if self.is_primary():
                return given
            del given["setName"]
            return {**given, "isWritablePrimary": False, "ismaster": False, "isreplicaset": True}

        return answer

    def _keep(self, config: Document) -> Document:
        if config["_id"] != self._set or config["members"][0]["host"] != self._address:
            return _refusal(93, "InvalidReplicaSetConfig")
        with self._file.with_name("changes").open("a") as changes:
            changes.write(f"{config['members'][0]['host']}\n")
        self._file.write_text(json.dumps(config))
        return {"ok": 1.0}


def _refusal(code: int, name: str) -> Document:
    return {"ok": 0.0, "code": code, "codeName": name, "errmsg": name}


def main() -> int:
    parser = argparse.ArgumentParser(prog="mongod")
    parser.add_argument("--replSet", required=True)
    parser.add_argument("--bind_ip", required=True)
    parser.add_argument("--port", required=True)
    parser.add_argument("--dbpath", type=Path, required=True)
    parser.add_argument("--nounixsocket", action="store_true")
    parser.add_argument("--setParameter", action="append")
    given = parser.parse_args()
    member = Member(given.replSet, f"{given.bind_ip}:{given.port}", given.dbpath / "replset.json")
    handlers = commands._HANDLERS
    for name in ("hello", "isMaster", "ismaster"):
        handlers[name] = member.hello(handlers[name])
    handlers["replSetInitiate"] = member.initiate
    handlers["replSetGetConfig"] = member.get_config
    handlers["replSetReconfig"] = member.reconfigure
    address = ["--host", given.bind_ip, "--port", given.port, "--log-level", "WARNING"]
    data = ["--storage-path", str(given.dbpath / "db"), "--sync-on-commit"]
    return int(cli.main([*address, *data]))


if __name__ == "__main__":
    sys.exit(main())
