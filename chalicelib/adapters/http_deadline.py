"""One deadline for a whole HTTP call, from the first connect to the last byte.

The timeout of urllib3 restarts for each address of the host and for each byte, so a server that
sends its answer slowly can keep a call open for ever. Here the calling thread has one deadline, and
no socket operation waits beyond it. Only the DNS look-up cannot be bounded, since `getaddrinfo`
takes no timeout. If it ends after the deadline, nothing is sent.
"""

from __future__ import annotations

import io
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import client
from typing import Any, Self

import certifi
from urllib3 import HTTPResponse, PoolManager, Retry
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError, ProtocolError
from urllib3.util.ssl_ import create_urllib3_context


class _Call(threading.local):
    ends = 0.0
    """By time.monotonic(). Outside of a call there is no time left."""


_call = _Call()


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Bound the calls that this thread makes through a `deadline_pools`.

    `seconds` is the time for each call as a whole. Any failure after the deadline is raised as
    TimeoutError.
    """
    _call.ends = time.monotonic() + seconds
    try:
        yield
    except Exception as failure:
        # Each layer has its own name for a timeout, and some call it a broken connection.
        if _left() > 0:
            raise
        raise TimeoutError(f"cut off after {seconds:g} s") from failure
    finally:
        _call.ends = 0.0


def _left() -> float:
    return max(0.0, _call.ends - time.monotonic())


def _some_left() -> float:
    """Give the seconds that are left, never 0: a socket with timeout 0 is non-blocking."""
    if seconds := _left():
        return seconds
    raise TimeoutError("no time left for the call")


# ---- sockets ----


class DeadlineSocket(socket.socket):
    """Waits until the deadline at most; sends and receives nothing after it.

    http.client uses only these operations. The socket's timeout bounds each operation as a whole,
    also with TLS.
    """

    def recv_into(self, *args: Any, **kwargs: Any) -> int:  # noqa: ANN401 - passed on as it is
        self.settimeout(_some_left())
        return super().recv_into(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on as it is
        self.settimeout(_some_left())
        super().sendall(*args, **kwargs)


class DeadlineTlsSocket(DeadlineSocket, ssl.SSLSocket):
    """The same with TLS."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as in ssl
        self.settimeout(_some_left())
        super().do_handshake(block)


# ---- connections ----


class StaleConnectionError(ConnectionError):
    """The server closed a kept-alive connection without an answer."""


class BrokenOffError(client.HTTPException):
    """The connection was closed in the head of an answer."""


class _Head:
    """Reads the lines of an answer's head, and keeps the last one."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self.stream = stream
        self.close = stream.close
        self.last = b""

    def readline(self, limit: int) -> bytes:
        self.last = self.stream.readline(limit)
        return self.last


class _Response(client.HTTPResponse):
    """Refuses a head that breaks off, which http.client takes for a whole one."""

    def begin(self) -> None:
        head = _Head(self.fp)
        self.fp = head  # type: ignore[assignment]  # http.client reads nothing but lines here
        try:
            super().begin()
        finally:
            # Or it is None, since the answer is no HTTP.
            self.fp = self.fp and head.stream
        if not head.last:
            raise BrokenOffError


class _Connection(HTTPConnection):
    response_class = _Response
    _kept = False

    def _new_conn(self) -> socket.socket:
        """Connect to the first address that answers, with one deadline for all of them."""
        self._kept = False
        failure: Exception = OSError("the host has no address")
        addresses = _addresses(self)
        for tried, (family, kind, protocol, _, address) in enumerate(addresses):
            sock = DeadlineSocket(family, kind, protocol)
            try:
                # Each address gets a share of the time: the next may answer if this one does not.
                sock.settimeout(_some_left() / (len(addresses) - tried))
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                sock.close()
                failure = error
            else:
                return sock
        raise NewConnectionError(self, str(failure)) from failure

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as in urllib3
        try:
            response = super().getresponse()
        except ConnectionError as error:
            if self._kept:
                raise StaleConnectionError(str(error)) from error
            raise
        self._kept = True
        return response

    def close(self) -> None:
        if self.sock is not None and _left() == 0:
            # With a reset, so that the kernel drops unsent data: another worker may soon have the
            # lease. setsockopt fails if the socket is closed already.
            with suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        super().close()


def _addresses(connection: HTTPConnection) -> list[Any]:
    try:
        return socket.getaddrinfo(connection.host, connection.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NewConnectionError(connection, str(error)) from error


class _TlsConnection(_Connection, HTTPSConnection):
    def connect(self) -> None:
        # One context per connection, as in urllib3, which loads certificates into it.
        self.ssl_context = create_urllib3_context()
        self.ssl_context.sslsocket_class = DeadlineTlsSocket
        super().connect()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _ReplaceStale(Retry):
    """Repeats a request on another connection if a kept-alive connection turns out to be closed.

    The server may close a kept-alive connection just as it is used again. Only for idempotent
    requests, since the server may have read the request. Each repetition removes a connection from
    the pool, so the repetitions end.
    """

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: Any = None,  # noqa: ANN401 - passed on as it is
        error: Exception | None = None,
        *args: Any,  # noqa: ANN401 - passed on as they are
        **kwargs: Any,  # noqa: ANN401 - passed on as they are
    ) -> Self:
        if isinstance(error, ProtocolError) and isinstance(error.args[-1], StaleConnectionError):
            return self
        return super().increment(method, url, response, error, *args, **kwargs)


def deadline_pools(connections: int) -> PoolManager:
    """Make connection pools that apply `deadline`; they keep `connections` to a host at most."""
    pools = PoolManager(
        num_pools=1,
        maxsize=connections,
        retries=_ReplaceStale(0, read=False),
        ca_certs=certifi.where(),
    )
    pools.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
    return pools
