"""What an operator runs against a deployment: the smoke test, and the way back."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from embedded.services import LOCAL_AWS, ROOT
from localstack.capabilities import lacks
from tests.aws.conftest import TOPICS, DeployedStack
from tools.deployment import RELEASED, Names

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = Names()


def run(aws: DeployedStack, module: str, *arguments: str) -> tuple[int, str]:
    """Run a tool with nothing but its credentials and addresses; its exit code and output."""
    environment = {
        "PATH": "/usr/bin:/bin",
        **LOCAL_AWS,
        "AWS_ENDPOINT_URL": aws.info["endpoint"],
        "CATALOG_API": aws.info["api"],
        "CATALOG_TOKEN": aws.info["token"],
        "CATALOG_JWT_SECRET": aws.info["jwtSecret"],
        "NATS_URL": aws.info["nats"],
    }
    done = subprocess.run(
        [sys.executable, "-m", f"tools.{module}", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


# ---- the smoke test ----


@pytest.fixture
def heard(aws: DeployedStack) -> Iterator[None]:
    """Somebody listens to the alarms: a queue, which needs to confirm nothing."""
    sns, sqs = aws.client("sns"), aws.client("sqs")
    queue = sqs.create_queue(QueueName="on-call")["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    for topic in TOPICS.values():
        made = sns.create_topic(Name=topic.rpartition(":")[2])["TopicArn"]
        assert made == topic
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=found["Attributes"]["QueueArn"])
    yield
    for topic in TOPICS.values():
        sns.delete_topic(TopicArn=topic)
    sqs.delete_queue(QueueUrl=queue)


@pytest.mark.usefixtures("heard")
def test_the_smoke_test_finds_the_deployment_as_it_must_be(aws: DeployedStack) -> None:
    arguments = ("--aws", "--poison", "--supply-chain-control", aws.info["supplyChain"], "--json")
    code, printed = run(aws, "verify_deployment", *arguments)
    told = json.loads(printed)
    missed = {step["step"]: step["result"] for step in told["steps"] if step["result"] != "ok"}
    expected = {"page": "not checked"}
    if lacks(aws.emulator, "gateway response templates"):
        expected["unknown route"] = "failed"
    assert missed == expected, printed
    assert code == (1 if "failed" in expected.values() else 0)


def test_without_anybody_who_hears_the_alarms_it_says_so(aws: DeployedStack) -> None:
    _, printed = run(aws, "verify_deployment", "--aws", "--seconds=1", "--json")
    (topics,) = (it for it in json.loads(printed)["steps"] if it["step"] == "topics")
    assert topics["result"] == "failed"


# ---- the way back ----


@pytest.fixture
def good(aws: DeployedStack) -> Iterator[dict[str, str]]:
    """The live versions before a bad release. Afterwards all is as Terraform knows it."""
    client = aws.client("lambda")
    names = [NAMES.function(role) for role in RELEASED]
    before = {name: client.get_function_configuration(FunctionName=name) for name in names}
    live = live_versions(client)
    bad = {name: aws.publish_version(name, Description="it; release bad") for name in names}
    yield live
    for name in names:
        client.update_alias(FunctionName=name, Name="live", FunctionVersion=live[name])
        client.delete_function(FunctionName=name, Qualifier=bad[name])
        description = before[name]["Description"]
        client.update_function_configuration(FunctionName=name, Description=description)


def live_versions(client: Any) -> dict[str, str]:  # noqa: ANN401 - boto3's
    names = [NAMES.function(role) for role in RELEASED]
    aliases = {name: client.get_alias(FunctionName=name, Name="live") for name in names}
    return {name: str(alias["FunctionVersion"]) for name, alias in aliases.items()}


def test_a_rollback_needs_no_more_than_credentials(
    aws: DeployedStack, good: dict[str, str]
) -> None:
    code, printed = run(aws, "rollback", "--yes")
    assert code == 0, printed
    assert live_versions(aws.client("lambda")) == good
    code, printed = run(aws, "rollback", "--list")
    newest, before, *_ = printed.splitlines()
    assert code == 0
    assert newest.startswith("bad ")
    assert before.endswith("live"), "the release that Terraform has named"
