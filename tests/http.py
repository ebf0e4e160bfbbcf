"""HTTP by hand: a server whose every answer a test writes, and a client of a WSGI application."""

from __future__ import annotations

import io
import socket
import struct
import threading
from collections import deque
from dataclasses import dataclass, field
from email.parser import BytesParser
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import unquote_to_bytes
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import simplejson

from tests.support import Json, eventually

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Mapping
    from email.message import Message
    from types import TracebackType
    from typing import Self
    from wsgiref.types import WSGIApplication

    Behaviour = bytes | Callable[[socket.socket], None]
    """Bytes to send as they are, or what to do with the connection, which is then closed."""

# ---- a server whose answers are written by hand ----


@dataclass(frozen=True)
class Seen:
    """One request as it came over the wire; `connection` counts them from 0."""

    method: str
    path: str
    headers: Message
    body: bytes
    connection: int

    def json(self) -> Any:  # noqa: ANN401 - JSON has no narrower type
        """The body, with exact numbers."""
        return simplejson.loads(self.body, use_decimal=True)


def reply(status: int, body: bytes | str = b"", **headers: str) -> bytes:
    """Write a whole answer; a header's underscore is a dash."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


def reset(connection: socket.socket) -> None:
    """Break the connection with an RST: lingering for 0 s makes close() send one."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def hang_up(connection: socket.socket) -> None:
    """Close without an answer."""
    connection.shutdown(socket.SHUT_RDWR)


class ScriptedServer:
    """Listens on 127.0.0.1 and answers each request with the next of `answers`, else with 200."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: deque[Behaviour] = deque()
        self.default: Behaviour = reply(200, "{}")
        self.seen: list[Seen] = []
        self.left = threading.Event()
        """Set when a client has closed a connection that `silent` or `trickle` held open."""
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections were opened so far."""
        return len(self._connections)

    def silent(self, connection: socket.socket) -> None:
        """Say nothing until the client leaves."""
        try:
            while connection.recv(4096):
                pass
        except OSError:
            pass
        if not self._closing.is_set():
            self.left.set()

    def trickle(self, head: bytes, drop: bytes, every: float = 0.1) -> Behaviour:
        """Send `head`, then `drop` again and again until the client leaves."""

        def drip(connection: socket.socket) -> None:
            try:
                connection.sendall(head)
                while not self._closing.wait(every):
                    connection.sendall(drop)
            except OSError:
                self.left.set()

        return drip

    def close(self) -> None:
        """End all connections and threads."""
        self._closing.set()
        self._shut(self._listener)
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            self._shut(connection)
        for thread in self._threads:
            thread.join(5)
        assert not any(thread.is_alive() for thread in self._threads), "a server thread hangs"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @staticmethod
    def _shut(sock: socket.socket) -> None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        finally:
            sock.close()

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                number = len(self._connections)
                self._connections.append(connection)
            self._start(partial(self._serve, connection, number))

    def _serve(self, plain: socket.socket, number: int) -> None:
        try:
            connection = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
            self._connections[number] = connection
            with connection, connection.makefile("rb") as stream:
                while self._answer(connection, stream, number):
                    pass
        except OSError:
            pass  # the client left, or the test is over

    def _answer(self, connection: socket.socket, stream: io.BufferedReader, number: int) -> bool:
        request = stream.readline().decode("latin-1").split(" ")
        if len(request) != 3:
            return False
        lines = []
        while (line := stream.readline()) not in {b"\r\n", b""}:
            lines.append(line)
        headers = BytesParser().parsebytes(b"".join(lines), headersonly=True)
        body = stream.read(int(headers.get("Content-Length", "0")))
        with self._lock:
            self.seen.append(Seen(request[0], request[1], headers, body, number))
            behaviour = self.answers.popleft() if self.answers else self.default
        if isinstance(behaviour, bytes):
            connection.sendall(behaviour)
            return True
        behaviour(connection)
        return False

    def wait_until_left(self, seconds: float) -> None:
        """Wait until a client has gone away from `silent` or `trickle`."""
        eventually(self.left.is_set, seconds, "the client did not disconnect")


def refused_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


# ---- a client of a WSGI application ----


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str

    def json(self) -> Any:  # noqa: ANN401 - JSON has no narrower type
        """The body, with exact numbers."""
        return simplejson.loads(self.text, use_decimal=True)

    @property
    def fields(self) -> list[str]:
        """The fields at fault that a problem names."""
        return [error["field"] for error in self.json()["errors"]]


@dataclass
class WsgiClient:
    """Sends requests to a WSGI application, through wsgiref's own validator of the protocol.

    Paths are relative to `base` and percent-encoded. A body that is str or bytes is sent as it
    is, anything else as JSON.
    """

    application: WSGIApplication
    token: str | None = None
    base: str = "/api"
    answers: list[tuple[str, str, Answer]] = field(default_factory=list)
    """Everything that was asked and answered: (method, path, answer)."""

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request."""
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, fields: list[tuple[str, str]], *_: object) -> Any:  # noqa: ANN401 - write()
            started.append((status, fields))
            return None

        application = cast("Callable[..., Iterable[bytes]]", validator(self.application))
        result = application(self._environ(method, path, body, headers or {}), start_response)
        try:
            content = b"".join(result)
        finally:
            cast("Any", result).close()
        ((status, fields),) = started
        assert len({name.lower() for name, _ in fields}) == len(fields), "a header came twice"
        answer = Answer(int(status.split()[0]), dict(fields), content.decode())
        self.answers.append((method, path, answer))
        return answer

    def _environ(
        self, method: str, path: str, body: object, headers: Mapping[str, str]
    ) -> dict[str, Any]:
        content = to_bytes(body)
        raw, _, query = (self.base + path).partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            # WSGI: the decoded bytes, as if they were Latin-1.
            "PATH_INFO": unquote_to_bytes(raw).decode("latin-1"),
            "QUERY_STRING": query,
            "CONTENT_LENGTH": str(len(content)),
            "wsgi.input": io.BytesIO(content),
        }
        bearer = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        for name, value in {**bearer, **headers}.items():
            key = name.upper().replace("-", "_")
            environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
        setup_testing_defaults(environ)
        return environ

    def get(self, path: str, **headers: str) -> Answer:
        """GET a path; a header's underscore is a dash."""
        return self.request("GET", path, None, dashed(headers))

    def post(self, path: str, body: object = None, **headers: str) -> Answer:
        """POST a body."""
        return self.request("POST", path, body, dashed(headers))

    def put(self, path: str, body: object, **headers: str) -> Answer:
        """PUT a body."""
        return self.request("PUT", path, body, dashed(headers))

    def patch(self, path: str, body: object, **headers: str) -> Answer:
        """PATCH with a merge patch."""
        return self.request("PATCH", path, body, dashed(headers))

    def delete(self, path: str, **headers: str) -> Answer:
        """DELETE a path."""
        return self.request("DELETE", path, None, dashed(headers))


def to_bytes(body: object) -> bytes:
    """A request's body: text and bytes as they are, None as nothing, the rest as JSON."""
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, bytes):
        return body
    return simplejson.dumps(body, use_decimal=True).encode()


def dashed(headers: Mapping[str, str]) -> dict[str, str]:
    """Header names of keyword arguments: `If_Match` is `If-Match`."""
    return {name.replace("_", "-"): value for name, value in headers.items()}


def problem_of(answer: Answer) -> Json:
    """The problem details of an answer, checked for their shape (RFC 9457)."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: Json = answer.json()
    assert {"type", "title", "status", "detail"} <= problem.keys()
    assert problem["status"] == answer.status
    return problem
