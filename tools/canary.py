"""Move the aliases to the newest versions, in steps: `python -m tools.canary`.

    terraform -chdir=terraform output -json canary | python -m tools.canary

After an apply with the variable `canary`, Terraform has made the new versions and migrated the
store, and the aliases are where they were. This starts a deployment of CodeDeploy for each function
whose alias is not at the newest version, and waits until all have ended. Where an alarm is raised
meanwhile, CodeDeploy moves the alias back. Then this moves those back that have arrived, so that
all functions run the release of before, and ends with exit code 1.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from tools.deployment import ALIAS, session

if TYPE_CHECKING:
    from collections.abc import Mapping

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


@dataclass(frozen=True, slots=True)
class Started:
    """A deployment that moves an alias, and the version to which it may have to go back."""

    group: str
    move: Move
    before: str
    deployment: str


def start(
    functions: Any,  # noqa: ANN401 - boto3 makes clients at run time
    deployments: Any,  # noqa: ANN401
    application: str,
    group: str,
    move: Move,
) -> Started | None:
    """Start a move; None if the alias is there already."""
    alias = functions.get_alias(FunctionName=move["function"], Name=ALIAS)
    current, target = alias["FunctionVersion"], move["version"]
    if current == target:
        return None
    print(f"{group}: from version {current} to {target}")
    deployment = deployments.create_deployment(
        applicationName=application,
        deploymentGroupName=group,
        revision=revision(move["function"], current, target),
    )["deploymentId"]
    return Started(group, move, current, deployment)


def ended_well(deployments: Any, started: Started) -> bool:  # noqa: ANN401 - see start
    """Wait for the end of a move, and say how it has ended."""
    group, deployment = started.group, started.deployment
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


def take_back(functions: Any, arrived: Started) -> bool:  # noqa: ANN401 - see start
    """Move an alias back to the version of before; tell whether the new one is not live."""
    group, function = arrived.group, arrived.move["function"]
    try:
        alias = functions.get_alias(FunctionName=function, Name=ALIAS)
        if alias["FunctionVersion"] != arrived.move["version"]:
            print(f"{group}: at version {alias['FunctionVersion']} meanwhile")
            return True
        functions.update_alias(
            FunctionName=function,
            Name=ALIAS,
            FunctionVersion=arrived.before,
            # Refused if somebody has moved it since it was read.
            RevisionId=alias["RevisionId"],
        )
    except ClientError as error:
        print(f"{group}: not taken back: {error}", file=sys.stderr)
        return False
    print(f"{group}: taken back to version {arrived.before}")
    return True


def move_all(functions: Any, deployments: Any, canary: Mapping[str, Any]) -> bool:  # noqa: ANN401 - see start
    """Move every alias that is not at its newest version; tell whether all have arrived.

    If one has not, those that have are taken back, so that no two releases are live.
    """
    application, groups = canary["application"], canary["groups"]
    moves: list[Started | None] = []
    try:
        for group, move in groups.items():
            moves.append(start(functions, deployments, application, group, move))
    except ClientError as error:
        print(f"error: {error}", file=sys.stderr)
    started = [it for it in moves if it]
    # All of them, also after one that has failed: each has its own end.
    arrived = [it for it in started if ended_well(deployments, it)]
    if len(moves) == len(groups) and arrived == started:
        return True
    back = [take_back(functions, it) for it in arrived]
    if None in moves or not all(back):
        # One that was there before this run: nobody here knows where it came from.
        print("two releases are live: make rollback takes all functions back", file=sys.stderr)
    return False


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
        print(
            f"error: {error}; where aliases have moved, make rollback takes all back",
            file=sys.stderr,
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
