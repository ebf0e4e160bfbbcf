"""What the contract suite makes on a server, by names of its own, and its removal.

The server may be somebody's: Atlas, Synadia Cloud, SQS. Nothing there is touched that the run has
not made, and nothing is left when it ends.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import nats
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from pymongo import MongoClient

from chalicelib.adapters.jetstream import JetStream, credentials_of
from chalicelib.adapters.mongo.documents import Document
from chalicelib.adapters.stream_setup import StreamPlan
from chalicelib.domain.events import StreamNames
from tests.support import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

VARIABLES = {"mongodb": "MONGODB_URI", "nats": "NATS_URL", "sqs": "SYNC_QUEUE_URL"}
PREFIX = "catalog-contract-"
"""Each name begins with it, so that a person can find what a killed run has left."""
SQS_SETTLE_SECONDS = 1.0
"""SQS: a queue must not be used for so long after it was created."""

Answer = TypeVar("Answer")


def named_by(environ: Mapping[str, str]) -> dict[str, str]:
    """Addresses of the servers that the environment names; an empty variable counts as unset."""
    found = {server: environ.get(variable) for server, variable in VARIABLES.items()}
    return {server: address for server, address in found.items() if address}


def must_answer(server: str, ask: Callable[[], object]) -> None:
    """End the run if a server does not do what it is asked, rather than fail test by test."""
    try:
        ask()
    except Exception as error:  # noqa: BLE001 - whatever it is, somebody is to read it
        pytest.exit(f"{VARIABLES[server]}: {error!r}", returncode=2)


class OwnNames:
    """The names of what a run has made on a server and has not removed yet."""

    def __init__(self, remove: Callable[[str], object]) -> None:
        """`remove` removes what has a name; it does nothing if there is nothing."""
        self._remove = remove
        self._left: set[str] = set()

    @contextmanager
    def one(self) -> Iterator[str]:
        """A new name; what has it at the end of the block is removed."""
        # 33 characters: Atlas allows 38 in the name of a database.
        name = PREFIX + uuid.uuid4().hex[:16]
        self._left.add(name)
        try:
            yield name
        finally:
            self._forget(name)

    def remove_the_rest(self) -> None:
        """Try again where a removal failed or was interrupted. Raises AssertionError with names."""
        failures = {}
        for name in sorted(self._left):
            try:
                self._forget(name)
            except Exception as error:  # noqa: BLE001 - whatever it is, the others are tried too
                failures[name] = error
        assert not failures, f"still on the server, to be removed by hand: {failures}"

    def _forget(self, name: str) -> None:
        self._remove(name)
        self._left.discard(name)


# ---- MongoDB ----


class Databases:
    """A MongoDB server, and the databases that the run has there."""

    def __init__(self, client: MongoClient[Document]) -> None:
        self.client = client
        self.names = OwnNames(client.drop_database)


# ---- NATS ----


class Nats:
    """A NATS server, used past the adapter. `credentials` are the adapter's."""

    def __init__(
        self, url: str, credentials: str | None = None, max_bytes: int | None = None
    ) -> None:
        """`max_bytes`: size limit of each stream, for servers that require one."""
        self.url = url
        self.credentials = credentials
        self.max_bytes = max_bytes
        self.names = OwnNames(self.remove_stream)

    def ask(self, use: Callable[[Client], Awaitable[Answer]]) -> Answer:
        """Use a connection."""

        async def connected() -> Answer:
            client = await nats.connect(
                self.url,
                user_credentials=credentials_of(self.credentials),
                connect_timeout=5,
                # Without these, nats-py repeats the first connect for two minutes.
                allow_reconnect=False,
                max_reconnect_attempts=1,
            )
            try:
                return await use(client)
            finally:
                await client.close()

        return asyncio.run(connected())

    def remove_stream(self, name: str) -> None:
        async def remove(client: Client) -> None:
            try:
                await client.jetstream().delete_stream(name)
            except NotFoundError:
                return

        self.ask(remove)


class Streams:
    """Opens adapters on one stream, which is made by its first use."""

    def __init__(self, server: Nats, name: str) -> None:
        self.server = server
        self.name = name
        # Two tokens, so that a user's permissions can say `catalog-contract.>`.
        self.names = StreamNames(name, f"{PREFIX.rstrip('-')}.{name.removeprefix(PREFIX)}.")
        self.opened: list[JetStream] = []
        self.reported: list[str] = []

    @property
    def prefix(self) -> str:
        """What each subject begins with."""
        return self.names.before

    def __call__(
        self,
        url: str | None = None,
        credentials: str | None = None,
        consumer: str = StreamNames().consumer,
        **plan: Any,  # noqa: ANN401 - the adapter's
    ) -> JetStream:
        """Open an adapter; on another server without credentials unless they are given."""
        if url is None:
            credentials = self.server.credentials
        asked = {"max_bytes": self.server.max_bytes} | plan
        wanted = StreamPlan(replace(self.names, consumer=consumer), **asked)
        where = url or self.server.url
        self.opened.append(JetStream(where, credentials, wanted, self.reported.append))
        return self.opened[-1]

    def publish(self, subject: str, data: bytes) -> None:
        """Publish past the adapter; `subject` without the prefix."""
        self.server.ask(lambda client: client.jetstream().publish(self.prefix + subject, data))


# ---- SQS ----


class Queues:
    """Makes queues beside a given one."""

    def __init__(self, client: SQSClient, beside: str, settle: float = 0.0) -> None:
        """`beside`: the URL of a queue. `settle`: seconds after a creation."""
        self.client = client
        self.names = OwnNames(self.remove)
        self._folder = beside.rsplit("/", 1)[0]
        self._settle = settle

    def create(self, name: str, attributes: Mapping[QueueAttributeNameType, str]) -> str:
        """Make a queue; its URL."""
        url = self.client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        eventually(lambda: self.arn(url), message=f"{name} is there")
        return url

    def settle(self) -> None:
        """Wait until what was created may be used."""
        time.sleep(self._settle)

    def arn(self, url: str) -> str | None:
        """The ARN of a queue, None if it is not there (yet)."""
        try:
            answer = self.client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        except self.client.exceptions.QueueDoesNotExist:
            return None
        return answer["Attributes"]["QueueArn"]

    def remove(self, name: str) -> None:
        # Not by the URL that SQS finds for a name: it does not find a new queue at once.
        try:
            self.client.delete_queue(QueueUrl=f"{self._folder}/{name}")
        except self.client.exceptions.QueueDoesNotExist:
            return


def find(client: SQSClient, queue_url: str) -> None:
    """Raise an error if a client finds a queue elsewhere, or not at all.

    So nothing is made in another account or region than the one that is meant.
    """
    found = client.get_queue_url(QueueName=queue_url.rsplit("/", 1)[1])["QueueUrl"]
    if found != queue_url:
        settings = "the credentials, AWS_REGION and AWS_ENDPOINT_URL_SQS"
        raise ValueError(f"{settings} lead to {found}, not to {queue_url}")


# ---- which tests a server of the environment is held to ----


class LeftOut:
    """Deselects the tests of the embedded servers where the environment names others; says why."""

    def __init__(self, servers: Mapping[str, str]) -> None:
        self._servers = servers
        self._reasons: list[str] = []

    def reason(self, item: pytest.Item) -> str | None:
        """Why a test is not run, None if it is."""
        for mark in item.iter_markers("embedded"):
            server, why = mark.args
            if server in self._servers:
                return f"{server}: {why}"
        return None

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        out = [item for item in items if self.reason(item)]
        self._reasons += [self.reason(item) or "" for item in out]
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]

    def pytest_report_header(self) -> list[str]:
        return [
            f"{server}: the server of {VARIABLES[server]}; all names begin with {PREFIX}"
            for server in self._servers
        ]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._reasons:
            return
        terminalreporter.section(f"{len(self._reasons)} tests of the embedded servers not run")
        for reason, number in sorted(Counter(self._reasons).items()):
            terminalreporter.write_line(f"{number:3} {reason}")


def servers_of(config: pytest.Config) -> dict[str, str]:
    """The servers that the suite is held to beside the embedded ones, by their addresses."""
    return (
        named_by(os.environ) if config.getoption("--servers-of-environment", default=False) else {}
    )
