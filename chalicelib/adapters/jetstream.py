"""The event stream on NATS JetStream: publish and pull. The only asyncio code.

nats-py runs in an event loop on a separate thread; ordinary threads call the methods here, which
wait for a bounded time. A connection does not survive a frozen Lambda: it is checked before use,
replaced when it is broken, and given up quickly, since the outbox keeps the events.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import nats
import nats.errors
from nats.aio.client import Client, RawCredentials
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from chalicelib.adapters.stream_setup import (
    MIGRATE,
    Config,
    Problem,
    StreamPlan,
    consumer_config,
    consumer_problems,
    stream_config,
    stream_problems,
)
from chalicelib.domain.errors import StreamNotMigratedError, StreamUnavailableError
from chalicelib.domain.events import TRACE_HEADER, Event, StreamNames
from chalicelib.usecases.ports import StreamMessage, StreamPage, StreamUsage

API = "$JS.API"
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 2.0
READ_SECONDS = 10.0
"""How long a page of the stream's record may take."""
READ_BYTES = 8_000_000
"""Of such a page; more than the largest message, which the server limits."""
TRUST_SECONDS = 5.0
"""A connection that was idle for longer is checked with a round trip before it is used."""
PAUSE_SECONDS = 2.0
"""After a failed connect, calls fail at once for this long instead of trying again."""
MIGRATION_SECONDS = 30.0
NOTHING_MORE = frozenset({"404", "408"})
"""Statuses that end a pull without an error: no messages, timeout."""

Result = TypeVar("Result")
_REMEDY = f"run {MIGRATE} with a user who may make it (docs/nats.md)"

# Whatever the client library or the socket raises; nats-py's own timeouts are among them.
_BROKEN = (nats.errors.Error, OSError, TimeoutError, asyncio.CancelledError)


@dataclass(frozen=True, slots=True)
class PulledMessage:
    """Implements `ports.StreamMessage`."""

    raw: Msg

    @property
    def data(self) -> bytes:
        return self.raw.data

    @property
    def subject(self) -> str:
        return self.raw.subject

    @property
    def sequence(self) -> int:
        return self.raw.metadata.sequence.stream

    @property
    def trace(self) -> str | None:
        return (self.raw.headers or {}).get(TRACE_HEADER)


class Inbox:
    """Receives the messages that are pulled over one connection.

    One pull request is open at a time. It asks for many messages and ends at a given time. NATS
    sends each message at once; those that arrive while nobody waits are kept for the next pull.

    nats-py's `fetch` is not used: it waits until it has all messages that it asked for, and
    mistakes an event with a header `Status` for a status of the server. Here a status is known by
    its subject, the one that the request names.
    """

    def __init__(self, client: Client, requests: str) -> None:
        """`requests`: the subject of the consumer's pull requests."""
        self._client = client
        self._requests = requests
        self._replies = f"{client.new_inbox()}.*"
        self._numbers = itertools.count(1)
        self.arrived: deque[Msg] = deque()
        self._open = ""
        self._missing = 0
        self._ends = 0.0
        self._refusal: Msg | None = None
        self._news = asyncio.Event()

    async def open(self) -> None:
        """Subscribe. With a callback, since `next_msg` starts two tasks for each message."""
        self._subscription = await self._client.subscribe(self._replies, cb=self._receive)

    async def _receive(self, message: Msg) -> None:
        if message.reply.startswith("$JS.ACK"):
            self.arrived.append(message)
            self._missing -= 1
        elif message.subject == self._open:
            self._missing = 0
            if (message.headers or {}).get("Status") not in NOTHING_MORE:
                self._refusal = message
        self._news.set()

    async def wait(self, limit: int, ends: float) -> bool:
        """Wait until the server sends something; False if the time is up before.

        Sends a request for `limit` messages until `ends` if none is open. Raises nats.errors.Error
        if the server refuses it, TimeoutError if the server does not report its end.
        """
        self._news.clear()
        if self._missing <= 0:
            await self._ask(limit, ends)
        # The server reports the end of a request.
        last = ends if ends < self._ends else self._ends + ANSWER_SECONDS / 2
        try:
            async with asyncio.timeout(last - time.monotonic()):
                await self._news.wait()
        except TimeoutError:
            if last > self._ends:
                raise
            return False
        if self._refusal is not None:
            raise APIError.from_msg(self._refusal)
        return True

    async def _ask(self, limit: int, ends: float) -> None:
        seconds = max(ends - time.monotonic(), 0.001)
        self._open = self._replies.replace("*", str(next(self._numbers)))
        self._missing, self._ends = limit, ends
        request = json.dumps({"batch": limit, "expires": int(seconds * 1e9)})
        await self._client.publish(self._requests, request.encode(), self._open)

    def take(self, limit: int) -> list[Msg]:
        """Give up to `limit` messages that have come."""
        return [self.arrived.popleft() for _ in range(min(limit, len(self.arrived)))]

    def wake(self) -> None:
        """End `wait`, since the connection is closed."""
        self._news.set()

    async def close(self) -> list[Msg]:
        """End the open request; give the messages that have arrived and were not taken."""
        await self._subscription.drain()  # type: ignore[no-untyped-call]  # nats-py has no type here
        return list(self.arrived)


class JetStream:
    """Implements `ports.Publisher`, `ports.Consumer` and `ports.StreamReader`.

    Connects at the first use.
    """

    def __init__(
        self,
        url: str,
        credentials: str | None = None,
        plan: StreamPlan | None = None,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`url`: one server, or several of a cluster with commas between them.

        `credentials`: the path of a `.creds` file, or its text. `report` is told what is wrong with
        the stream that is found, once.
        """
        self._servers = deque(servers_of(url))
        # Many processes share a cluster evenly.
        self._servers.rotate(random.randrange(len(self._servers)))  # noqa: S311 - not a secret
        self._plan = plan or StreamPlan()
        self._names = self._plan.names
        self._credentials = credentials
        self._report = report
        self._reported: list[str] = []
        self._made: list[str] = []
        self._refusal = ""
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Client | None = None
        self._inbox: Inbox | None = None
        self._used = 0.0
        self._paused_until = 0.0

    # ---- Publisher ----

    def publish(self, events: Sequence[Event]) -> list[Event]:
        return self._run(self._publish(events), ANSWER_SECONDS) if events else []

    async def _publish(self, events: Sequence[Event]) -> list[Event]:
        stream = (await self._connected()).jetstream(timeout=ANSWER_SECONDS)
        answers = await asyncio.gather(
            *(self._publish_one(stream, event) for event in events), return_exceptions=True
        )
        stored = [
            event
            for event, answer in zip(events, answers, strict=True)
            if not isinstance(answer, BaseException)
        ]
        if len(stored) < len(events):
            # The next use connects again, and creates the stream if that is what was missing.
            await self._disconnect()
        if not stored:
            raise StreamUnavailableError(self._told(answers[0]))
        self._used = time.monotonic()
        return stored

    async def _publish_one(self, stream: JetStreamContext, event: Event) -> None:
        subject, body = self._names.subject(event.type), event.to_cloudevent().encode()
        await stream.publish(subject, body, headers=event.headers)

    def ping(self) -> None:
        self._run(self._ping(), ANSWER_SECONDS)

    async def _ping(self) -> None:
        problems = await self._look(await self._connected())
        if problems:
            # The next use connects again, and makes what is missing.
            await self._disconnect()
            raise StreamNotMigratedError("; ".join(problems))

    def usage(self) -> StreamUsage:
        return self._run(self._usage(), ANSWER_SECONDS)

    async def _usage(self) -> StreamUsage:
        stream = (await self._connected()).jetstream(timeout=ANSWER_SECONDS)
        # A stream that has been deleted raises; the next use connects again, and creates it.
        info = await stream.stream_info(self._names.stream)
        # Without a limit the server says -1.
        limit = info.config.max_bytes or 0
        return StreamUsage(info.state.bytes, limit if limit > 0 else None)

    # ---- Consumer ----

    def pull(self, limit: int, timeout: float) -> list[StreamMessage]:
        return self._run(self._pull(limit, timeout), timeout + ANSWER_SECONDS)

    async def _pull(self, limit: int, patience: float) -> list[StreamMessage]:
        ends = time.monotonic() + patience
        while True:
            inbox = await self._own_inbox(await self._connected())
            if inbox.arrived or time.monotonic() >= ends:
                return [PulledMessage(message) for message in inbox.take(limit)]
            if await inbox.wait(limit, ends):
                self._used = time.monotonic()

    async def _own_inbox(self, client: Client) -> Inbox:
        """Give the one inbox for all pulls, so that no message is lost between two pulls."""
        if self._inbox is None:
            names = self._names
            inbox = Inbox(client, f"{API}.CONSUMER.MSG.NEXT.{names.stream}.{names.consumer}")
            await inbox.open()
            self._inbox = inbox
        return self._inbox

    def release(self) -> None:
        if self._inbox is not None:
            self._run(self._release(), ANSWER_SECONDS)

    async def _release(self) -> None:
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            for message in await inbox.close():
                await message.nak()

    def ack(self, messages: Sequence[StreamMessage]) -> None:
        self._settle(messages, Msg.ack)

    def nak(self, messages: Sequence[StreamMessage], delay: float) -> None:
        self._settle(messages, lambda message: message.nak(delay=delay))

    def terminate(self, messages: Sequence[StreamMessage]) -> None:
        self._settle(messages, Msg.term)

    def _settle(
        self,
        messages: Sequence[StreamMessage],
        answer: Callable[[Msg], Coroutine[Any, Any, None]],
    ) -> None:
        async def answer_all() -> None:
            for message in messages:
                if isinstance(message, PulledMessage):
                    await answer(message.raw)
            if self._client is not None:
                await self._client.flush(timeout=1)

        if messages:
            self._run(answer_all(), ANSWER_SECONDS)

    # ---- StreamReader ----

    def read(self, after: int, limit: int) -> StreamPage:
        return self._run(self._read(after, limit), READ_SECONDS)

    async def _read(self, after: int, limit: int) -> StreamPage:
        client = await self._connected()
        left = await self._make_reader(client, after)
        messages: list[StreamMessage] = []
        if left:
            messages, left = await self._take(client, min(limit, left), left)
        # If that fails, the server drops it after a while.
        with suppress(nats.errors.Error):
            # One name, since a permission cannot be given for names that begin with something.
            await client.jetstream(timeout=ANSWER_SECONDS).delete_consumer(
                self._names.stream, self._names.reader
            )
        if left and not messages:
            raise nats.errors.Error("the stream gives no message")
        self._used = time.monotonic()
        return StreamPage(messages, left)

    async def _make_reader(self, client: Client, after: int) -> int:
        """Make the consumer that reads a page; give the number of messages from there on.

        One for each page: there is nothing to keep while a function is frozen. It says how many
        messages there are, so that none is missed because the server is slow. The server refuses it
        while another copy reads: they would share the messages, and miss some.
        """
        names = self._names
        made = await self._request(
            client,
            f"CONSUMER.CREATE.{names.stream}.{names.reader}",
            {"stream_name": names.stream, "config": _reading(after, names), "action": "create"},
        )
        return int(made["num_pending"])

    async def _take(self, client: Client, limit: int, left: int) -> tuple[list[StreamMessage], int]:
        """Take up to `limit` of the `left` messages that the reader has; give how many follow."""
        messages: list[StreamMessage] = []
        subscription = await client.subscribe(inbox := client.new_inbox())
        requests = f"{API}.CONSUMER.MSG.NEXT.{self._names.stream}.{self._names.reader}"
        request = {"batch": limit, "expires": int(READ_SECONDS * 1e9), "max_bytes": READ_BYTES}
        await client.publish(requests, json.dumps(request).encode(), inbox)
        while left and len(messages) < limit:
            message = await subscription.next_msg(timeout=READ_SECONDS)
            if not message.reply.startswith("$JS.ACK"):
                # The end of the request: the page has as many bytes as it may.
                break
            messages.append(PulledMessage(message))
            left = message.metadata.num_pending
        await subscription.unsubscribe()
        return messages, left

    # ---- the connection ----

    def close(self) -> None:
        """Close the connection and stop the loop's thread, if they exist."""
        if self._loop is not None:
            self._run(self._finish(), ANSWER_SECONDS)
            loop, self._loop = self._loop, None
            loop.call_soon_threadsafe(loop.stop)

    async def _finish(self) -> None:
        await self._disconnect()
        # nats-py does not end the tasks that wait for messages if the connection was broken.
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        # The first callers may come at the same time: they must not start two loops.
        with self._starting:
            if self._loop is None:
                self._loop = _started_loop()
            return self._loop

    @cached_property
    def _connecting(self) -> asyncio.Lock:
        return asyncio.Lock()

    def _run(self, work: Coroutine[Any, Any, Result], seconds: float) -> Result:
        """Run on the loop's thread, in bounded time; any failure drops the connection."""

        async def bounded() -> Result:
            try:
                async with asyncio.timeout(seconds + CONNECT_SECONDS):
                    return await work
            except _BROKEN as error:
                await self._disconnect()
                raise StreamUnavailableError(self._told(error)) from error

        future = asyncio.run_coroutine_threadsafe(bounded(), self._running_loop())
        try:
            return future.result(seconds + 2 * CONNECT_SECONDS)
        except FutureTimeoutError as error:
            future.cancel()
            raise StreamUnavailableError("NATS: no answer in time") from error

    async def _connected(self) -> Client:
        async with self._connecting:
            if await self._alive():
                assert self._client is not None  # noqa: S101 - checked by _alive
                return self._client
            if time.monotonic() < self._paused_until:
                raise StreamUnavailableError("NATS: could not be reached a moment ago")
            await self._disconnect()
            try:
                self._client = await self._connect()
                await self._prepare(self._client)
            except BaseException as error:
                # Any error, also unusable credentials: writes continue, the outbox keeps events.
                self._paused_until = time.monotonic() + PAUSE_SECONDS
                # The next try begins with another server.
                self._servers.rotate(-1)
                if not isinstance(error, Exception) or isinstance(error, StreamUnavailableError):
                    raise
                raise StreamUnavailableError(self._told(error)) from error
            self._used = time.monotonic()
            return self._client

    async def _alive(self) -> bool:
        if self._client is None or not self._client.is_connected:
            return False
        if time.monotonic() - self._used < TRUST_SECONDS:
            return True
        try:
            await self._client.flush(timeout=1)
        except _BROKEN:
            return False
        return True

    async def _connect(self) -> Client:
        # One after the other: nats-py ends at the first that takes a connection and is silent.
        for _ in range(len(self._servers) - 1):
            try:
                return await self._connect_to(self._servers[0])
            except _BROKEN as error:
                if isinstance(error, asyncio.CancelledError):
                    raise
                self._servers.rotate(-1)
        return await self._connect_to(self._servers[0])

    async def _connect_to(self, server: str) -> Client:
        self._refusal = ""
        return await nats.connect(
            server,
            name="product-catalog",
            # _connected reconnects, within the caller's time.
            allow_reconnect=False,
            # Without these, nats-py repeats the first connect for two minutes.
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=int(CONNECT_SECONDS),
            error_cb=self._note_refusal,
            closed_cb=self._wake,
            user_credentials=credentials_of(self._credentials),
        )

    async def _note_refusal(self, error: Exception) -> None:
        # NATS refuses a subject beside the request, which has no answer. Other errors are raised.
        if "permissions violation" in str(error).lower():
            self._refusal = str(error)

    def _told(self, error: object) -> str:
        said = str(error) if isinstance(error, APIError) else repr(error)
        return f"NATS: {self._refusal or said}"

    async def _wake(self) -> None:
        if self._inbox is not None:
            self._inbox.wake()

    async def _disconnect(self) -> None:
        client, self._client, self._inbox = self._client, None, None
        if client is not None:
            # Closing a broken connection may fail.
            with suppress(*_BROKEN):
                await asyncio.wait_for(client.close(), timeout=1)

    # ---- stream and consumer: made, looked at, changed ----

    async def _prepare(self, client: Client) -> None:
        """Make what is missing; report what is wrong, once."""
        stream, consumer = await self._found(client)
        problems = [str(problem) for problem in self._problems(stream, consumer)]
        if stream is None:
            await self._make(client, "stream", stream_config(self._plan))
        if consumer is None:
            try:
                await self._make(client, "consumer", consumer_config(self._plan))
            except StreamNotMigratedError as error:
                # Only the bridge needs it: events are published without it.
                problems.append(str(error))
                self._refusal = ""
        if problems != self._reported:
            self._reported = problems
            for problem in problems:
                self._report(problem)

    async def _look(self, client: Client) -> list[str]:
        """Say what is missing, and what is wrong."""
        found = await self._found(client)
        return self._missing(*found) + [str(problem) for problem in self._problems(*found)]

    def _missing(self, stream: Config | None, consumer: Config | None) -> list[str]:
        names = ((self._names.stream, stream), (self._names.consumer, consumer))
        return [f"there is no {name}: {_REMEDY}" for name, config in names if config is None]

    def _problems(self, stream: Config | None, consumer: Config | None) -> list[Problem]:
        return [
            *(stream_problems(stream, self._plan) if stream else []),
            *(consumer_problems(consumer, self._plan) if consumer else []),
        ]

    async def _found(self, client: Client) -> tuple[Config | None, Config | None]:
        names = self._names
        stream, consumer = await asyncio.gather(
            self._config_of(client, f"STREAM.INFO.{names.stream}"),
            self._config_of(client, f"CONSUMER.INFO.{names.stream}.{names.consumer}"),
        )
        return stream, consumer

    async def _config_of(self, client: Client, subject: str) -> Config | None:
        try:
            return await self._ask(client, subject)
        except NotFoundError:
            return None

    async def _make(self, client: Client, what: str, config: Config) -> None:
        name = self._names.stream if what == "stream" else self._names.consumer
        try:
            await self._write(client, what, "create", config)
        except _BROKEN as error:
            if not (self._refusal or _is_a_decision(error)):
                raise
            text = f"the {what} {name} is missing, and cannot be made: {self._told(error)}"
            raise StreamNotMigratedError(f"{text}; {_REMEDY}" if self._refusal else text) from error
        self._made.append(f"made the {what} {name}")

    async def _write(self, client: Client, what: str, action: str, config: Config) -> Config:
        """Create or update; give the new configuration. As JSON: nats-py lacks some settings."""
        stream, consumer = self._names.stream, self._names.consumer
        if what == "stream":
            return await self._ask(client, f"STREAM.{action.upper()}.{stream}", config)
        request = {"stream_name": stream, "config": config, "action": action}
        return await self._ask(client, f"CONSUMER.CREATE.{stream}.{consumer}", request)

    async def _ask(self, client: Client, subject: str, content: Config | None = None) -> Config:
        """Ask JetStream about a stream or consumer; give its configuration."""
        config: Config = (await self._request(client, subject, content))["config"]
        return config

    async def _request(
        self, client: Client, subject: str, content: Config | None = None
    ) -> dict[str, Any]:
        """Send a request to JetStream; give its answer."""
        body = b"" if content is None else json.dumps(content).encode()
        message = await client.request(f"{API}.{subject}", body, timeout=ANSWER_SECONDS)
        answer: dict[str, Any] = json.loads(message.data)
        if "error" in answer:
            APIError.from_error(answer["error"])
        return answer

    def migrate(self) -> tuple[list[str], list[str]]:
        """Make what is missing and mend what is wrong: what was done; what a person must do."""
        return self._run(self._migrate(), MIGRATION_SECONDS)

    async def _migrate(self) -> tuple[list[str], list[str]]:
        client = await self._connected()
        stream, consumer = await self._found(client)
        done, left = self._made.copy(), self._missing(stream, consumer)
        for what, config in (("stream", stream), ("consumer", consumer)):
            if config is not None:
                await self._mend(client, what, config, done, left)
        self._made.clear()
        return done, left

    async def _mend(
        self, client: Client, what: str, config: Config, done: list[str], left: list[str]
    ) -> None:
        """Change one setting at a time, so that one that NATS refuses holds up no other."""
        judge = stream_problems if what == "stream" else consumer_problems
        for problem in judge(config, self._plan):
            if not problem.change or self._refusal:
                left.append(str(problem))
                continue
            try:
                config = await self._write(client, what, "update", config | problem.change)
            except _BROKEN as error:
                left.append(f"{problem}, but was refused: {self._told(error)}")
            else:
                done.append(f"changed {problem.setting} of the {problem.of}, was {problem.found}")


def _reading(after: int, names: StreamNames) -> Config:
    """Give a consumer that reads on, and is forgotten soon after its reader has crashed."""
    return {
        "name": names.reader,
        # The same consumer could be made twice.
        "description": f"a page of a restore: {uuid.uuid4().hex}",
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": after + 1,
        "ack_policy": "none",
        # Longer than a page may take: until then no other copy can make one.
        "inactive_threshold": int(2 * READ_SECONDS * 1e9),
        "mem_storage": True,
        "num_replicas": 1,
    }


def _started_loop() -> asyncio.AbstractEventLoop:
    """Start an event loop on a thread of its own, which ends when the loop is stopped."""
    loop = asyncio.new_event_loop()

    def live() -> None:
        loop.run_forever()
        loop.close()

    threading.Thread(target=live, name="nats", daemon=True).start()
    return loop


def _is_a_decision(error: BaseException) -> bool:
    """Whether the server refuses a request as it is; without a leader it would take it later."""
    return isinstance(error, APIError) and not isinstance(error, ServiceUnavailableError)


def servers_of(url: str) -> list[str]:
    """Give the servers that a NATS_URL names."""
    return [server.strip() for server in url.split(",")]


def _read_credentials(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError as error:
        # Not the path: it may be credentials that are not whole.
        raise ValueError(f"the file of credentials cannot be read: {error.strerror}") from None


def credentials_of(given: str | None) -> RawCredentials | None:
    if given is None:
        return None
    text = given if "-----BEGIN" in given else _read_credentials(given)
    for part in ("BEGIN NATS USER JWT", "BEGIN USER NKEY SEED"):
        if part not in text:
            # nats-py would search for it in an endless loop.
            raise ValueError(f"the credentials have no {part}")
    return RawCredentials(text)
