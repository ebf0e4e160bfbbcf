"""NATS in two regions: the second has a mirror of the stream, as docs/disaster.md says."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

import nats.errors

from embedded.processes import free_port, port_is_free
from embedded.servers import ServerProcesses
from embedded.services import ROOT, Service, tool
from tests.contract.services import Nats
from tests.support import code_block, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from nats.aio.client import Client

PAGE = ROOT / "docs" / "disaster.md"
PATIENCE = 60
"""Seconds, on a busy machine."""
Config = dict[str, Any]


class TwoRegions:
    """A server in each region, `first` and `second`; it is started by `start`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        first, leaves, second = (free_port() for _ in range(3))
        self._ports = {"first": first, "second": second}
        store = json.dumps(str(folder / "first"))
        texts = {
            "first": f"jetstream {{ store_dir: {store}, domain: first }}\n"
            f"leafnodes {{ listen: 127.0.0.1:{leaves} }}\n",
            "second": code_block(PAGE, "conf")
            .replace('"/data"', json.dumps(str(folder / "second")))
            .replace("leaf:PASSWORD@nats.first.example:7422", f"127.0.0.1:{leaves}"),
        }
        self._processes = ServerProcesses(folder)
        self._services = {name: self._service(folder, name, text) for name, text in texts.items()}

    def _service(self, folder: Path, name: str, text: str) -> Service:
        config, port = folder / f"{name}.conf", self._ports[name]
        config.write_text(f"server_name: {name}\nlisten: 127.0.0.1:{port}\n{text}")
        missing = lambda: "it does not listen" if port_is_free(port) else None  # noqa: E731
        return Service((tool("nats-server"), "-c", str(config)), dict(os.environ), missing)

    def url(self, region: str) -> str:
        """The address of its server."""
        return f"nats://127.0.0.1:{self._ports[region]}"

    def start(self) -> None:
        """Start what does not run."""
        self._processes.forget_the_dead()
        self._processes.start(self._services)

    def kill(self, region: str) -> None:
        """SIGKILL the server of a region."""
        self._processes.kill(region)

    def down(self) -> None:
        """Stop both."""
        self._processes.stop(self._services)

    # ---- the mirror ----

    def make_mirror(self) -> None:
        """Make it in the second region, of the stream that the first one has."""
        # If the first try of the mirror finds no link, the next one is up to 40 s later.
        self.wait_for_the_link()
        config = {**json.loads(code_block(PAGE, "json")), "num_replicas": 1}
        self._ask("second", "CREATE", config)

    def promote(self) -> None:
        """Make a stream of it, by an update without the mirror and with subjects."""
        config: Config = self._ask("second", "INFO")["config"]
        del config["mirror"]
        self._ask("second", "UPDATE", {**config, "subjects": ["product.*"]})

    def last(self, region: str) -> int:
        """The number of the last message there."""
        return int(self._ask(region, "INFO")["state"]["last_seq"])

    def wait_for_the_mirror(self) -> None:
        """Wait until it has what the stream has now."""
        wanted = self.last("first")
        eventually(lambda: self.last("second") >= wanted, PATIENCE, "all is mirrored")

    def wait_for_the_link(self) -> None:
        """Wait until the first region's stream answers in the second."""

        def is_linked() -> bool:
            with contextlib.suppress(nats.errors.Error):
                return self.last_over_the_link() >= 0
            return False

        eventually(is_linked, PATIENCE, "the regions are connected")

    def last_over_the_link(self) -> int:
        """The number of the last message in the first region, asked for from the second."""
        return int(self._ask("second", "INFO", api="$JS.first.API")["state"]["last_seq"])

    def _ask(
        self, region: str, what: str, content: Config | None = None, api: str = "$JS.API"
    ) -> Config:
        body = b"" if content is None else json.dumps(content).encode()

        async def ask(client: Client) -> Config:
            subject = f"{api}.STREAM.{what}.PRODUCTS"
            answer: Config = json.loads((await client.request(subject, body, timeout=5)).data)
            assert "error" not in answer, answer
            return answer

        return Nats(self.url(region)).ask(ask)
