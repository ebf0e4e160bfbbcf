"""The container host's web server, byte by byte: what it refuses, and what it must bear."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
from gunicorn.http.errors import InvalidResponseHeader

from embedded.processes import free_port
from functions.server import Worker
from tests.processes.test_host import Host
from tests.support import eventually
from tests.unit.conftest import a_token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Json

BIG = "x" * 9000
JSON_BODY = b'{"name": "Anvil", "price": 1, "quantity": 1}'


class WebServer(NamedTuple):
    """The API as a process of its own; nobody is at the addresses of its store and its queue."""

    host: Host
    port: int

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(self, request: bytes) -> list[Reply]:
        """Send these bytes, and no more; everything that is answered."""
        with self.connect() as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as stream:
                return list(replies(stream.read(), request))


class Reply(NamedTuple):
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def problem(self) -> Json:
        assert self.headers["content-type"] == "application/problem+json"
        found: Json = json.loads(self.body)
        assert {"type", "title", "status", "detail"} <= found.keys()
        assert found["status"] == self.status
        return found


def replies(data: bytes, request: bytes) -> Iterator[Reply]:
    """Cut what came back into answers, by their lengths."""
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (each.split(": ") for each in lines)}
        bare = request.startswith(b"HEAD") or line.startswith("HTTP/1.1 100")
        length = 0 if bare else int(headers["content-length"])
        yield Reply(int(line.split()[1]), headers, data[:length])
        data = data[length:]


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    port = free_port()
    made = WebServer(Host(tmp_path_factory.mktemp("web"), "api", PORT=str(port)), port)
    try:
        eventually(lambda: is_up(made), 30, "the API does not answer")
        yield made
    finally:
        made.host.process.kill()
        made.host.process.wait()
    assert "Traceback" not in made.host.printed()


def is_up(web: WebServer) -> bool:
    try:
        return [reply.status for reply in web.ask(get("/api/health"))] == [200]
    except ConnectionError:
        return False


def get(path: str, *lines: str, method: str = "GET", version: str = "1.1") -> bytes:
    """A request without a body."""
    head = [f"{method} {path} HTTP/{version}", "Host: catalog", *lines]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n"


def post(body: bytes, *lines: str) -> bytes:
    """A request that creates a product, if it can be read."""
    # Made when the tests are collected, which may be minutes before the last one runs.
    bearer = a_token("products:write", exp=int(time.time()) + 86_400)
    token = f"Authorization: Bearer {bearer}"
    return get("/api/products", token, *lines, method="POST") + body


def chunked(body: bytes) -> bytes:
    return post(body, "Transfer-Encoding: chunked")


REFUSED: dict[str, tuple[bytes, int, str]] = {
    "no request line": (b"NONSENSE\r\n\r\n", 400, "malformed"),
    "a greeting of TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", 400, "malformed"),
    "another protocol": (b"GET /api/health SMTP/1.0\r\n\r\n", 400, "malformed"),
    "a version to come": (get("/api/health", version="9.9"), 400, "malformed"),
    "a method of signs": (get("/api/health", method="G(T"), 400, "malformed"),
    "a header without a colon": (get("/api/health", "Nothing"), 400, "malformed"),
    "a header with a blank in its name": (get("/api/health", "a b: c"), 400, "malformed"),
    "a header over two lines": (get("/api/health", "A: b", " c"), 400, "malformed"),
    "a header with a NUL": (get("/api/health", "A: b\0c"), 400, "malformed"),
    "a long header": (get("/api/health", f"A: {BIG}"), 431, "headers-too-large"),
    "many headers": (
        get("/api/health", *[f"A{n}: b" for n in range(101)]),
        431,
        "headers-too-large",
    ),
    "a path of bytes": (get("/api/\xff\xfe"), 400, "malformed"),
    "a long path": (get(f"/api/{BIG}"), 414, "uri-too-long"),
    "a length that is none": (post(b"", "Content-Length: two"), 400, "malformed"),
    "a negative length": (post(b"", "Content-Length: -1"), 400, "malformed"),
    "two lengths": (post(b"", "Content-Length: 1", "Content-Length: 2"), 400, "malformed"),
    "a length and chunks": (
        post(b"0\r\n\r\n", "Content-Length: 5", "Transfer-Encoding: chunked"),
        400,
        "malformed",
    ),
    "a coding that nobody knows": (post(b"", "Transfer-Encoding: rot13"), 501, "unknown-coding"),
    "an expectation that nobody knows": (
        get("/api/health", "Expect: miracles"),
        417,
        "unknown-expectation",
    ),
    "a chunk of no size": (chunked(b"x\r\n{}\r\n0\r\n\r\n"), 400, "malformed"),
    "a chunk that is longer than it says": (chunked(b"1\r\n{}\r\n0\r\n\r\n"), 400, "malformed"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_web_server_refuses_is_told_in_problem_details(web: WebServer, what: str) -> None:
    request, status, slug = REFUSED[what]
    (answer,) = web.ask(request)
    problem = answer.problem()
    assert (answer.status, problem["type"]) == (status, f"urn:product-catalog:problem:{slug}")
    assert answer.headers["connection"] == "close"
    assert len(problem["detail"]) <= 200


def test_a_header_that_is_refused_is_not_logged(web: WebServer) -> None:
    web.ask(get("/api/health", "Author ization: Bearer hunter2"))
    eventually(lambda: "InvalidHeaderName" in web.host.printed(), 10, "nothing is logged")
    assert "hunter2" not in web.host.printed()


BORNE: dict[str, tuple[bytes, int]] = {
    "an absolute URI": (get("http://catalog/api/health"), 200),
    "an absolute URI of nothing": (get("http://catalog/none"), 404),
    "an asterisk": (get("*", method="OPTIONS"), 404),
    "an old version": (get("/api/health", version="1.0"), 200),
    "a path of escaped bytes": (get("/api/%FF%FE"), 404),
    "a method that the path has not": (get("/api/health", method="DELETE"), 405),
    "a method that nobody knows": (get("/api/health", method="BREW"), 405),
    "chunks that are no JSON": (chunked(b"1\r\n{\r\n0\r\n\r\n"), 400),
    "chunks that break a rule": (chunked(b"2\r\n{}\r\n0\r\n\r\n"), 422),
    "chunks with a trailer": (chunked(b"2\r\n{}\r\n0\r\nA: b\r\n\r\n"), 422),
    "a body of a GET": (get("/api/health", "Content-Length: 2") + b"{}", 200),
    "chunks that the route refuses": (
        get("/api/health", "Transfer-Encoding: chunked", method="PUT") + b"2\r\n{}\r\n0\r\n\r\n",
        405,
    ),
    "a body that ends too early": (post(b'{"name":', "Content-Length: 100"), 400),
}


@pytest.mark.parametrize("what", BORNE)
def test_what_is_unusual_is_answered_by_the_app(web: WebServer, what: str) -> None:
    request, status = BORNE[what]
    (answer,) = web.ask(request)
    assert answer.status == status
    assert answer.body == b'{"status":"ok"}' if status == 200 else answer.problem()


def test_a_client_that_waits_for_leave_to_send_its_body_gets_it(web: WebServer) -> None:
    length = f"Content-Length: {len(JSON_BODY)}"
    with web.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(post(b"", length, "Expect: 100-continue", "Connection: close"))
        assert stream.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert stream.readline() == b"\r\n"
        connection.sendall(b" " * len(JSON_BODY))
        (answer,) = replies(stream.read(), b"")
    assert (answer.status, answer.problem()["title"]) == (400, "The request cannot be read")


def test_too_large_headers_are_answered_with_the_limits(web: WebServer) -> None:
    (answer,) = web.ask(REFUSED["a long header"][0])
    assert answer.problem()["detail"] == "at most 100 headers of 8190 bytes each are read"


def test_an_answer_to_head_has_no_body_and_leaves_the_connection_usable(web: WebServer) -> None:
    head, got = get("/api/health", method="HEAD"), get("/api/health", "Connection: close")
    with web.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(head)
        lines = iter(stream.readline, b"\r\n")
        assert b"Content-Length: 15\r\n" in list(lines)
        connection.sendall(got)
        (answer,) = replies(stream.read(), got)
    assert (answer.status, answer.body) == (200, b'{"status":"ok"}')


def test_a_client_that_leaves_harms_nobody(web: WebServer) -> None:
    for request in (b"GET /api/hea", post(b"{", "Content-Length: 9"), get("/api/health")):
        with web.connect() as connection:
            connection.sendall(request)
    assert is_up(web)


@pytest.mark.parametrize("error", [KeyError("hunter2"), InvalidResponseHeader("hunter2")])
def test_an_error_of_ours_is_answered_and_tells_nothing(
    capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        Worker.handle_error(Worker.__new__(Worker), None, ours, None, error)
        (answer,) = replies(theirs.recv(4096), b"")
    assert answer.problem()["type"] == "urn:product-catalog:problem:internal"
    assert answer.status == 500
    assert b"hunter2" not in answer.body
    assert "hunter2" in capsys.readouterr().out


def test_a_client_that_has_left_before_a_refusal_is_no_error() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        Worker.handle_error(Worker.__new__(Worker), None, ours, None, KeyError("x"))
