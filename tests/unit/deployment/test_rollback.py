"""All functions go back to one release together, or it is said why not. On moto's Lambda."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from tools import rollback
from tools.deployment import RELEASED, Names
from tools.rollback import Function, RollbackError, releases, skipped, target, to_move

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = Names("-test")


def function(role: str = "sync", live: int = 3, **releases_: int) -> Function:
    """A function with these releases: their names, and their versions in order."""
    versions = releases_ or {"a": 1, "b": 2, "c": 3}
    published = dict.fromkeys(versions, "2026-11-29")
    return Function(role, role, versions, published, live, "r")


# ---- decisions ----


def test_it_goes_to_the_release_before_the_live_one() -> None:
    assert target([function()], None).name == "b"


def test_a_release_that_not_all_functions_have_is_none_to_go_to() -> None:
    half = [function("api", a=1, b=2, c=3), function("sync", live=2, a=1, c=2)]
    assert [release.name for release in releases(half)] == ["a", "c"]
    assert target(half, None).versions == {"api": 1, "sync": 1}


def test_one_that_was_interrupted_goes_on() -> None:
    assert target([function("api", live=2), function("sync", live=3)], None).name == "b"


def test_run_twice_it_does_not_go_back_twice() -> None:
    with pytest.raises(RollbackError, match=r"rolled back already.*--to; there are c, b, a"):
        target([function(live=2)], None)


def test_before_the_first_release_there_is_none() -> None:
    with pytest.raises(RollbackError, match="a is the first release"):
        target([function(live=1, a=1)], None)


def test_a_live_version_without_a_release_needs_a_person_to_choose() -> None:
    old = [function("api"), function("sync", live=9)]
    with pytest.raises(RollbackError, match="live versions of sync belong to no whole release"):
        target(old, None)
    assert target(old, "a").name == "a"


def test_an_unknown_release_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(RollbackError, match="no release x: there are c, b, a"):
        target([function()], "x")


def test_without_any_release_it_says_so() -> None:
    with pytest.raises(RollbackError, match="no release is whole"):
        target([replace(function(), versions={})], None)


def test_an_alias_that_is_there_but_shares_its_calls_is_moved_too() -> None:
    there = function(live=2)
    goal = target([function()], None)
    assert to_move([there], goal) == []
    canary = replace(there, canary=3)
    assert to_move([canary], goal) == [canary]


def test_a_canary_goes_back_to_where_it_came_from() -> None:
    begun = [replace(function("api", live=2), canary=3), replace(function(live=2), canary=3)]
    assert target(begun, None).name == "b"
    assert skipped(begun, target(begun, None)) == 1


# ---- on Lambda ----


@pytest.fixture(scope="module")
def account() -> Iterator[Any]:
    """Lambda, with three releases of all functions of a deployment."""
    with (
        pytest.MonkeyPatch.context() as patch,
        mock_aws(config={"lambda": {"use_docker": False}}),
    ):
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        made = boto3.client("lambda")
        for role in RELEASED:
            deploy(made, NAMES.function(role))
        yield made


@pytest.fixture
def client(account: Any) -> Any:  # noqa: ANN401 - boto3's
    """Lambda, with the third release live."""
    for role in RELEASED:
        name = NAMES.function(role)
        account.update_alias(
            FunctionName=name,
            Name="live",
            FunctionVersion="4",
            RoutingConfig={"AdditionalVersionWeights": {}},
        )
    return account


def deploy(client: Any, name: str) -> None:  # noqa: ANN401 - boto3's
    """Make a function and three releases of it."""
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    iam = boto3.client("iam")
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy)["Role"]["Arn"]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("it.py", "")
    client.create_function(
        FunctionName=name,
        Role=role,
        Runtime="python3.13",
        Handler="it.handler",
        Code={"ZipFile": content.getvalue()},
        Description="before releases had names",
        Publish=True,
    )
    for release in ("one", "two", "three"):
        client.update_function_configuration(
            FunctionName=name, Description=f"Product catalog: it; release {release}"
        )
        client.publish_version(FunctionName=name)
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="4")


def live(client: Any) -> dict[str, str]:  # noqa: ANN401 - boto3's
    return {
        role: client.get_alias(FunctionName=NAMES.function(role), Name="live")["FunctionVersion"]
        for role in RELEASED
    }


def run(*arguments: str) -> int:
    return rollback.main(["--name-suffix=-test", *arguments])


def test_all_functions_go_back_together_and_the_next_step_is_told(
    client: Any,  # noqa: ANN401
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--yes") == 0
    assert live(client) == dict.fromkeys(RELEASED, "3")
    said = capsys.readouterr().out
    assert "product-catalog-test-sync" in said
    assert "4 (three) -> 3 (two)" in said
    assert 'pinned_versions = { api = "3", authorizer = "3"' in said


def test_a_dry_run_and_a_list_move_nothing(
    client: Any,  # noqa: ANN401
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--dry-run", "--to", "one") == 0
    assert "more than one release back" in capsys.readouterr().out
    assert run("--list") == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("three ")
    assert first.endswith("live")
    assert last.startswith("one ")
    assert live(client) == dict.fromkeys(RELEASED, "4")


def test_a_live_version_of_no_release_is_listed_too(
    client: Any,  # noqa: ANN401
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = NAMES.function("api")
    client.update_alias(FunctionName=name, Name="live", FunctionVersion="1")
    assert run("--list") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "live and in no release of this list, such as read-only ones: api 1"
    assert run("--yes") == 2
    assert "or are read-only for a restore" in capsys.readouterr().err


def test_it_asks_and_without_anybody_to_ask_it_refuses(
    client: Any,  # noqa: ANN401
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run() == 2
    assert "give --yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    assert run() == 2

    def ended(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", ended)
    assert run() == 2
    assert capsys.readouterr().err.endswith("error: nothing was moved\n")
    assert live(client) == dict.fromkeys(RELEASED, "4")
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert run() == 0
    assert live(client) == dict.fromkeys(RELEASED, "3")


def test_an_alias_that_cannot_be_moved_stops_none_of_the_others_and_is_named(
    client: Any,  # noqa: ANN401
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    move = rollback.move

    def refused(found: Any, function: Function, version: int) -> None:  # noqa: ANN401
        if function.role == "bridge":
            text = "the alias has changed"
            raise ClientError({"Error": {"Code": "PreconditionFailed", "Message": text}}, "It")
        move(found, function, version)

    with monkeypatch.context() as patch:
        patch.setattr(rollback, "move", refused)
        assert run("--yes") == 1
    assert "not moved: bridge" in capsys.readouterr().out
    assert live(client) == {**dict.fromkeys(RELEASED, "3"), "bridge": "4"}
    assert run("--yes") == 0, "and it goes on"
    assert live(client) == dict.fromkeys(RELEASED, "3")


def share(client: Any, role: str, weights: dict[str, float]) -> None:  # noqa: ANN401 - boto3's
    """Let the alias stand for the second release, and give another a part of the calls."""
    client.update_alias(
        FunctionName=NAMES.function(role),
        Name="live",
        FunctionVersion="3",
        RoutingConfig={"AdditionalVersionWeights": weights},
    )


def test_an_alias_that_was_moved_meanwhile_is_not_moved_back() -> None:
    client = MagicMock()
    rollback.move(client, function(live=3), 2)
    # AWS compares it, moto does not.
    assert client.update_alias.call_args.kwargs["RevisionId"] == "r"


def test_a_canary_is_stopped_before_the_aliases_are_moved(
    client: Any,  # noqa: ANN401
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codedeploy = MagicMock()
    codedeploy.list_deployments.side_effect = lambda **asked: {
        "deployments": ["d-1"] if asked["deploymentGroupName"] == "sync" else []
    }
    # Meanwhile it begins with one that was not read as a canary.
    codedeploy.stop_deployment.side_effect = lambda **_: share(client, "api", {"4": 0.1})
    monkeypatch.setattr(
        rollback, "_clients", lambda: {"lambda": client, "codedeploy": codedeploy}.__getitem__
    )
    for role in RELEASED:
        share(client, role, {} if role == "api" else {"4": 0.1})
    assert run("--yes") == 0
    codedeploy.stop_deployment.assert_called_once_with(
        deploymentId="d-1", autoRollbackEnabled=False
    )
    assert "is stopped: d-1" in capsys.readouterr().out
    found = [rollback.look(client, NAMES, role) for role in RELEASED]
    assert {(function.live, function.canary) for function in found} == {(3, None)}


def test_a_release_that_is_live_is_left_alone(
    client: Any,  # noqa: ANN401
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--to", "three", "--yes") == 0
    assert "live already" in capsys.readouterr().out
    assert live(client) == dict.fromkeys(RELEASED, "4")


def test_a_change_that_was_taken_back_is_the_newest_release_again(
    client: Any,  # noqa: ANN401
) -> None:
    name = NAMES.function("another")
    deploy(client, name)
    client.update_function_configuration(FunctionName=name, Description="it; release one")
    client.publish_version(FunctionName=name)
    assert list(rollback.look(client, NAMES, "another").versions) == ["two", "three", "one"]


def test_a_release_that_is_read_only_for_a_restore_is_none_to_go_back_to(
    client: Any,  # noqa: ANN401
) -> None:
    name = NAMES.function("restored")
    deploy(client, name)
    for release, mode in (("restoring", "restore"), ("three", "normal")):
        client.update_function_configuration(
            FunctionName=name,
            Description=f"it; release {release}",
            Environment={"Variables": {"CATALOG_MODE": mode}},
        )
        client.publish_version(FunctionName=name)
    assert list(rollback.look(client, NAMES, "restored").versions) == ["one", "two", "three"]


def test_what_aws_refuses_is_told_in_a_line(
    client: Any,  # noqa: ANN401, ARG001 - AWS, where nothing has this name
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert rollback.main(["--name-suffix=-other", "--list"]) == 3
    assert capsys.readouterr().err.startswith("error: ")
