"""Everything at once."""

from __future__ import annotations

import pytest

from chalicelib.domain.sync_state import SyncStatus
from tests.unit.sync.simulation import Simulation


@pytest.mark.parametrize("seed", range(100))
def test_whatever_happens_the_supply_chain_ends_up_with_the_newest_versions(seed: int) -> None:
    simulation = Simulation(seed)
    for _ in range(400):
        simulation.step()

    simulation.heal()

    assert simulation.watched.broken_promises == []
    alive = {p.id: p for p in simulation.store.products.values()}
    assert {p.sync.status for p in alive.values()} <= {SyncStatus.DELIVERED}
    held = {p.id: p for p in simulation.watched.held.values() if p.deleted_at is None}
    assert {i: p.version for i, p in held.items()} == {i: p.version for i, p in alive.items()}
    assert {i: p.fields for i, p in held.items()} == {i: p.fields for i, p in alive.items()}
    assert (simulation.queue.messages, simulation.queue.dead) == ([], [])
    assert simulation.store.summary().outbox_backlog == 0
