"""The file that the fake supply chain keeps its state in."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
import simplejson

from embedded.fake_supply_chain import Settings, SupplyChain
from tests.unit.fake_supply_chain.client import RELIABLE, serving

if TYPE_CHECKING:
    from pathlib import Path


def post_body(product_id: str, version: int) -> dict[str, object]:
    return {"id": product_id, "name": "Lamp", "version": version, "price": Decimal("0.10")}


def test_products_and_settings_are_reloaded(tmp_path: Path) -> None:
    state = tmp_path / "deeper" / "state.jsonl"
    with serving(SupplyChain(RELIABLE, state)) as first:
        first.post(id="p1", version=1, price=Decimal("0.10"))
        first.post(id="p2", version=1)
        first.delete("/supply-chain/p2")
        first.control(latencySeconds=0.01, down=True, callsPerSecond=7)
    again = SupplyChain(Settings(failure_rate=1), state)
    assert [(item["id"], str(item["price"])) for item in again.products()] == [("p1", "0.10")]
    kept = Settings(failure_rate=0, latency_seconds=0.01, down=True, calls_per_second=7)
    assert again.settings == kept


def test_a_reset_is_reloaded_too(tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    with serving(SupplyChain(RELIABLE, state)) as first:
        first.post(version=1)
        first.delete("/_control/products")
    assert SupplyChain(RELIABLE, state).products() == []


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    whole = simplejson.dumps({"stored": post_body("p1", 1)}, use_decimal=True)
    state.write_text(f'{whole}\n{{"stored": {{"id": "p')
    with serving(SupplyChain(RELIABLE, state)) as client:
        client.post(id="p2", version=1)
    assert [item["id"] for item in SupplyChain(RELIABLE, state).products()] == ["p1", "p2"]


def test_a_damaged_line_before_the_last_one_is_named(tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    state.write_text('{"reset": true}\n{"stor\n{"reset": true}\n')
    with pytest.raises(ValueError, match=r"state\.jsonl:2: damaged"):
        SupplyChain(RELIABLE, state)
