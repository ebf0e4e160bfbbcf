"""A fake supply chain over real sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from embedded.fake_supply_chain import SupplyChain
from tests.unit.fake_supply_chain.client import RELIABLE, Client, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def chain() -> SupplyChain:
    return SupplyChain(RELIABLE)


@pytest.fixture
def client(chain: SupplyChain) -> Iterator[Client]:
    with serving(chain) as caller:
        yield caller
