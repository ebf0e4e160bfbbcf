"""One emulator and one `terraform apply` for all tests of a session."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from embedded.services import ROOT, aws_client, store_name, without_settings
from embedded.stack import StackInfo
from localstack.capabilities import lacks
from localstack.emulators import emulator_name
from localstack.stack import AwsInfo, AwsStack
from tests.support import (
    Api,
    Json,
    RunningStack,
    SupplyChainControl,
    eventually,
    exact_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

ORIGIN = "https://shop.example"
# A burst that no other test uses up; a refill far slower than an emulator answers under load.
THROTTLE = {"rate": 1, "burst": 10}
TOPICS = {name: f"arn:aws:sns:us-east-1:000000000000:{name}" for name in ("pages", "tickets")}
OVERRIDES: dict[str, object] = {
    "page_topic_arn": TOPICS["pages"],
    "ticket_topic_arn": TOPICS["tickets"],
    "cors_origin": ORIGIN,
    "throttle": THROTTLE,
    # 72 hours in one minute: waits of 0.5 s, 1 s, 2 s, then 4 s.
    "sync": {
        "horizon_seconds": 60,
        "max_wait_seconds": 4,
        "reconcile_grace_seconds": 75,
        "batch_window_seconds": 0,
        "visibility_seconds": 180,
    },
}


class DeployedStack(RunningStack):
    """What has been deployed, with the clients of an embedded stack that runs."""

    def __init__(self, stack: AwsStack, printed: str) -> None:
        self.aws, self.printed = stack, printed
        self.emulator = emulator_name(stack.environ)
        info: AwsInfo = json.loads((stack.run_dir / "stack.json").read_text())
        self.info = info
        self.settings = StackInfo(
            api=info["api"],
            token=info["token"],
            jwtSecret=info["jwtSecret"],
            supplyChain=info["supplyChain"],
            mongodb=info["mongodb"],
            store=store_name(stack.environ),
            nats=info["nats"],
            natsPrefix="",
            sqs=info["endpoint"],
            queueUrl=info["queueUrl"],
            bulkQueueUrl=info["bulkQueueUrl"],
            dlqUrl=info["dlqUrl"],
            processes=info["processes"],
        )
        self.api = Api(info["api"], info["token"])
        self.supply_chain = SupplyChainControl(info["supplyChain"])
        self.sqs = self.client("sqs")

    def client(self, service: str, **config: object) -> Any:  # noqa: ANN401 - boto3 makes them at run time
        """A client of the emulator, as the account's root; `config` is botocore's."""
        once = {"total_max_attempts": 1}
        return aws_client(service, self.info["endpoint"], retries=once, **config)

    def get(self, path: str) -> Json:
        """The JSON that the API answers to a GET, when the throttle lets it through."""

        def answered() -> list[requests.Response]:
            answer = self.api.get(path)
            return [] if answer.status_code == 429 else [answer]

        (answer,) = eventually(answered, 30, f"GET {path} is not throttled")
        assert answer.status_code == 200, answer.text
        found: Json = exact_json(answer)
        return found

    def run(self, function: str) -> None:
        """Run a function now rather than when its schedule next does."""
        name = self.info["functions"][function]["name"]
        # The first run of a process imports everything.
        client = self.client("lambda", read_timeout=60)
        answer = client.invoke(FunctionName=name, Qualifier="live")
        assert "FunctionError" not in answer, answer["Payload"].read()

    def publish_version(self, name: str, **configuration: object) -> str:
        """Make a version of a function that differs in this, and make it live."""
        client = self.client("lambda")
        client.update_function_configuration(FunctionName=name, **configuration)

        def is_settled() -> bool:
            found: Json = client.get_function_configuration(FunctionName=name)
            return bool(found.get("LastUpdateStatus", "Successful") == "Successful")

        eventually(is_settled, 30, f"{name} is as it shall be")
        version = str(client.publish_version(FunctionName=name)["Version"])
        client.update_alias(FunctionName=name, Name="live", FunctionVersion=version)
        return version

    def logged(self, function: str) -> list[str]:
        """Every line in the log of a function, given by its short name."""
        group = f"/aws/lambda/{self.info['functions'][function]['name']}"
        pages = self.client("logs").get_paginator("filter_log_events")
        found = pages.paginate(logGroupName=group)
        return [event["message"] for page in found for event in page["events"]]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of what the emulator lacks: `@pytest.mark.needs(capability)`."""
    emulator = emulator_name(os.environ)
    left_out = [
        item
        for item in items
        if any(lacks(emulator, mark.args[0]) for mark in item.iter_markers("needs"))
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
    for item in items:
        # The first one applies everything, which takes minutes where other work is going on.
        item.add_marker(pytest.mark.timeout(900))


@dataclass
class Doomed:
    """A product whose every call fails from the start."""

    id: str


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedStack]:
    """The whole system as a developer gets it, by `make aws-up`; applied with IAM enforced."""
    folder = tmp_path_factory.mktemp("aws")
    variables = folder / "tests.tfvars.json"
    variables.write_text(json.dumps(OVERRIDES))
    # Nothing of the make that runs these tests, nor of a stack of the developer's own.
    foreign = ("EMULATOR_URL", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    environ = {n: text for n, text in without_settings(os.environ).items() if n not in foreign}
    environ |= {"AWS_RUN_DIR": str(folder / "run"), "AWS_VAR_FILE": str(variables)}
    stack = AwsStack(folder / "run", environ)
    with contextlib.ExitStack() as ending:
        # Whatever happens, nothing is left running.
        ending.callback(stack.down)
        yield DeployedStack(stack, make(stack, "aws-up"))


def make(stack: AwsStack, target: str) -> str:
    """Type `make target` for this stack; what it prints."""
    done = subprocess.run(
        ["make", target],  # noqa: S607 - the developer's own make
        cwd=ROOT,
        env=stack.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"make {target}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session", autouse=True)
def doomed(aws: DeployedStack) -> Doomed:
    """A product that cannot be delivered, begun first: its budget takes a minute to use up."""
    product = aws.create(name="Doomed", sku="doomed")
    aws.supply_chain.set(failIds=[product["id"]])
    # At once, rather than when the bridge runs for the first time.
    assert aws.api.post(f"/products/{product['id']}/sync").status_code == 202
    return Doomed(product["id"])
