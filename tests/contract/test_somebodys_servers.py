"""The suite on servers that hold somebody's data: `make test-contract`."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.adapters.jetstream import JetStream
from embedded.services import LOCAL_AWS, ROOT, without_settings
from tests.contract.stream.steps import an_event

if TYPE_CHECKING:
    from nats.aio.client import Client

    from embedded.services import Endpoints
    from tests.contract.services import Databases, Nats, Queues

pytestmark = [
    pytest.mark.embedded(server, "a server with data that the test has made")
    for server in ("mongodb", "nats", "sqs")
]
FILES = ("store/test_mongodb.py", "stream/test_jetstream.py", "queue/test_enqueue.py")
ONE_OF_EACH = "each_write_waits or consumer_that_was_deleted or what_is_received_says"


@dataclass
class Somebody:
    """The data of somebody who uses the product's own names, and the rest of what is there."""

    databases: Databases
    nats: Nats
    queues: Queues

    def make_data(self, queue_url: str) -> None:
        self.databases.client["catalog"]["products"].insert_one({"name": "somebody's"})
        stream = JetStream(self.nats.url)
        stream.publish([an_event()])
        stream.close()
        self.queues.create(queue_url.rsplit("/", 1)[1], {})
        self.queues.client.send_message(QueueUrl=queue_url, MessageBody="somebody's")

    def remove_data(self, queue_url: str) -> None:
        self.databases.client.drop_database("catalog")
        self.nats.remove_stream("PRODUCTS")
        self.queues.remove(queue_url.rsplit("/", 1)[1])

    def all_there_is(self) -> dict[str, Any]:
        """Every database, stream and queue, with the number of what is in it."""
        mongodb, sqs = self.databases.client, self.queues.client
        urls = sqs.list_queues().get("QueueUrls", [])
        counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        return {
            "mongodb": {
                name: mongodb[name]["products"].count_documents({})
                for name in mongodb.list_database_names()
            },
            "nats": self.nats.ask(_streams),
            "sqs": {
                url: sqs.get_queue_attributes(QueueUrl=url, AttributeNames=counts)["Attributes"]  # type: ignore[arg-type]  # the names of two attributes
                for url in urls
            },
        }


async def _streams(client: Client) -> dict[str | None, int]:
    streams = await client.jetstream().streams_info()
    return {stream.config.name: stream.state.messages for stream in streams}


def run_a_part(servers: Endpoints) -> subprocess.CompletedProcess[str]:
    """Run a test of each port on these servers."""
    environment = without_settings(os.environ) | LOCAL_AWS
    environment |= {"MONGODB_URI": servers.mongodb, "NATS_URL": servers.nats}
    environment |= {"SYNC_QUEUE_URL": servers.queue, "AWS_ENDPOINT_URL_SQS": servers.sqs}
    command = [sys.executable, "-m", "pytest", "--servers-of-environment", "-k", ONE_OF_EACH]
    command += [f"tests/contract/{file}" for file in FILES]
    return subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_a_run_leaves_somebodys_servers_as_they_were(
    servers: Endpoints, databases: Databases, nats_server: Nats, queues: Queues
) -> None:
    somebody = Somebody(databases, nats_server, queues)
    somebody.make_data(servers.queue)
    try:
        before = somebody.all_there_is()

        done = run_a_part(servers)

        assert done.returncode == 0, done.stdout
        assert "tests of the embedded servers not run" in done.stdout
        assert somebody.all_there_is() == before
    finally:
        somebody.remove_data(servers.queue)
