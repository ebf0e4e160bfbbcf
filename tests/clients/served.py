"""The container host's web server, with the app on the fakes: python -m tests.clients.served 3

It serves on the listening socket with this file descriptor, which it inherits. It has one process
and one thread, since the fakes are in memory and know no locks.
"""

from __future__ import annotations

import sys
from unittest import mock

from functions.server import Server
from tests.unit.conftest import World


class _OneThread(Server):
    """As in production, but for the number of workers."""

    def load_config(self) -> None:
        super().load_config()
        self.cfg.set("workers", 1)
        self.cfg.set("threads", 1)
        self.cfg.set("bind", f"fd://{sys.argv[1]}")


if __name__ == "__main__":
    world = World()
    with mock.patch("app.container", return_value=world.parts):
        _OneThread("", 0).run()
