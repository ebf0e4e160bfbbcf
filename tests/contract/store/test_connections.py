"""How many connections the adapter opens: MongoDB allows a cluster only so many."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from chalicelib.adapters.mongo.client import Pool, make_client
from tests.contract.conftest import new_store
from tests.contract.store.steps import inserted
from tests.contract.store.test_mongodb import a_worker, the_message_of

if TYPE_CHECKING:
    from embedded.services import Endpoints
    from tests.contract.services import Databases

MONITORS = 2
"""Connections of a client besides its pool, to each server; on Lambda one."""
pytestmark = pytest.mark.embedded("mongodb", "counts connections of a server that others use too")


def open_connections(databases: Databases) -> int:
    """How many the server has."""
    status = databases.client.admin.command("serverStatus")
    return int(status["connections"]["current"])


def test_under_load_a_client_opens_no_more_connections_than_its_pool_may_have(
    databases: Databases, servers: Endpoints
) -> None:
    before = open_connections(databases)
    with (
        make_client(servers.mongodb, 3, 10, Pool(4, 300)) as client,
        ThreadPoolExecutor(20) as threads,
    ):
        list(threads.map(lambda _: client.admin.command("ping"), range(200)))

        assert 4 <= open_connections(databases) - before <= 4 + MONITORS


def test_a_batch_of_ten_deliveries_needs_few_connections(
    databases: Databases, servers: Endpoints
) -> None:
    with databases.names.one() as name:
        new_store(databases.client, name)
        before = open_connections(databases)
        with make_client(servers.mongodb, 3, 10, Pool(100, 300)) as client:
            store = new_store(client, name)
            messages = [the_message_of(inserted(store)) for _ in range(10)]

            assert a_worker(store).handle(messages) == []

            # The results of the calls are written together, so there are not ten writers.
            assert open_connections(databases) - before <= 3 + MONITORS


def test_the_settings_win_over_what_the_address_says() -> None:
    address = "mongodb://127.0.0.1:1/?maxPoolSize=50&maxIdleTimeMS=1000"
    with make_client(address, 0.1, 10, Pool(4, 300)) as client:
        pool = client.options.pool_options

    assert (pool.max_pool_size, pool.max_idle_time_seconds) == (4, 300)
    assert pool.wait_queue_timeout == 10
