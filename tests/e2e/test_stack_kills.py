"""The embedded stack is durable: what was acknowledged survives the kill of any process."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import nats
import pymongo
import pytest

from embedded.services import ROLES, SERVERS
from embedded.stack import StackInfo
from tests.support import RunningStack


async def publish(address: str) -> None:
    async with await nats.connect(address) as connection:
        stream = connection.jetstream()
        await stream.add_stream(name="STACK_TEST", subjects=["stack-test"])
        await stream.publish("stack-test", b"kept")


async def read_and_delete(address: str) -> bytes | None:
    async with await nats.connect(address) as connection:
        stream = connection.jetstream()
        message = await stream.get_last_msg("STACK_TEST", "stack-test")
        await stream.delete_stream("STACK_TEST")
        return message.data


@dataclass(frozen=True)
class Restart:
    """A stack whose process of this name was killed and started again."""

    stack: RunningStack
    name: str
    before: StackInfo
    after: StackInfo


@pytest.fixture(scope="module", params=[*ROLES, *SERVERS])
def restart(stack: RunningStack, request: pytest.FixtureRequest) -> Restart:
    """Kill each process once; the tests look at what has become of it."""
    name = str(request.param)
    before = stack.settings
    if name == "mongodb":
        with pymongo.MongoClient[dict[str, object]](before["mongodb"]) as client:
            client.stack_test.kept.insert_one({"_id": "written before the kill"})
    elif name == "nats":
        asyncio.run(publish(before["nats"]))
    elif name == "supplyChain":
        product = {"id": "stack-test", "name": "kept", "price": 1, "quantity": 1, "version": 0}
        stack.supply_chain.deliver(product)
    stack.kill(name)
    return Restart(stack, name, before, stack.up())


def only(*names: str) -> pytest.MarkDecorator:
    """Of these processes."""
    return pytest.mark.parametrize("restart", names, indirect=True, scope="module")


def test_up_starts_again_what_was_killed_and_nothing_else(restart: Restart) -> None:
    before, after = restart.before["processes"], restart.after["processes"]
    assert [it for it in before if before[it] != after[it]] == [restart.name]


@only(*SERVERS)
def test_a_killed_server_comes_back_at_the_same_address(restart: Restart) -> None:
    assert {**restart.after}[restart.name] == {**restart.before}[restart.name]


@only("mongodb")
def test_an_acknowledged_document_survives_the_kill_of_mongodb(restart: Restart) -> None:
    with pymongo.MongoClient[dict[str, object]](restart.after["mongodb"]) as client:
        assert client.stack_test.kept.find_one({"_id": "written before the kill"})
        client.drop_database("stack_test")


@only("nats")
def test_a_published_message_survives_the_kill_of_nats(restart: Restart) -> None:
    assert asyncio.run(read_and_delete(restart.after["nats"])) == b"kept"


@only("supplyChain")
def test_a_delivered_product_survives_the_kill_of_the_supply_chain(restart: Restart) -> None:
    assert restart.stack.supply_chain.products()["stack-test"]["name"] == "kept"


@only("sqs")
def test_the_killed_sqs_has_its_queues_again(restart: Restart) -> None:
    redrive = json.loads(attributes(restart.stack, "product-sync")["RedrivePolicy"])
    assert str(redrive["maxReceiveCount"]) == "200"


def attributes(stack: RunningStack, name: str) -> dict[str, str]:
    url = stack.sqs.get_queue_url(QueueName=name)["QueueUrl"]
    answer = stack.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    return {str(key): value for key, value in answer["Attributes"].items()}


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
