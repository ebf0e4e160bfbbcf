"""The embedded stack keeps its promises: idempotent, durable, no process left behind."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import nats
import pymongo
import pytest

from embedded import processes
from embedded.services import ROLES, ROOT, SERVERS
from embedded.stack import Stack
from tests.support import RunningStack, eventually, stack_environment, stopped_for_sure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def whole(stack: RunningStack) -> Iterator[RunningStack]:
    """The shared stack, complete again after a test that broke a part of it."""
    yield stack
    stack.up()


def group_is_gone(leader: int) -> bool:
    """Tell whether no process of a group is left, workers included."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return True
    return False


def run_up(environ: dict[str, str], run_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "embedded.stack", "up"],
        cwd=ROOT,
        env={**environ, "RUN_DIR": str(run_dir)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_up_starts_every_process(stack: RunningStack) -> None:
    assert set(stack.settings["processes"]) == {*ROLES, *SERVERS}


def test_stack_json_is_what_up_returned(stack: RunningStack) -> None:
    assert json.loads((stack.run_dir / "stack.json").read_text()) == stack.settings


def test_up_again_starts_nothing_twice(whole: RunningStack) -> None:
    before = whole.settings["processes"]
    assert whole.up()["processes"] == before


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


def test_a_changed_setting_restarts_only_the_roles(whole: RunningStack) -> None:
    before = whole.settings["processes"]
    after = whole.up(LOG_LEVEL="WARNING")["processes"]
    assert {name for name in before if before[name] != after[name]} == set(ROLES)


def test_a_given_failure_rate_reaches_the_running_supply_chain(whole: RunningStack) -> None:
    whole.up(SUPPLY_CHAIN_FAILURE_RATE="0.25")
    found = float(whole.supply_chain.settings()["failureRate"])
    whole.supply_chain.set(failureRate=0)
    assert found == 0.25


def test_a_failure_rate_set_by_a_test_outlives_up(whole: RunningStack) -> None:
    whole.supply_chain.set(failureRate=0.5)
    whole.kill("supplyChain")
    whole.up()
    found = float(whole.supply_chain.settings()["failureRate"])
    whole.supply_chain.set(failureRate=0)
    assert found == 0.5


def test_a_server_given_by_the_environment_is_not_started(whole: RunningStack) -> None:
    info = whole.up(SUPPLY_CHAIN_URL="http://127.0.0.1:9")
    assert "supplyChain" not in info["processes"]
    assert info["supplyChain"] == "http://127.0.0.1:9"


def test_a_taken_api_port_is_a_clear_error_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        answer = run_up(stack_environment(os.environ, {"PORT": port}), tmp_path / "run")
    assert answer.returncode == 1
    assert answer.stderr.startswith(f"error: port {port} is taken by another program: PORT=")
    assert answer.stderr.count("\n") == 1


def test_a_wrong_setting_is_an_error_that_names_it_before_anything_starts(tmp_path: Path) -> None:
    wrong = stack_environment(os.environ, {"SYNC_CONCURRENCY": "many"})
    answer = run_up(wrong, tmp_path)
    assert answer.returncode == 1
    assert answer.stderr.startswith("error: SYNC_CONCURRENCY: ")
    assert Stack(tmp_path, {}).status() == {}


def test_a_remembered_port_that_was_taken_meanwhile_is_replaced(whole: RunningStack) -> None:
    port = urlsplit(whole.settings["supplyChain"]).port
    assert port is not None
    whole.stop("supplyChain")
    eventually(lambda: processes.port_is_free(port), 5, "the port is not free")
    with socket.create_server(("127.0.0.1", port)):
        assert urlsplit(whole.up()["supplyChain"]).port != port


def test_down_leaves_no_process_even_after_a_kill(tmp_path: Path) -> None:
    own = Stack(tmp_path / "run", stack_environment(os.environ, {}))
    with stopped_for_sure(own):
        started = own.up()["processes"]
        # Its workers outlive it.
        own.kill("api")
        own.down()
        eventually(lambda: all(map(group_is_gone, started.values())), 5, "processes are left")
    assert not (own.run_dir / "stack.json").exists()


def test_two_ups_at_once_start_one_stack(tmp_path: Path) -> None:
    environ = {**stack_environment(os.environ, {}), "RUN_DIR": str(tmp_path / "run")}
    command = [sys.executable, "-m", "embedded.stack", "up"]
    with stopped_for_sure(Stack(tmp_path / "run", environ)):
        both = [subprocess.Popen(command, cwd=ROOT, env=environ) for _ in range(2)]
        assert [process.wait(120) for process in both] == [0, 0]
        log = (tmp_path / "run" / "logs" / "supplyChain.log").read_text()
    assert log.count("supply chain at") == 1
