"""NATS servers that let in only who has credentials, or let each user do only what it needs.

The operator, account and user of a test are what `nsc` would make, by the rules of the NATS JWT
format, version 2 (docs.nats.io, "JWTs").
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nkeys

from chalicelib.adapters.jetstream import JetStream
from chalicelib.adapters.stream_setup import StreamPlan
from chalicelib.domain.events import StreamNames
from embedded.processes import port_is_free
from embedded.servers import ServerProcesses
from embedded.services import ROOT, Service, tool
from tests.contract.services import Nats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nats.aio.client import Client

Claims = dict[str, Any]
UNLIMITED = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}


def a_seed(kind: int) -> bytes:
    """A new private key of an operator, account or user, as NATS writes it."""
    seed: bytes = nkeys.encode_seed(os.urandom(32), kind)
    return seed


def public(seed: bytes) -> str:
    """The public key of a private one."""
    key: bytes = nkeys.from_seed(bytearray(seed)).public_key
    return key.decode()


def signed(issuer: bytes, subject: bytes, kind: str, **claims: object) -> str:
    """A token in which `issuer` vouches for `subject`."""
    content: Claims = {"iat": int(time.time()), "iss": public(issuer), "sub": public(subject)}
    content |= {"name": kind, "nats": {"type": kind, "version": 2, **claims}}
    digest = hashlib.sha256(json.dumps(content).encode()).digest()
    content["jti"] = base64.b32encode(digest).decode().rstrip("=")
    text = ".".join(_part(part) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, content))
    signature = nkeys.from_seed(bytearray(issuer)).sign(text.encode())
    return f"{text}.{_base64(signature)}"


def _part(content: Claims) -> str:
    return _base64(json.dumps(content).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def guarded(folder: Path, port: int) -> tuple[Path, str]:
    """The server's configuration, and the text of a `.creds` file that it lets in."""
    operator = a_seed(nkeys.PREFIX_BYTE_OPERATOR)
    system, account = a_seed(nkeys.PREFIX_BYTE_ACCOUNT), a_seed(nkeys.PREFIX_BYTE_ACCOUNT)
    user = a_seed(nkeys.PREFIX_BYTE_USER)
    everything = {"subs": -1, "data": -1, "payload": -1}
    limits = {**everything, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}
    accounts = {
        public(system): signed(operator, system, "account", limits=limits),
        public(account): signed(operator, account, "account", limits=limits | UNLIMITED),
    }
    preload = "\n".join(f"  {key}: {token}" for key, token in accounts.items())
    config = folder / "nats.conf"
    config.write_text(
        f"listen: 127.0.0.1:{port}\n"
        f"jetstream {{ store_dir: {json.dumps(str(folder / 'data'))} }}\n"
        f"operator: {signed(operator, operator, 'operator')}\n"
        f"system_account: {public(system)}\n"
        f"resolver: MEMORY\nresolver_preload {{\n{preload}\n}}\n"
    )
    credentials = (
        f"-----BEGIN NATS USER JWT-----\n{signed(account, user, 'user', **everything)}\n"
        "------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.decode()}\n------END USER NKEY SEED------\n"
    )
    return config, credentials


@contextmanager
def running(
    config: Path, port: int, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """A server of this configuration, which has it listen there."""

    def missing() -> str | None:
        return "it does not listen" if port_is_free(port) else None

    command = (tool("nats-server"), "-c", str(config))
    services = {"nats": Service(command, {**os.environ, **(environment or {})}, missing)}
    servers = ServerProcesses(config.parent / "server")
    try:
        servers.start(services)
        yield
    finally:
        servers.stop(services)


# ---- users with permissions ----

PERMISSIONS = ROOT / "docs" / "nats-permissions.conf"
PASSWORD = "p"
OWNER = "owner"
"""May do everything; the others are those of the file."""
CONSUMERS = {"listener": "my-copy"}


def permitting(folder: Path, port: int) -> tuple[Path, dict[str, str]]:
    """The configuration of a server with the users of the documentation, and its environment."""
    users = PERMISSIONS.read_text().replace(
        "users: [", f"users: [ {{ user: {OWNER}, password: {PASSWORD} }}", 1
    )
    config = folder / "nats.conf"
    store = json.dumps(str(folder / "data"))
    config.write_text(f"listen: 127.0.0.1:{port}\njetstream {{ store_dir: {store} }}\n{users}")
    names = ("CATALOG", "MIGRATION", "LISTENER", "OPERATOR")
    return config, {f"{name}_PASSWORD": PASSWORD for name in names}


class Permitted:
    """The stream of the catalog on such a server, made by the migration's user."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._opened: list[JetStream] = []

    def make(self) -> None:
        """Make it, as before a release."""
        assert self.open("migration").migrate()[1] == []

    def remove(self) -> None:
        """Remove it, and what is in it."""
        self.server(OWNER).remove_stream(StreamNames().stream)

    def close(self) -> None:
        """Close every adapter."""
        for stream in self._opened:
            stream.close()

    def url(self, user: str) -> str:
        """The server's address, for this user."""
        return f"nats://{user}:{PASSWORD}@127.0.0.1:{self._port}"

    def server(self, user: str) -> Nats:
        """The server, past the adapter."""
        return Nats(self.url(user))

    def remove_consumer(self) -> None:
        """Remove that of the bridge."""
        names = StreamNames()
        self.server(OWNER).ask(
            lambda client: client.jetstream().delete_consumer(names.stream, names.consumer)
        )

    def open(self, user: str, report: Callable[[str], None] = lambda _: None) -> JetStream:
        """An adapter that is this user; `report` is told what is wrong."""
        names = StreamNames(consumer=CONSUMERS.get(user, StreamNames().consumer))
        self._opened.append(JetStream(self.url(user), None, StreamPlan(names), report))
        return self._opened[-1]

    def publish(self, subject: str, data: bytes) -> None:
        """Publish as somebody else."""
        self.server(OWNER).ask(lambda client: client.jetstream().publish(subject, data))

    def update(self, **settings: object) -> None:
        """Change the stream by hand."""
        info, change = (f"$JS.API.STREAM.{what}.PRODUCTS" for what in ("INFO", "UPDATE"))

        async def update(client: Client) -> None:
            config = json.loads((await client.request(info)).data)["config"] | settings
            answer = await client.request(change, json.dumps(config).encode())
            assert "error" not in json.loads(answer.data)

        self.server(OWNER).ask(update)

    def refuses(self, user: str, subject: str) -> bool:
        """Whether the server refuses a message of this user, by its permissions."""
        refusals: list[str] = []

        async def note(error: Exception) -> None:
            refusals.append(str(error))

        async def send(client: Client) -> None:
            client._error_cb = note
            await client.publish(subject, b"{}", reply="_INBOX.x")
            # The server answers in order. nats-py sends the first ping before the message.
            await client.flush(timeout=5)
            await client.flush(timeout=5)

        self.server(user).ask(send)
        wanted = f'permissions violation for publish to "{subject}"'.lower()
        return any(wanted in refusal.lower() for refusal in refusals)
