"""TCP proxies with faults: one between each role and each server that it uses.

A proxy forwards connections as they are until a `Fault` begins. When the fault ends, the bytes that
were held back are passed on, and a dead connection stays dead. When a client resets its connection,
its bytes that are still on the way are dropped, as the kernel does.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlsplit

from embedded.processes import free_port
from embedded.services import HOST, Endpoints

Result = TypeVar("Result")
End = tuple[asyncio.StreamReader, asyncio.StreamWriter]
See = Callable[[bytes], None]
Watch = Callable[[], tuple[See, See]]
"""Called for each connection: gives what is told the bytes of the client, and of the server."""

USES = {
    "api": ("mongodb", "nats", "sqs"),
    "bridge": ("nats", "sqs"),
    "sync": ("mongodb", "nats", "sqs", "supplyChain"),
    "reconcile": ("mongodb", "nats", "sqs"),
}
"""The servers that each role uses."""
PAIRS = tuple((role, server) for role, servers in USES.items() for server in servers)
DELAY_SECONDS = 0.3
BYTES_PER_SECOND = 4_000
CHUNK = 65_536
HELD = 64
"""Chunks of one direction that are held at most. A sender that has more to say must wait."""


class Fault(StrEnum):
    """What is wrong with a link. Connections survive the first three."""

    DELAY = "delay"
    """Every chunk arrives `DELAY_SECONDS` late."""
    BANDWIDTH = "bandwidth"
    """`BYTES_PER_SECOND` in each direction of each connection."""
    BLACK_HOLE = "black hole"
    """Connections are accepted, and nothing is passed on, also of those that are established."""
    REFUSE = "refuse"
    """Connections are reset, and new ones are refused."""
    RESET = "reset"
    """Connections are reset, once; new ones work."""
    ORPHAN = "orphan"
    """The client's end of each connection is gone, and the server is not told; new ones work."""
    HALF_OPEN = "half-open"
    """The server's end of each connection is gone, and the client is not told; new ones work."""


class Network:
    """The proxies of one process: they run on one thread. `close` ends all of them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._thread.start()
        self._proxies: list[Proxy] = []

    def proxy(self, target: str, watch: Watch | None = None) -> Proxy:
        """Start a proxy before the server at `target`, `host:port`."""
        proxy = Proxy(target, watch, self._run)
        self._run(proxy.listen())
        self._proxies.append(proxy)
        return proxy

    def close(self) -> None:
        """Reset every connection, and listen no longer."""
        for proxy in self._proxies:
            self._run(proxy.shut())
        self._run(_finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[object, object, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


async def _finish() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


class Proxy:
    """Forwards connections to a server; made by `Network.proxy`. One fault at a time.

    `target` may be changed: the server's address for the next connections. `answered` is the number
    of bytes that clients have got.
    """

    def __init__(
        self,
        target: str,
        watch: Watch | None,
        run: Callable[[Coroutine[object, object, None]], None],
    ) -> None:
        self.target = target
        self.address = f"{HOST}:{free_port()}"
        self.answered = 0
        self.fault: Fault | None = None
        self._watch = watch
        self._run = run
        self._passing = asyncio.Event()
        self._passing.set()
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    def begin(self, fault: Fault) -> None:
        """Begin a fault; it lasts until `end`."""
        self._run(self._begin(fault))

    def end(self) -> None:
        """End the fault, if there is one."""
        self._run(self._end())

    async def _begin(self, fault: Fault) -> None:
        await self._end()
        self.fault = fault
        if fault is Fault.BLACK_HOLE:
            self._passing.clear()
        elif fault is Fault.REFUSE:
            await self.shut()
        for connection in tuple(self._connections):
            if fault is Fault.RESET:
                connection.reset()
            elif fault in (Fault.HALF_OPEN, Fault.ORPHAN):
                connection.lose(server=fault is Fault.HALF_OPEN)

    async def _end(self) -> None:
        fault, self.fault = self.fault, None
        self._passing.set()
        if fault is Fault.REFUSE:
            await self.listen()

    # ---- on the network's thread ----

    async def listen(self) -> None:
        """Take connections."""
        host, port = host_and_port(self.address)
        self._server = await asyncio.start_server(self._accept, host, port, backlog=256)

    async def shut(self) -> None:
        """Take no connections, and reset those that there are."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._connections):
            connection.reset()
        # A connection ends when its tasks have seen it.
        await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, reader, writer)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    def watched(self) -> tuple[See, See]:
        """Give what sees the bytes of a new connection."""
        if self._watch is not None:
            return self._watch()
        return (_nothing, _nothing)

    async def passing(self) -> None:
        """Wait for the end of a black hole."""
        await self._passing.wait()

    async def send(self, data: bytes, came: float, writer: asyncio.StreamWriter) -> None:
        """Pass on what came at a time of the loop, as late and as slowly as the fault wants."""
        if self.fault is Fault.DELAY:
            await asyncio.sleep(came + DELAY_SECONDS - asyncio.get_running_loop().time())
        await self.passing()
        while data:
            rate = BYTES_PER_SECOND if self.fault is Fault.BANDWIDTH else 0
            part, data = (data[: rate // 20], data[rate // 20 :]) if rate else (data, b"")
            writer.write(part)
            await writer.drain()
            if rate:
                await asyncio.sleep(len(part) / rate)


class _Connection:
    """A client's connection and ours to the server."""

    def __init__(
        self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._client = (reader, writer)
        self._server: End | None = None
        self._work: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Forward until both sides have closed, or one has broken its connection."""
        self._work = asyncio.create_task(self._forward())
        with suppress(asyncio.CancelledError):
            await self._work
        if self._work.cancelled():
            # One end is lost: nothing that the other says arrives, and it gets no answer.
            await self._swallow()
        for _, writer in self._ends():
            writer.close()

    def reset(self) -> None:
        """End both connections with a RST."""
        for _, writer in self._ends():
            abort(writer)

    def lose(self, *, server: bool) -> None:
        """Reset one end without a word to the other."""
        lost = self._server if server else self._client
        if lost is not None and self._work is not None:
            abort(lost[1])
            self._work.cancel()

    async def _forward(self) -> None:
        await self._proxy.passing()
        try:
            self._server = await asyncio.open_connection(*host_and_port(self._proxy.target))
            asked, answered = self._proxy.watched()
            (client, to_client), (server, to_server) = self._client, self._server
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(client, to_server, asked))
                group.create_task(self._copy(server, to_client, self._counted(answered)))
        except* OSError:
            self.reset()

    def _counted(self, see: See) -> See:
        def counted(data: bytes) -> None:
            self._proxy.answered += len(data)
            see(data)

        return counted

    async def _copy(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, see: See
    ) -> None:
        """Copy until the end. Reading goes on while data is held, so that a RST is noticed."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(HELD)

        async def write() -> None:
            while (item := await held.get())[1]:
                see(item[1])
                await self._proxy.send(item[1], item[0], sink)
            await self._proxy.passing()
            sink.write_eof()

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            data = b"."
            while data:
                data = await source.read(CHUNK)
                await held.put((asyncio.get_running_loop().time(), data))

    def _ends(self) -> list[End]:
        return [self._client] if self._server is None else [self._client, self._server]

    async def _swallow(self) -> None:
        for reader, writer in self._ends():
            with suppress(OSError):
                while not writer.is_closing() and await reader.read(CHUNK):
                    pass


def _nothing(_: bytes) -> None:
    return


def abort(writer: asyncio.StreamWriter) -> None:
    """End a connection with a RST: lingering for 0 s makes close() send one."""
    if not writer.is_closing():
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()


def host_and_port(address: str) -> tuple[str, int]:
    """Split `host:port`."""
    host, _, port = address.rpartition(":")
    return host, int(port)


class Links:
    """A proxy for each of `PAIRS`; `route` leads the roles of a `Stack` through them.

    `watch` gives what sees the bytes of a pair.
    """

    def __init__(self, watch: Callable[[str, str], Watch] | None = None) -> None:
        self.proxies: dict[tuple[str, str], Proxy] = {}
        self._network = Network()
        self._watch = watch

    def route(self, role: str, where: Endpoints) -> Endpoints:
        """Give the addresses as a role is to see them."""

        def link(server: str, url: str) -> str:
            return self._through(role, server, url) if server in USES[role] else url

        sqs = link("sqs", where.sqs)
        return replace(
            where,
            supply_chain=link("supplyChain", where.supply_chain),
            mongodb=link("mongodb", where.mongodb),
            nats=link("nats", where.nats),
            sqs=sqs,
            queue=where.queue.replace(where.sqs, sqs),
            dlq=where.dlq.replace(where.sqs, sqs),
            bulk_queue=where.bulk_queue.replace(where.sqs, sqs),
        )

    def _through(self, role: str, server: str, url: str) -> str:
        address, pair = urlsplit(url).netloc, (role, server)
        if pair not in self.proxies:
            watch = self._watch and self._watch(role, server)
            self.proxies[pair] = self._network.proxy(address, watch)
        self.proxies[pair].target = address
        return url.replace(address, self.proxies[pair].address)

    def end(self) -> None:
        """End every fault."""
        for proxy in self.proxies.values():
            proxy.end()

    def close(self) -> None:
        """End every proxy."""
        self._network.close()
