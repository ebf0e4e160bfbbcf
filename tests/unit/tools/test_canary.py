"""Aliases are moved by CodeDeploy, and what came of it is told."""

from __future__ import annotations

import hashlib
import io
import json

import boto3
import pytest
from botocore.exceptions import NoRegionError
from botocore.stub import Stubber

from tools import canary

GROUPS: dict[str, canary.Move] = {
    "api": {"function": "product-catalog-api", "version": "7"},
    "sync": {"function": "product-catalog-sync", "version": "9"},
}
SESSION = boto3.Session("x", "x", region_name="eu-central-1")
CANARY = {"application": "product-catalog", "groups": GROUPS}


def moved(statuses: dict[str, str], **aliases: str) -> bool:
    """Move all, where the aliases are at these versions, and moves end in these statuses."""
    functions, deployments = SESSION.client("lambda"), SESSION.client("codedeploy")
    with Stubber(functions) as lambdas, Stubber(deployments) as codedeploy:
        for name, version in aliases.items():
            named = {"FunctionName": f"product-catalog-{name}", "Name": "live"}
            lambdas.add_response("get_alias", {"FunctionVersion": version}, named)
        for group in statuses:
            move = GROUPS[group]
            asked = {
                "applicationName": "product-catalog",
                "deploymentGroupName": group,
                "revision": canary.revision(move["function"], aliases[group], move["version"]),
            }
            codedeploy.add_response("create_deployment", {"deploymentId": f"d-{group}"}, asked)
        for group, status in statuses.items():
            info = {"deploymentInfo": {"status": status, "errorInformation": {"message": "alarm"}}}
            for _ in range(1 if status == "Succeeded" else 2):
                codedeploy.add_response("get_deployment", info, {"deploymentId": f"d-{group}"})
        result = canary.move_all(functions, deployments, CANARY)
        lambdas.assert_no_pending_responses()
        codedeploy.assert_no_pending_responses()
    return result


def test_an_alias_that_is_not_at_the_newest_version_is_moved() -> None:
    assert moved({"sync": "Succeeded"}, api="7", sync="8")


def test_a_move_that_an_alarm_has_stopped_fails_and_the_others_are_waited_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert not moved({"api": "Stopped", "sync": "Succeeded"}, api="6", sync="8")
    printed = capsys.readouterr()
    assert "api: Stopped, the alias is moved back: alarm" in printed.err
    assert "sync: moved" in printed.out
    assert "make rollback takes all back" in printed.err


def test_the_revision_names_both_versions_and_has_the_digest_of_its_content() -> None:
    found = canary.revision("product-catalog-sync", "8", "9")["appSpecContent"]
    assert found["sha256"] == hashlib.sha256(found["content"].encode()).hexdigest()
    (resource,) = json.loads(found["content"])["Resources"]
    properties = resource["product-catalog-sync"]["Properties"]
    assert (properties["CurrentVersion"], properties["TargetVersion"]) == ("8", "9")
    assert properties["Alias"] == "live"


@pytest.mark.parametrize("output", ["null", ""])
def test_without_the_variable_there_is_nothing_to_move(
    output: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(output))
    assert canary.main() == 1
    assert "`canary` is not set" in capsys.readouterr().err


def test_an_error_of_aws_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    functions = SESSION.client("lambda")
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(CANARY)))
    monkeypatch.setattr(boto3, "client", lambda _: functions)
    with Stubber(functions) as lambdas:
        lambdas.add_client_error("get_alias", "AccessDeniedException", "not allowed")
        assert canary.main() == 1
    assert "not allowed" in capsys.readouterr().err


def test_without_an_answer_of_aws_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without_region(_: str) -> None:
        raise NoRegionError

    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(CANARY)))
    monkeypatch.setattr(boto3, "client", without_region)
    assert canary.main() == 1
    assert "You must specify a region" in capsys.readouterr().err
