"""The container host's web server: gunicorn around the Chalice app."""

from __future__ import annotations

import importlib
import itertools
import shutil
import socket
import tempfile
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

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

    slot = 0
    """Of a worker: no two that run at a time have the same."""

    def __init__(self, host: str, port: int, metrics_port: int | None = None) -> None:
        self._host = host
        self._port = port
        self._metrics_port = metrics_port
        # Its name is fixed, so that a process that was killed leaves no more than one.
        self._folder = Path(tempfile.gettempdir()) / f"catalog-metrics-{metrics_port}"
        super().__init__()

    def load_config(self) -> None:
        """Set what differs from gunicorn's defaults."""
        options: dict[str, Any] = {
            "bind": f"{self._host}:{self._port}",
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
        if self._metrics_port is not None:
            options |= self._with_metrics(self._metrics_port)
        for name, value in options.items():
            self.cfg.set(name, value)

    def _with_metrics(self, port: int) -> dict[str, Any]:
        """Let the workers share their metrics, and each of them answer for all on this port."""
        return {
            "bind": [f"{self._host}:{self._port}", f"{self._host}:{port}"],
            # Where prometheus_client keeps the values; it looks when it is imported.
            "raw_env": [f"PROMETHEUS_MULTIPROC_DIR={self._folder}"],
            # Only now are the ports ours, and so the folder. The workers start afterwards.
            "when_ready": lambda _: self._make_folder(),
            "pre_fork": _take_slot,
            "on_exit": lambda _: shutil.rmtree(self._folder),
        }

    def _make_folder(self) -> None:
        if self._folder.exists():
            shutil.rmtree(self._folder)
        self._folder.mkdir(mode=0o700)

    def load(self) -> WSGIApplication:
        """Load the app by its name, as Lambda does; once per worker, after the fork."""
        gateway = Gateway(importlib.import_module("app").app)
        if self._metrics_port is None:
            return gateway
        from functions.exporter import measured  # noqa: PLC0415 - see raw_env

        return measured(gateway, self._folder, self._metrics_port, self.slot)


def _take_slot(arbiter: Any, worker: Any) -> None:  # noqa: ANN401 - gunicorn ships no types
    """Give a worker the slot of one that has ended, whose metrics it goes on with."""
    taken = {each.slot for each in arbiter.WORKERS.values()}
    # The worker inherits the app by the fork; the arbiter keeps the slot with the worker.
    arbiter.app.slot = worker.slot = next(n for n in itertools.count() if n not in taken)


def serve(host: str, port: int, metrics_port: int | None) -> None:
    """Serve until SIGTERM."""
    Server(host, port, metrics_port).run()
