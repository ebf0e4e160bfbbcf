"""METRICS_PORT of the container host, as processes: the API has several, which answer as one."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from embedded.processes import free_port
from tests.processes.test_host import Host, finished
from tests.support import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKERS = 2
KINDS = ("counter", "gauge_mostrecent", "histogram")
"""Each has a file of each worker."""


class Api(NamedTuple):
    """An API that serves metrics; nobody is at the addresses of its store and its queue."""

    host: Host
    port: int
    metrics_port: int
    files: Path

    def ask(self, path: str = "/api/health", **headers: str) -> requests.Response:
        # A connection of its own each time: either worker may answer.
        return requests.get(f"http://127.0.0.1:{self.port}{path}", headers=headers, timeout=10)

    def metrics(self, path: str = "/metrics") -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.metrics_port}{path}", timeout=10)

    def requests(self) -> float:
        """How many requests for its health the API has counted."""
        families = text_string_to_metric_families(self.metrics().text)
        samples = [sample for family in families for sample in family.samples]
        wanted = {"operation": "getHealth", "status": "200"}
        return sum(s.value for s in samples if s.labels == wanted)

    def workers(self) -> set[int]:
        pid = self.host.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return {int(child) for child in children.split()}

    def kept(self) -> set[str]:
        return {path.name for path in self.files.iterdir()}

    def is_up(self) -> bool:
        try:
            return self.ask().ok
        except requests.ConnectionError:
            return False


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    port, metrics_port = free_port(), free_port()
    environment = {"PORT": str(port), "METRICS_PORT": str(metrics_port), "TMPDIR": str(tmp_path)}
    files = tmp_path / f"catalog-metrics-{metrics_port}"
    made = Api(Host(tmp_path, "api", **environment), port, metrics_port, files)
    try:
        eventually(made.is_up, 30, "the API does not answer")
        yield made
    finally:
        made.host.process.kill()
        made.host.process.wait()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
def test_whoever_of_the_workers_answers_counts_for_all_also_for_one_that_was_killed(
    api: Api,
) -> None:
    eventually(lambda: len(api.kept()) == len(KINDS) * WORKERS, message="a worker has not started")
    before = api.requests()
    for _ in range(20):
        api.ask()
    assert api.requests() == before + 20

    killed = min(api.workers())
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: len(api.workers() - {killed}) == WORKERS, message="no new worker")
    for _ in range(20):
        api.ask()
    assert api.requests() == before + 40
    # The new one goes on with the files of the old one, so that they do not become more and more.
    assert api.kept() == {f"{kind}_{n}.db" for kind in KINDS for n in range(WORKERS)}


def test_each_port_answers_for_itself_alone_and_the_files_go_with_the_api(api: Api) -> None:
    assert 'catalog_role{role="api"} 1.0' in api.metrics().text
    assert "catalog_http_requests_total" in api.metrics("/api/health").text
    assert api.ask("/metrics").status_code == 404
    assert api.ask("/metrics", Host=f"127.0.0.1:{api.metrics_port}").status_code == 404
    assert api.files.stat().st_mode & 0o777 == 0o700

    code, _ = api.host.end(signal.SIGTERM)
    assert code == 0, api.host.printed()
    assert not api.files.exists()


def test_a_role_whose_port_for_metrics_is_taken_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ended = finished("sync", METRICS_PORT=str(other.getsockname()[1]))
    assert ended.returncode == 2
    assert "METRICS_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr
