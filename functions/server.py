"""The container host's web server: gunicorn around the Chalice app."""

from __future__ import annotations

import importlib
import socket
from http import HTTPStatus
from typing import Any

from gunicorn import util
from gunicorn.app.base import BaseApplication
from gunicorn.config import LimitRequestFields, LimitRequestFieldSize
from gunicorn.http import errors
from gunicorn.workers.gthread import ThreadWorker

from chalicelib import telemetry
from chalicelib.domain.errors import CatalogError, MalformedRequestError
from chalicelib.http.problems import (
    ExpectationError,
    HeadersTooLargeError,
    UnknownCodingError,
    UriTooLongError,
    problem_response,
)
from chalicelib.http.responses import readable
from chalicelib.http.wsgi import Gateway

_REFUSALS: dict[type[Exception], type[CatalogError]] = {
    errors.LimitRequestLine: UriTooLongError,
    errors.LimitRequestHeaders: HeadersTooLargeError,
    errors.ExpectationFailed: ExpectationError,
    errors.UnsupportedTransferCoding: UnknownCodingError,
}
"""What gunicorn refuses by itself. Whatever else it cannot parse is malformed."""
_HEADERS = (
    f"at most {LimitRequestFields.default} headers "
    f"of {LimitRequestFieldSize.default} bytes each are read"
)
_OUR_FAULT = (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName)


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn ships no types
    """Answers what gunicorn refuses by itself as the app would: with problem details."""

    def handle_error(
        self, _request: object, client: socket.socket, _address: object, error: Exception
    ) -> None:
        """Answer a request that could not be read, or whose answer has failed."""
        refused = error
        if isinstance(error, errors.ParseException) and not isinstance(error, _OUR_FAULT):
            # A header may be large, and may hold a secret: not for the log.
            telemetry.log.info("refused", reason=type(error).__name__)
            reason = _HEADERS if isinstance(error, errors.LimitRequestHeaders) else str(error)
            refused = _REFUSALS.get(type(error), MalformedRequestError)(reason[:200])
        else:
            telemetry.log.error("unexpected error", exc_info=error)
        try:
            util.write_nonblock(client, last_answer(refused))
        except OSError:
            telemetry.log.debug("the client has left before its answer")


def last_answer(error: Exception) -> bytes:
    """Give an error's answer as it goes over the wire, after which the connection ends."""
    response = readable(problem_response(error))
    body: bytes = response.body.encode()
    headers = {**response.headers, "Content-Length": len(body), "Connection": "close"}
    status = HTTPStatus(response.status_code)
    head = [f"HTTP/1.1 {status.value} {status.phrase}"]
    head += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    """Gunicorn, configured here rather than by a file or a command line."""

    def __init__(self, host: str, port: int) -> None:
        self._bind = f"{host}:{port}"
        super().__init__()

    def load_config(self) -> None:
        """Set what differs from gunicorn's defaults."""
        options: dict[str, Any] = {
            "bind": self._bind,
            "worker_class": Worker,
            "workers": 2,
            "threads": 8,
            # Longer than a load balancer keeps an idle connection (60 s), or it would send a
            # request on one that is being closed here, and answer 502.
            "keepalive": 75,
            "graceful_timeout": 10,
            "loglevel": "warning",
            "proc_name": "product-catalog-api",
            # Not used, and its folder may be read-only.
            "control_socket_disable": True,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Gateway:
        """Load the app by its name, as Lambda does; once per worker, after the fork."""
        return Gateway(importlib.import_module("app").app)


def serve(host: str, port: int) -> None:
    """Serve until SIGTERM."""
    Server(host, port).run()
