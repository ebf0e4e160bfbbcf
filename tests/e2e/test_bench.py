"""`make bench` measures a stack that really runs."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import pytest

from embedded.delivery_cost import LOGS, Deliveries
from embedded.traffic import ROUND_TRIPS, CountedRoles
from tests.support import RunningStack

# The tests share a stack, and no two products have the same number.
firsts = itertools.count(step=1000)


@pytest.fixture
def deliveries(whole: RunningStack) -> Iterator[Deliveries]:
    logs = whole.run_dir / "logs"
    with contextlib.closing(Deliveries(whole.settings, logs, next(firsts))) as made:
        yield made


def test_the_catalog_and_the_baseline_are_measured_on_the_same_stack(
    deliveries: Deliveries,
) -> None:
    ours, base = deliveries.catalog(10, 50.0), deliveries.baseline(10, 50.0)
    assert len(ours.waits) == len(base.waits) == 10
    assert min(*ours.waits, *base.waits) > 0
    assert ours.used[LOGS] > 0
    assert set(base.used) == {"mongodb", "supplyChain", "clients"}


def test_what_the_roles_say_to_their_servers_is_counted(
    whole: RunningStack, deliveries: Deliveries
) -> None:
    with CountedRoles(whole.stack) as roles:
        deliveries.one_by_one(5)
        counts = roles.counts
        assert counts["sync", "supplyChain", ROUND_TRIPS] == 5
        assert counts["api", "mongodb", "insert statements"] == 5
        assert counts["api", "nats", ROUND_TRIPS] >= 5
        assert counts["bridge", "sqs", ROUND_TRIPS] >= 1
