"""Three servers that are a cluster, and one of them dies."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from embedded.processes import free_port, port_is_free
from embedded.servers import ServerProcesses
from embedded.services import Service, tool
from tests.contract.services import Nats
from tests.contract.stream.steps import an_event, event_ids, works
from tests.support import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nats.aio.client import Client

    from tests.contract.services import Streams

pytestmark = pytest.mark.embedded("nats", "a cluster of three servers, which a test kills")
PATIENCE = 60
"""Seconds for an election, on a busy machine."""


class Cluster:
    """Three servers, by their names."""

    def __init__(self, folder: Path) -> None:
        ports = [free_port() for _ in range(6)]
        self.ports = dict(zip(("one", "two", "three"), ports[:3], strict=True))
        routes = [f"nats://127.0.0.1:{port}" for port in ports[3:]]
        self._processes = ServerProcesses(folder)
        self._services = {
            name: self._service(folder, name, self.ports[name], port, routes)
            for name, port in zip(self.ports, ports[3:], strict=True)
        }

    @staticmethod
    def _service(folder: Path, name: str, port: int, route: int, routes: list[str]) -> Service:
        config = folder / f"{name}.conf"
        config.write_text(
            f"server_name: {name}\nlisten: 127.0.0.1:{port}\n"
            f"jetstream {{ store_dir: {json.dumps(str(folder / name))} }}\n"
            f"cluster {{ name: c, listen: 127.0.0.1:{route}, routes: {json.dumps(routes)} }}\n"
        )
        command = (tool("nats-server"), "-c", str(config))
        missing = lambda: "it does not listen" if port_is_free(port) else None  # noqa: E731
        return Service(command, dict(os.environ), missing)

    def urls(self, first: str = "one") -> str:
        """The addresses of all of them."""
        names = sorted(self.ports, key=lambda name: name != first)
        return ",".join(f"nats://127.0.0.1:{self.ports[name]}" for name in names)

    def start(self) -> None:
        self._processes.start(self._services)

    def kill(self, name: str) -> None:
        self._processes.kill(name)

    def stop(self) -> None:
        self._processes.stop(self._services)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def test_when_the_leader_of_a_cluster_dies_no_event_is_lost_and_the_catalog_goes_on(
    cluster: Cluster, open_stream: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chalicelib.adapters.jetstream.random.randrange", lambda _: 0)
    events = [an_event() for _ in range(20)]
    making = open_stream(cluster.urls(), replicas=3)
    eventually(lambda: works(lambda: making.publish(events[:10])), timeout=PATIENCE)
    replicas, leader = leader_of(cluster, open_stream.name)
    stream = open_stream(cluster.urls(first=leader), replicas=3)
    stream.publish(events[10:])
    assert replicas == 3

    cluster.kill(leader)

    after = an_event()
    eventually(lambda: works(lambda: stream.publish([after])), timeout=PATIENCE)
    found: set[str] = set()

    def everything_came() -> bool:
        found.update(event_ids(works(lambda: list(stream.pull(100, 1.0)))))
        return found == {event.id for event in [*events, after]}

    eventually(everything_came, timeout=PATIENCE)


def leader_of(cluster: Cluster, stream: str) -> tuple[int, str]:
    """How many replicas the stream has, and the name of the server that leads them."""

    async def look(client: Client) -> tuple[int, str]:
        info = await client.jetstream().stream_info(stream)
        assert info.cluster
        return info.config.num_replicas or 0, info.cluster.leader or ""

    return Nats(cluster.urls().split(",")[0]).ask(look)
