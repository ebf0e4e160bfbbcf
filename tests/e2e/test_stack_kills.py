"""The embedded stack is durable: what was acknowledged survives the kill of any process."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import nats
import pymongo
import pytest

from embedded.services import ROLES, SERVERS
from tests.support import RunningStack

if TYPE_CHECKING:
    pass


@pytest.mark.parametrize("name", [*ROLES, *SERVERS])
def test_up_starts_again_what_was_killed_and_nothing_else(whole: RunningStack, name: str) -> None:
    before = whole.settings["processes"]
    whole.kill(name)
    after = whole.up()["processes"]
    assert [it for it in before if before[it] != after[it]] == [name]


@pytest.mark.parametrize("name", SERVERS)
def test_a_killed_server_comes_back_at_the_same_address(whole: RunningStack, name: str) -> None:
    before = whole.settings
    whole.kill(name)
    assert {**whole.up()}[name] == {**before}[name]


def test_an_acknowledged_document_survives_the_kill_of_mongodb(whole: RunningStack) -> None:
    with pymongo.MongoClient[dict[str, object]](whole.settings["mongodb"]) as client:
        client.stack_test.kept.insert_one({"_id": "written before the kill"})
    whole.kill("mongodb")
    whole.up()
    with pymongo.MongoClient[dict[str, object]](whole.settings["mongodb"]) as client:
        assert client.stack_test.kept.find_one({"_id": "written before the kill"})
        client.drop_database("stack_test")


def test_a_published_message_survives_the_kill_of_nats(whole: RunningStack) -> None:
    async def publish() -> None:
        async with await nats.connect(whole.settings["nats"]) as connection:
            stream = connection.jetstream()
            await stream.add_stream(name="STACK_TEST", subjects=["stack-test"])
            await stream.publish("stack-test", b"kept")

    async def read_and_delete() -> bytes | None:
        async with await nats.connect(whole.settings["nats"]) as connection:
            stream = connection.jetstream()
            message = await stream.get_last_msg("STACK_TEST", "stack-test")
            await stream.delete_stream("STACK_TEST")
            return message.data

    asyncio.run(publish())
    whole.kill("nats")
    whole.up()
    assert asyncio.run(read_and_delete()) == b"kept"


def test_a_delivered_product_survives_the_kill_of_the_supply_chain(whole: RunningStack) -> None:
    product = {"id": "stack-test", "name": "kept", "price": 1, "quantity": 1, "version": 0}
    whole.supply_chain.deliver(product)
    whole.kill("supplyChain")
    whole.up()
    assert whole.supply_chain.products()["stack-test"]["name"] == "kept"


def attributes(stack: RunningStack, name: str) -> dict[str, str]:
    url = stack.sqs.get_queue_url(QueueName=name)["QueueUrl"]
    answer = stack.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    return {str(key): value for key, value in answer["Attributes"].items()}


def test_the_killed_sqs_has_its_queues_again(whole: RunningStack) -> None:
    whole.kill("sqs")
    whole.up()
    redrive = json.loads(attributes(whole, "product-sync")["RedrivePolicy"])
    assert str(redrive["maxReceiveCount"]) == "200"


def test_a_killed_sync_process_gets_its_messages_back_after_30_seconds(stack: RunningStack) -> None:
    assert attributes(stack, "product-sync")["VisibilityTimeout"] == "30"


@pytest.mark.parametrize("name", ["product-sync", "product-sync-dlq"])
def test_both_queues_keep_messages_for_14_days(stack: RunningStack, name: str) -> None:
    assert attributes(stack, name)["MessageRetentionPeriod"] == "1209600"


def test_a_message_survives_the_orderly_end_of_sqs(whole: RunningStack) -> None:
    client = whole.sqs
    queue = client.create_queue(QueueName="stack-test")["QueueUrl"]
    client.send_message(QueueUrl=queue, MessageBody="kept")
    whole.stop("sqs")
    whole.up()
    messages = client.receive_message(QueueUrl=queue, WaitTimeSeconds=2)["Messages"]
    client.delete_queue(QueueUrl=queue)
    assert [message["Body"] for message in messages] == ["kept"]
