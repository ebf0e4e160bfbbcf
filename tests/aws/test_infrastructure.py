"""What Terraform has made: it stays as it is, keeps its secrets, and lets nobody do more."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from typing import Any

import pytest

from localstack.capabilities import KNOWN_DRIFT
from localstack.stack import AwsStack
from tests.aws.conftest import OVERRIDES, DeployedStack
from tests.aws.test_access import OPEN, routes
from tests.support import eventually

RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
Calls = dict[str, tuple[str, str, dict[str, Any]]]


def drift(stack: AwsStack) -> dict[str, set[str]]:
    """What another apply would change: attributes by resource, its instances together."""
    changes: dict[str, set[str]] = {}
    for address, names in stack.terraform().plan().items():
        changes.setdefault(address.partition("[")[0], set()).update(names)
    return changes


def overridden(aws: DeployedStack, **variables: object) -> AwsStack:
    path = aws.aws.run_dir / "overridden.tfvars.json"
    path.write_text(json.dumps({**OVERRIDES, **variables}))
    return AwsStack(aws.aws.run_dir, {**aws.aws.environ, "AWS_VAR_FILE": str(path)})


def test_a_second_plan_shows_no_drift_but_the_emulators_known_gaps(aws: DeployedStack) -> None:
    assert drift(aws.aws) == KNOWN_DRIFT[aws.emulator]


def test_a_rollback_moves_one_alias_and_nothing_else(aws: DeployedStack) -> None:
    changes = drift(overridden(aws, pinned_versions={"sync": "7"}))
    moved = {
        address: names
        for address, names in changes.items()
        if address not in KNOWN_DRIFT[aws.emulator]
    }
    assert moved == {"module.sync.aws_lambda_alias.live": {"function_version"}}


def test_no_secret_is_in_the_state_the_plan_or_a_functions_settings(aws: DeployedStack) -> None:
    secret = aws.aws.secret()
    stored = aws.client("secretsmanager").get_secret_value(SecretId=aws.info["secretArn"])
    content = json.loads(stored["SecretString"])
    assert content["CATALOG_JWT_SECRET"] == secret, "it is where it belongs"
    # A plan that changes the functions, with all that it is made of.
    terraform = overridden(aws, log_level="DEBUG").terraform()
    assert "module.sync.aws_lambda_function.this" in terraform.plan(refresh=False)
    plan = json.loads(terraform.run("show", "-json", str(aws.aws.run_dir / "plan")))
    state = json.loads((aws.aws.run_dir / "terraform.tfstate").read_text())
    for text in content.values():
        assert text not in str(plan)
        assert text not in str(state)
    for function in aws.info["functions"].values():
        found = aws.client("lambda").get_function_configuration(FunctionName=function["name"])
        assert not set(content) & set(found["Environment"]["Variables"])
        assert not [text for text in content.values() if text in str(found)]


def test_api_keys_are_asked_for_wherever_a_token_is_and_only_if_required(
    aws: DeployedStack,
) -> None:
    changes = overridden(aws, api_keys_required=True).terraform().plan(refresh=False)
    methods = {address for address in changes if address.startswith("aws_api_gateway_method.route")}
    asked = {f"{method} {path}" for method, path in routes() if path not in OPEN}
    assert methods == {f'aws_api_gateway_method.route["{route}"]' for route in asked}
    others = {address for address in changes if address.startswith("aws_api_gateway_method.other")}
    paths = {path for _, path in routes() if path not in OPEN}
    assert others == {f'aws_api_gateway_method.other["{path}"]' for path in paths}
    assert changes["aws_api_gateway_deployment.catalog"] == {"triggers"}, "and it is deployed"


def test_the_functions_are_as_configured(aws: DeployedStack) -> None:
    client = aws.client("lambda")
    for function in aws.info["functions"].values():
        found = client.get_function(FunctionName=function["name"], Qualifier="live")[
            "Configuration"
        ]
        assert found["TracingConfig"]["Mode"] == "PassThrough"
        assert found["LoggingConfig"]["LogFormat"] == "JSON"
        assert found["Runtime"] == RUNTIME
    mappings = client.list_event_source_mappings()["EventSourceMappings"]
    assert all(it["FunctionResponseTypes"] == ["ReportBatchItemFailures"] for it in mappings)
    runs = {
        it["EventSourceArn"].rpartition(":")[2]: it["ScalingConfig"]["MaximumConcurrency"]
        for it in mappings
    }
    queues = [aws.info[name].rpartition("/")[2] for name in ("queueUrl", "bulkQueueUrl")]
    assert runs == dict(zip(queues, (10, 4), strict=True))


def test_each_function_has_its_share_of_the_accounts_concurrency(aws: DeployedStack) -> None:
    client = aws.client("lambda")
    reserved = {
        name: client.get_function_concurrency(FunctionName=it["name"])[
            "ReservedConcurrentExecutions"
        ]
        for name, it in aws.info["functions"].items()
    }
    # Sync: what its two queues start at a time.
    queues = {"sync": 10 + 4, "bridge": 4, "reconcile": 2, "migrate": 2}
    assert reserved == {**queues, "api": 40, "authorizer": 25}


@pytest.mark.parametrize("function", ["bridge", "reconcile"])
def test_a_role_names_its_region_since_roles_are_of_the_whole_account(
    aws: DeployedStack, function: str
) -> None:
    found = aws.info["functions"][function]
    assert found["role"].endswith(f":role/{found['name']}-us-east-1")


@pytest.mark.parametrize("function", ["bridge", "reconcile"])
def test_a_rule_starts_the_function_every_minute_and_nothing_repeats_a_failed_run(
    aws: DeployedStack, function: str
) -> None:
    name = aws.info["functions"][function]["name"]
    events = aws.client("events")
    rule = events.describe_rule(Name=name)
    assert (rule["State"], rule["ScheduleExpression"]) == ("ENABLED", "rate(1 minute)")
    (target,) = events.list_targets_by_rule(Rule=name)["Targets"]
    never = {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}
    assert target["RetryPolicy"] == never
    live = aws.client("lambda").get_alias(FunctionName=name, Name="live")
    assert target["Arn"] == live["AliasArn"]
    invoked = aws.client("lambda").get_function_event_invoke_config(
        FunctionName=name, Qualifier="live"
    )
    assert {key: invoked[key] for key in never} == never
    policy = aws.client("lambda").get_policy(FunctionName=name, Qualifier="live")["Policy"]
    (statement,) = json.loads(policy)["Statement"]
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    assert rule["Arn"] in str(statement["Condition"])


def test_the_queues_keep_messages_for_14_days_and_let_go_after_200_receives(
    aws: DeployedStack,
) -> None:
    found = {
        name: aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        for name, url in (
            ("sync", aws.info["queueUrl"]),
            ("bulk", aws.info["bulkQueueUrl"]),
            ("dead", aws.info["dlqUrl"]),
        )
    }
    sync, bulk, dead = (found[name]["Attributes"] for name in ("sync", "bulk", "dead"))
    assert {it["MessageRetentionPeriod"] for it in (sync, bulk, dead)} == {"1209600"}
    for source in (sync, bulk):
        policy = json.loads(source["RedrivePolicy"])
        assert policy == {"deadLetterTargetArn": dead["QueueArn"], "maxReceiveCount": 200}
    allowed = json.loads(dead["RedriveAllowPolicy"])
    assert allowed["redrivePermission"] == "byQueue"
    assert set(allowed["sourceQueueArns"]) == {sync["QueueArn"], bulk["QueueArn"]}


# ---- who may do what ----

PROBE = """
import boto3
from botocore.exceptions import ClientError

def handler(event, context):
    answers = {}
    for name, (service, operation, arguments) in event.items():
        try:
            getattr(boto3.client(service), operation)(**arguments)
            answers[name] = "done"
        except ClientError as error:
            answers[name] = error.response["Error"]["Code"]
    return answers
"""
EVERYBODY = {"api", "authorizer", "bridge", "sync", "reconcile", "migrate"}
MAY = {
    "enqueue": {"api", "bridge", "reconcile"},
    "enqueue bulk": {"api", "bridge", "reconcile"},
    "dead_letter": {"bridge", "sync", "reconcile"},
    "take from the queue": {"sync"},
    "take from the bulk queue": {"sync"},
    "take from the dead letters": {"reconcile"},
    "read the secret": EVERYBODY,
    "read another secret": set(),
    "change the secret": set(),
    "purge": set(),
    "list queues": set(),
    "make a role": set(),
}


def calls(aws: DeployedStack) -> Calls:
    """A call for each; those of the queues are such that they are refused even if allowed."""
    queue, dead = {"QueueUrl": aws.info["queueUrl"]}, {"QueueUrl": aws.info["dlqUrl"]}
    bulk = {"QueueUrl": aws.info["bulkQueueUrl"]}
    late = {"MessageBody": "probe", "DelaySeconds": 901}
    many = {"MaxNumberOfMessages": 11}
    secret = {"SecretId": aws.info["secretArn"]}
    role = {"RoleName": "probe-made", "AssumeRolePolicyDocument": "{}"}
    return {
        "enqueue": ("sqs", "send_message", {**queue, **late}),
        "enqueue bulk": ("sqs", "send_message", {**bulk, **late}),
        "dead_letter": ("sqs", "send_message", {**dead, **late}),
        "take from the queue": ("sqs", "receive_message", {**queue, **many}),
        "take from the bulk queue": ("sqs", "receive_message", {**bulk, **many}),
        "take from the dead letters": ("sqs", "receive_message", {**dead, **many}),
        "read the secret": ("secretsmanager", "get_secret_value", secret),
        "read another secret": ("secretsmanager", "get_secret_value", {"SecretId": "other"}),
        "change the secret": ("secretsmanager", "update_secret", {**secret, "Description": "x"}),
        "purge": ("sqs", "purge_queue", dead),
        "list queues": ("sqs", "list_queues", {}),
        "make a role": ("iam", "create_role", role),
    }


def probe(aws: DeployedStack, function: str) -> dict[str, str]:
    """Make the calls from a function that has this one's role: each call's outcome."""
    client, name = aws.client("lambda"), f"probe-{function}"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("probe.py", PROBE)
    client.create_function(
        FunctionName=name,
        Role=aws.info["functions"][function]["role"],
        Runtime=RUNTIME,
        Handler="probe.handler",
        Code={"ZipFile": content.getvalue()},
        Timeout=30,
    )
    try:
        eventually(
            lambda: client.get_function_configuration(FunctionName=name)["State"] == "Active", 20
        )
        answer = client.invoke(FunctionName=name, Payload=json.dumps(calls(aws)))
        assert "FunctionError" not in answer, answer["Payload"].read()
        outcomes: dict[str, str] = json.loads(answer["Payload"].read())
        return outcomes
    finally:
        client.delete_function(FunctionName=name)
        aws.client("logs").delete_log_group(logGroupName=f"/aws/lambda/{name}")


@pytest.mark.needs("IAM")
@pytest.mark.parametrize("function", sorted(EVERYBODY))
def test_a_functions_role_may_do_what_it_needs_and_is_refused_the_rest(
    aws: DeployedStack, function: str
) -> None:
    outcomes = probe(aws, function)
    allowed = {name for name, outcome in outcomes.items() if not outcome.startswith("AccessDenied")}
    assert allowed == {name for name, who in MAY.items() if function in who}, outcomes


@pytest.mark.needs("IAM")
def test_no_function_was_refused_what_it_needs(aws: DeployedStack) -> None:
    for function in EVERYBODY:
        lines = aws.logged(function)
        assert lines, f"{function} has run"
        assert not [line for line in lines if "AccessDenied" in line], function
