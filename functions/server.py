"""The container host's web server: gunicorn around the Chalice app."""

from __future__ import annotations

import importlib
from typing import Any

from gunicorn.app.base import BaseApplication

from chalicelib.http.wsgi import Gateway


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    """Gunicorn, configured here rather than by a file or a command line."""

    def __init__(self, host: str, port: int) -> None:
        self._bind = f"{host}:{port}"
        super().__init__()

    def load_config(self) -> None:
        """Set what differs from gunicorn's defaults."""
        options: dict[str, Any] = {
            "bind": self._bind,
            "worker_class": "gthread",
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
