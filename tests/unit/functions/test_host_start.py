"""The container host before it serves, and what its web server is told."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from functions import run
from functions.server import Server

if TYPE_CHECKING:
    from chalicelib.bootstrap import Container
    from tests.unit.conftest import World


def test_an_idle_connection_outlives_the_patience_of_a_load_balancer() -> None:
    assert Server("127.0.0.1", 8000).cfg.keepalive > 60


@pytest.mark.parametrize("role", sorted(run.ROLES))
def test_a_host_that_is_stopped_during_its_start_ends_in_order(
    world: World, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    def container() -> Container:
        os.kill(os.getpid(), signal.SIGTERM)
        return world.parts

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(run, "stopping", threading.Event())
    monkeypatch.setattr(run, "container", container)
    monkeypatch.setattr(run, "load", lambda _: lambda *_: pytest.fail("works on"))
    monkeypatch.setattr("functions.server.serve", lambda *_: pytest.fail("serves"))
    monkeypatch.setattr(sys, "argv", ["run", role])
    # Instead of the end of the whole test run, if there is no handler yet.
    signal.signal(signal.SIGTERM, lambda *_: pytest.fail("no handler"))
    try:
        assert run.main() == 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
