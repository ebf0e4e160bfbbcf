"""The adapter alone: what it asks of MongoDB, and documents of earlier releases."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from pymongo import MongoClient
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

from chalicelib.adapters.mongo.documents import Document
from chalicelib.adapters.mongo.store import MongoStore
from tests.contract.store.steps import a_claim, change, inserted, stored

if TYPE_CHECKING:
    from embedded.services import Endpoints


WRITES = {"insert", "update", "delete"}


class Commands(CommandListener):
    """Keeps what is sent to the server."""

    def __init__(self) -> None:
        self.sent: list[CommandStartedEvent] = []

    def started(self, event: CommandStartedEvent) -> None:
        self.sent.append(event)

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


def test_each_write_waits_for_the_disks_of_most_nodes(servers: Endpoints) -> None:
    commands = Commands()
    with MongoClient[Document](servers.mongodb, event_listeners=[commands]) as client:
        store = MongoStore(lambda: client, f"test-{uuid.uuid4().hex}")
        product = inserted(store)
        change(store, product)
        store.remove_events(product.outbox)
        client.drop_database(store._database)

    writes = [event.command for event in commands.sent if event.command_name in WRITES]
    assert len(writes) == 3
    for write in writes:
        assert dict(write["writeConcern"]) == {"w": "majority", "j": True}


def test_a_document_of_before_a_field_was_added_can_be_read(servers: Endpoints) -> None:
    with MongoClient[Document](servers.mongodb) as client:
        store = MongoStore(lambda: client, f"test-{uuid.uuid4().hex}")
        product = inserted(store)
        added = {"sync.restartedAt": "", "sync.failedAt": ""}
        client[store._database]["products"].update_many({}, {"$unset": added})

        found = stored(store, product)

        assert found.sync == replace(product.sync, restarted_at=None, failed_at=None)
        assert store.claim([a_claim(found)]) == {product.id}
        client.drop_database(store._database)
