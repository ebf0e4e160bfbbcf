"""A real `mongod` as the embedded stack's MongoDB: a replica set with one member.

Majority reads and retryable writes need a replica set. `missing` initiates it, since a new mongod
is a member of none until it is told.
"""

from __future__ import annotations

from typing import Any

import pymongo
from pymongo.errors import OperationFailure, PyMongoError

REPLICA_SET = "catalog"
ALREADY_INITIALIZED = 23
Admin = pymongo.database.Database[dict[str, Any]]


def command(program: str, host: str, port: str, data: str) -> tuple[str, ...]:
    """Say how to start it. The journal is always on."""
    return (
        *(program, "--replSet", REPLICA_SET, "--bind_ip", host, "--port", port),
        *("--dbpath", data, "--nounixsocket"),
        # A stopping primary waits 15 s for another member to take over, and there is none.
        *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"),
    )


def missing(uri: str, member: str) -> str | None:
    """Say what keeps it from being primary, None if it is; `member` is its host:port.

    Initiates the replica set, or moves it to the member's address if it had another one.
    """
    try:
        with pymongo.MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=500) as client:
            if client.admin.command("hello").get("isWritablePrimary"):
                return None
            return _configure(client.admin, member)
    except PyMongoError as error:
        return str(error)


def _configure(admin: Admin, member: str) -> str:
    config = {"_id": REPLICA_SET, "members": [{"_id": 0, "host": member}]}
    try:
        admin.command("replSetInitiate", config)
    except OperationFailure as error:
        if error.code != ALREADY_INITIALIZED:
            raise
        _move(admin, member)
    return "not primary yet"


def _move(admin: Admin, member: str) -> None:
    config = admin.command("replSetGetConfig")["config"]
    if config["members"][0]["host"] != member:
        config["members"][0]["host"] = member
        config["version"] += 1
        # Forced: a member that does not find itself in the configuration is never primary.
        admin.command("replSetReconfig", config, force=True)
