"""A fake supply chain over real sockets."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from embedded.fake_supply_chain import Server, SupplyChain
from tests.unit.fake_supply_chain.client import RELIABLE, Client

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def chain() -> SupplyChain:
    return SupplyChain(RELIABLE)


@pytest.fixture
def client(chain: SupplyChain) -> Iterator[Client]:
    with Server("127.0.0.1", 0, chain) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield Client(server.url)
        server.shutdown()
