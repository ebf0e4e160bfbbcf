"""Aliases are moved by CodeDeploy, and what came of it is told."""

from __future__ import annotations

import hashlib
import io
import json
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from tools import canary
from tools.deployment import NoRegionGivenError

Backs = dict[str, tuple[str, bool]]

GROUPS: dict[str, canary.Move] = {
    "api": {"function": "product-catalog-api", "version": "7"},
    "sync": {"function": "product-catalog-sync", "version": "9"},
}
SESSION = boto3.Session("x", "x", region_name="eu-central-1")
CANARY = {"application": "product-catalog", "groups": GROUPS}


REFUSED = "refused"
"""In place of a status: AWS refuses to start the move."""


def moved(statuses: dict[str, str], back: Backs | None = None, **aliases: str) -> bool:
    """Move all, where the aliases are at these versions, and moves end in these statuses.

    `back`: how the alias of each function is found when it may be taken back, and whether AWS
    does it.
    """
    functions, deployments = SESSION.client("lambda"), SESSION.client("codedeploy")
    with Stubber(functions) as lambdas, Stubber(deployments) as codedeploy:
        for name, version in aliases.items():
            lambdas.add_response("get_alias", {"FunctionVersion": version}, alias_of(name))
        for group, status in statuses.items():
            expect_start(codedeploy, group, aliases[group], status)
        for group, status in statuses.items():
            info = {"deploymentInfo": {"status": status, "errorInformation": {"message": "alarm"}}}
            for _ in range({"Succeeded": 1, REFUSED: 0}.get(status, 2)):
                codedeploy.add_response("get_deployment", info, {"deploymentId": f"d-{group}"})
        for group, (version, is_done) in (back or {}).items():
            expect_back(lambdas, group, version, aliases[group], is_done=is_done)
        result = canary.move_all(functions, deployments, CANARY)
        lambdas.assert_no_pending_responses()
        codedeploy.assert_no_pending_responses()
    return result


def alias_of(group: str) -> dict[str, str]:
    return {"FunctionName": f"product-catalog-{group}", "Name": "live"}


def expect_start(codedeploy: Stubber, group: str, version: str, status: str) -> None:
    move = GROUPS[group]
    asked = {
        "applicationName": "product-catalog",
        "deploymentGroupName": group,
        "revision": canary.revision(move["function"], version, move["version"]),
    }
    if status == REFUSED:
        codedeploy.add_client_error("create_deployment", "LimitExceeded", "no", 400, {}, asked)
    else:
        codedeploy.add_response("create_deployment", {"deploymentId": f"d-{group}"}, asked)


def expect_back(lambdas: Stubber, group: str, found: str, before: str, *, is_done: bool) -> None:
    alias = {"FunctionVersion": found, "RevisionId": "r-1"}
    lambdas.add_response("get_alias", alias, alias_of(group))
    if found != GROUPS[group]["version"]:
        return
    asked = {**alias_of(group), "FunctionVersion": before, "RevisionId": "r-1"}
    if is_done:
        lambdas.add_response("update_alias", {}, asked)
    else:
        lambdas.add_client_error("update_alias", "PreconditionFailedException", "", 412, {}, asked)


def test_an_alias_that_is_not_at_the_newest_version_is_moved() -> None:
    assert moved({"sync": "Succeeded"}, api="7", sync="8")


def test_after_a_move_that_an_alarm_has_stopped_those_that_have_arrived_are_taken_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    statuses = {"api": "Stopped", "sync": "Succeeded"}
    assert not moved(statuses, {"sync": ("9", True)}, api="6", sync="8")
    printed = capsys.readouterr()
    assert "api: Stopped, the alias is moved back: alarm" in printed.err
    assert "sync: moved" in printed.out
    assert "sync: taken back to version 8" in printed.out
    assert "two releases" not in printed.err


def test_a_move_that_is_not_started_has_the_others_taken_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    statuses = {"api": "Succeeded", "sync": REFUSED}
    assert not moved(statuses, {"api": ("7", True)}, api="6", sync="8")
    assert "LimitExceeded" in capsys.readouterr().err


def test_an_alias_that_somebody_has_moved_meanwhile_is_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    statuses = {"api": "Stopped", "sync": "Succeeded"}
    assert not moved(statuses, {"sync": ("5", True)}, api="6", sync="8")
    assert "sync: at version 5 meanwhile" in capsys.readouterr().out


def test_an_alias_that_cannot_be_taken_back_leaves_two_releases_and_the_way_out_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    statuses = {"api": "Stopped", "sync": "Succeeded"}
    assert not moved(statuses, {"sync": ("9", False)}, api="6", sync="8")
    printed = capsys.readouterr().err
    assert "sync: not taken back: " in printed
    assert "two releases are live: make rollback takes all functions back" in printed


def test_an_alias_that_was_there_before_the_run_that_failed_cannot_be_taken_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert not moved({"sync": "Stopped"}, api="7", sync="8")
    assert "make rollback takes all functions back" in capsys.readouterr().err


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


def answer_with(monkeypatch: pytest.MonkeyPatch, clients: dict[str, Any]) -> None:
    """Have main() use these."""
    monkeypatch.setattr(canary, "session", lambda: SimpleNamespace(client=clients.__getitem__))


def test_an_error_of_aws_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    functions = SESSION.client("lambda")
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(CANARY)))
    answer_with(monkeypatch, {"lambda": functions, "codedeploy": SESSION.client("codedeploy")})
    with Stubber(functions) as lambdas:
        lambdas.add_client_error("get_alias", "AccessDeniedException", "not allowed")
        assert canary.main() == 1
    assert "not allowed" in capsys.readouterr().err


def test_without_an_answer_of_aws_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without_region() -> None:
        raise NoRegionGivenError

    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(CANARY)))
    monkeypatch.setattr(canary, "session", without_region)
    assert canary.main() == 1
    assert "there is no region" in capsys.readouterr().err


def test_an_error_while_a_move_is_waited_for_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clients = {name: SESSION.client(name) for name in ("lambda", "codedeploy")}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(CANARY)))
    answer_with(monkeypatch, clients)
    with Stubber(clients["lambda"]) as lambdas, Stubber(clients["codedeploy"]) as codedeploy:
        for version in ("6", "9"):
            lambdas.add_response("get_alias", {"FunctionVersion": version})
        codedeploy.add_response("create_deployment", {"deploymentId": "d-api"})
        for _ in range(2):
            codedeploy.add_client_error("get_deployment", "ExpiredTokenException", "expired")
        assert canary.main() == 1
    assert "expired" in (told := capsys.readouterr().err)
    assert "make rollback" in told
