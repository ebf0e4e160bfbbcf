"""Move the aliases to the newest versions, in steps: `python -m tools.canary`.

    terraform -chdir=terraform output -json canary | python -m tools.canary

After an apply with the variable `canary`, Terraform has made the new versions and migrated the
store, and the aliases are where they were. This starts a deployment of CodeDeploy for each function
whose alias is not at the newest version, and waits until all have ended. Where an alarm is raised
meanwhile, CodeDeploy moves the alias back, and this ends with exit code 1.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import TYPE_CHECKING, Any, TypedDict

from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from tools.deployment import session

if TYPE_CHECKING:
    from collections.abc import Mapping

ALIAS = "live"
PAUSE_SECONDS, LOOKS = 15, 480
"""Two hours: the slowest of AWS's own configurations takes one and a half."""


class Move(TypedDict):
    """A function and the version that its alias shall point to."""

    function: str
    version: str


def revision(function: str, current: str, target: str) -> dict[str, Any]:
    """Give what CodeDeploy is to do: its AppSpec, and the digest that it asks for."""
    properties = {
        "Name": function,
        "Alias": ALIAS,
        "CurrentVersion": current,
        "TargetVersion": target,
    }
    resource = {"Type": "AWS::Lambda::Function", "Properties": properties}
    content = json.dumps({"version": 0.0, "Resources": [{function: resource}]})
    digest = hashlib.sha256(content.encode()).hexdigest()
    return {
        "revisionType": "AppSpecContent",
        "appSpecContent": {"content": content, "sha256": digest},
    }


def start(functions: Any, deployments: Any, application: str, group: str, move: Move) -> str | None:  # noqa: ANN401 - boto3 makes clients at run time
    """Start a move; its id, or None if the alias is there already."""
    alias = functions.get_alias(FunctionName=move["function"], Name=ALIAS)
    current, target = alias["FunctionVersion"], move["version"]
    if current == target:
        return None
    print(f"{group}: from version {current} to {target}")
    started: str = deployments.create_deployment(
        applicationName=application,
        deploymentGroupName=group,
        revision=revision(move["function"], current, target),
    )["deploymentId"]
    return started


def ended_well(deployments: Any, group: str, deployment: str) -> bool:  # noqa: ANN401 - see start
    """Wait for the end of a move, and say how it has ended."""
    waiter = deployments.get_waiter("deployment_successful")
    try:
        waiter.wait(
            deploymentId=deployment,
            WaiterConfig={"Delay": PAUSE_SECONDS, "MaxAttempts": LOOKS},
        )
    except WaiterError:
        found = deployments.get_deployment(deploymentId=deployment)["deploymentInfo"]
        reason = found.get("errorInformation", {}).get("message", "")
        print(f"{group}: {found['status']}, the alias is moved back: {reason}", file=sys.stderr)
        return False
    print(f"{group}: moved")
    return True


def move_all(functions: Any, deployments: Any, canary: Mapping[str, Any]) -> bool:  # noqa: ANN401 - see start
    """Move every alias that is not at its newest version; tell whether all have arrived."""
    application, groups = canary["application"], canary["groups"]
    moves = {
        group: start(functions, deployments, application, group, move)
        for group, move in groups.items()
    }
    # All of them, also after one that has failed: each has its own end.
    ends = [ended_well(deployments, group, it) for group, it in moves.items() if it]
    if not all(ends):
        print("aliases that have arrived stay there: make rollback takes all back", file=sys.stderr)
    return all(ends)


def main() -> int:
    """Read the output `canary` of Terraform; give the exit code."""
    # Terraform has no output that is null: it prints nothing then, and an error of its own.
    canary = json.loads(sys.stdin.read().strip() or "null")
    if canary is None:
        print("error: Terraform moves the aliases itself: `canary` is not set", file=sys.stderr)
        return 1
    try:
        aws = session()
        return 0 if move_all(aws.client("lambda"), aws.client("codedeploy"), canary) else 1
    except (ClientError, BotoCoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
