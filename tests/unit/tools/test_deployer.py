"""The policy of the deploying role covers what Terraform makes, and not the value of the secret."""

from __future__ import annotations

import json
import re
from typing import Any

from tools.terraform_docs import MODULES, ROOT

POLICY: dict[str, Any] = json.loads((ROOT / "policies" / "deployer.json").read_text())
# The prefix of the actions, by what follows aws_ in the name of a resource; the longest wins.
SERVICES = {
    "api_gateway": "apigateway",
    "cloudwatch": "cloudwatch",
    "cloudwatch_event": "events",
    "cloudwatch_log": "logs",
    "codedeploy": "codedeploy",
    "iam": "iam",
    "lambda": "lambda",
    "secretsmanager": "secretsmanager",
    "sns": "sns",
    "sqs": "sqs",
    "wafv2": "wafv2",
    "xray": "xray",
}
WITHOUT_CALLS = {"aws_caller_identity", "aws_partition", "aws_region", "aws_iam_policy_document"}


def statements() -> list[tuple[set[str], list[str]]]:
    found = []
    for statement in POLICY["Statement"]:
        actions, resources = statement["Action"], statement["Resource"]
        found.append(
            (
                {actions} if isinstance(actions, str) else set(actions),
                [resources] if isinstance(resources, str) else resources,
            )
        )
    return found


def service(resource: str) -> str:
    prefixes = [it for it in SERVICES if resource.startswith(f"aws_{it}_")]
    return SERVICES[max(prefixes, key=len)]


def test_each_service_that_the_modules_use_is_covered() -> None:
    text = "".join(path.read_text() for it in MODULES for path in sorted(it.glob("*.tf")))
    used = set(re.findall(r'^(?:resource|data) "(aws_\w+)"', text, re.MULTILINE)) - WITHOUT_CALLS
    allowed = {action.partition(":")[0] for actions, _ in statements() for action in actions}
    assert {service(it) for it in used} - allowed == set()


def test_the_value_of_the_secret_and_the_messages_are_not_for_the_deployer() -> None:
    actions = {action for names, _ in statements() for action in names}
    assert not actions & {"secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"}
    assert not actions & {"sqs:ReceiveMessage", "sqs:SendMessage", "sqs:PurgeQueue"}
    assert not [action for action in actions if action.endswith(":*")]


def test_what_it_may_change_has_our_names() -> None:
    changing = re.compile(r":(?!Describe|Get|List)")
    for actions, resources in statements():
        if [action for action in actions if changing.search(action)]:
            assert resources != ["*"] or "lambda:CreateEventSourceMapping" in actions
    roles = [it for _, resources in statements() for it in resources if ":role/" in it]
    assert roles
    assert all("/product-catalog*" in it for it in roles)


def test_it_fits_into_an_inline_policy_of_a_role() -> None:
    assert len(json.dumps(POLICY, separators=(",", ":"))) < 10_240
