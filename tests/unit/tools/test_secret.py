"""The command that puts values into the catalog's secret, on moto."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from chalicelib.bootstrap import Containers
from chalicelib.settings import SECRET_NAMES, SettingsError, parse_secrets
from tests.unit.conftest import ENVIRONMENT
from tools import secret as command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "product-catalog/settings"
CANARY = "hunter2-do-not-tell-anybody-what-this-is"
URI = f"mongodb+srv://catalog:{CANARY}@cluster.example.net"
CREDENTIALS = """-----BEGIN NATS USER JWT-----
eyJ0
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
SUAX
------END USER NKEY SEED------
"""
OLD, NEW, NEWER = "o" * 32, "n" * 32, "m" * 32


class Vault:
    """The secret in Secrets Manager, and files with values to put into it."""

    def __init__(self, client: Any, folder: Path) -> None:  # noqa: ANN401 - boto3's
        self.client = client
        self._folder = folder
        client.create_secret(Name=NAME)

    def put(self, **values: str) -> None:
        self.client.put_secret_value(SecretId=NAME, SecretString=json.dumps(values))

    def held(self) -> dict[str, str]:
        text = self.client.get_secret_value(SecretId=NAME)["SecretString"]
        return parse_secrets(text)

    def versions(self) -> int:
        return len(self.client.list_secret_version_ids(SecretId=NAME)["Versions"])

    def run(self, **values: str) -> int:
        """Run the command with a file for each of these values; it removes the empty ones."""
        arguments = []
        for name, text in values.items():
            path = self._folder / name
            path.write_text(text)
            arguments.append(f"{name}={path if text else ''}")
        return command.main([NAME, *arguments])


@pytest.fixture(scope="module")
def secrets_manager() -> Iterator[Any]:
    """One for all tests, since boto3 takes long for its first client."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        patch.delenv("AWS_PROFILE", raising=False)
        with mock_aws():
            yield boto3.client("secretsmanager")


@pytest.fixture
def vault(secrets_manager: Any, tmp_path: Path) -> Iterator[Vault]:  # noqa: ANN401 - boto3's
    yield Vault(secrets_manager, tmp_path)
    secrets_manager.delete_secret(SecretId=NAME, ForceDeleteWithoutRecovery=True)


def test_the_first_values_are_put_into_a_secret_that_has_none(
    vault: Vault, capsys: pytest.CaptureFixture[str]
) -> None:
    code = vault.run(MONGODB_URI=f"{URI}\n", NATS_CREDENTIALS=CREDENTIALS, CATALOG_JWT_SECRET=OLD)
    assert code == 0
    assert vault.held() == {
        "MONGODB_URI": URI,
        "NATS_CREDENTIALS": CREDENTIALS.strip(),
        "CATALOG_JWT_SECRET": OLD,
    }
    assert capsys.readouterr().out.splitlines() == [
        "CATALOG_JWT_SECRET: new",
        "MONGODB_URI: new",
        "NATS_CREDENTIALS: new",
        "put; functions read it within two minutes of use",
    ]


@pytest.fixture
def containers(monkeypatch: pytest.MonkeyPatch) -> Containers:
    """A process whose secret this is."""
    secrets = SECRET_NAMES & ENVIRONMENT.keys()
    for name, text in {
        **ENVIRONMENT,
        **dict.fromkeys(secrets, ""),
        "CATALOG_SECRET_ID": NAME,
    }.items():
        monkeypatch.setenv(name, text)
    return Containers()


def test_a_process_starts_with_what_was_put(vault: Vault, containers: Containers) -> None:
    vault.run(MONGODB_URI=URI, NATS_CREDENTIALS=CREDENTIALS, CATALOG_JWT_SECRET=OLD)
    settings = containers.get().settings
    assert (settings.mongodb_uri, settings.jwt_secret) == (URI, OLD)


@pytest.mark.usefixtures("vault")
def test_a_process_does_not_start_before_a_value_was_put(containers: Containers) -> None:
    with pytest.raises(SettingsError, match=f"CATALOG_SECRET_ID: {NAME} cannot be read"):
        containers.get()


def test_a_process_that_finds_no_text_says_how_to_put_it(
    vault: Vault, containers: Containers
) -> None:
    vault.client.put_secret_value(SecretId=NAME, SecretBinary=b"no text")
    with pytest.raises(SettingsError, match=r"has no text: python -m tools\.secret puts it"):
        containers.get()


def test_a_value_that_is_not_named_stays(vault: Vault) -> None:
    vault.put(MONGODB_URI="mongodb://one", CATALOG_JWT_SECRET=OLD)
    assert vault.run(MONGODB_URI=URI) == 0
    assert vault.held() == {"MONGODB_URI": URI, "CATALOG_JWT_SECRET": OLD}


def test_a_value_may_come_from_stdin(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.put(MONGODB_URI="mongodb://one", CATALOG_JWT_SECRET=OLD)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{URI}\n"))
    assert command.main([NAME, "MONGODB_URI=-"]) == 0
    assert vault.held()["MONGODB_URI"] == URI


def test_without_a_change_nothing_is_put(vault: Vault, capsys: pytest.CaptureFixture[str]) -> None:
    vault.put(MONGODB_URI=URI, CATALOG_JWT_SECRET=OLD)
    assert vault.run() == 0
    assert vault.run(MONGODB_URI=URI) == 0
    assert vault.versions() == 1
    assert "nothing was put: this is what the secret holds" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("CATALOG_JWT_SECRET", OLD, NEW),
        ("SUPPLY_CHAIN_SIGNING_SECRET", "whsec_b2xk", "whsec_bmV3"),
    ],
)
def test_a_rotation_keeps_the_value_of_before_until_it_is_removed(
    vault: Vault, capsys: pytest.CaptureFixture[str], name: str, old: str, new: str
) -> None:
    others = {"MONGODB_URI": URI, "CATALOG_JWT_SECRET": NEWER}
    vault.put(**{**others, name: old})
    assert vault.run(**{name: new}) == 0
    assert vault.held() == {**others, name: new, f"{name}_PREVIOUS": old}
    assert vault.run(**{f"{name}_PREVIOUS": ""}) == 0
    assert vault.held() == {**others, name: new}

    out = capsys.readouterr().out
    assert f"{name}: changed\n{name}_PREVIOUS: the value of before\n" in out
    assert f"{name}_PREVIOUS: removed\n" in out


def test_a_leaked_secret_is_not_kept_where_its_previous_is_removed_at_once(vault: Vault) -> None:
    vault.put(MONGODB_URI=URI, CATALOG_JWT_SECRET=OLD)
    assert vault.run(CATALOG_JWT_SECRET=NEW, CATALOG_JWT_SECRET_PREVIOUS="") == 0
    assert vault.held() == {"MONGODB_URI": URI, "CATALOG_JWT_SECRET": NEW}


def test_a_rotation_within_a_rotation_is_refused(
    vault: Vault, capsys: pytest.CaptureFixture[str]
) -> None:
    held = {"CATALOG_JWT_SECRET": NEW, "CATALOG_JWT_SECRET_PREVIOUS": OLD}
    vault.put(MONGODB_URI=URI, **held)
    assert vault.run(CATALOG_JWT_SECRET=NEWER) == 1
    assert vault.held() == {"MONGODB_URI": URI, **held}
    assert "end that rotation with CATALOG_JWT_SECRET_PREVIOUS= first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"MONGODB_URI": CANARY}, "MONGODB_URI: must look like "),
        ({"MONGODB_URI": ""}, "MONGODB_URI: is required"),
        ({"MONGODB_URI": "\n"}, "is empty; MONGODB_URI= removes it"),
        (
            {"CATALOG_JWT_SECRET": CANARY[:31], "CATALOG_JWT_SECRET_PREVIOUS": ""},
            "CATALOG_JWT_SECRET: must have 32 characters",
        ),
        ({"CATALOG_JWT_SECRET": ""}, "CATALOG_JWT_SECRET_PREVIOUS: CATALOG_JWT_SECRET is required"),
        ({"SUPPLY_CHAIN_SIGNING_SECRET": f"{CANARY}!"}, "must be base64"),
        ({"NATS_CREDENTIALS": f"/etc/{CANARY}"}, "must be the content of a .creds file"),
        (
            {"NATS_CREDENTIALS": f"-----BEGIN NATS USER JWT-----{CANARY}"},
            "NATS_CREDENTIALS: the credentials have no BEGIN USER NKEY SEED",
        ),
        ({"MONGODB_URI": f"mongodb://{CANARY * 2000}"}, "more than 65536 bytes"),
    ],
)
def test_what_no_process_could_start_with_is_not_put_and_not_shown(
    vault: Vault, capsys: pytest.CaptureFixture[str], values: dict[str, str], told: str
) -> None:
    held = {"CATALOG_JWT_SECRET": NEW, "CATALOG_JWT_SECRET_PREVIOUS": OLD}
    vault.put(MONGODB_URI=URI, **held)
    assert vault.run(**values) == 1
    assert vault.versions() == 1
    printed = capsys.readouterr()
    assert told in printed.err
    assert CANARY[:31] not in printed.err + printed.out


def test_what_is_broken_already_is_told(vault: Vault, capsys: pytest.CaptureFixture[str]) -> None:
    vault.client.put_secret_value(SecretId=NAME, SecretString=f'{{"MONGODB_URI": "{CANARY}')
    assert vault.run() == 1
    printed = capsys.readouterr()
    assert printed.err == "error: the secret CATALOG_SECRET_ID is not JSON\n"


def test_tokens_of_an_identity_provider_alone_need_no_secret(
    vault: Vault, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vault.run(MONGODB_URI=URI) == 0
    assert "the processes need CATALOG_JWKS_URL" in capsys.readouterr().out


@pytest.mark.usefixtures("vault")
def test_a_secret_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["another"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: there is no secret another in eu-central-1: ")


def test_another_refusal_of_aws_is_told_by_its_code_alone(
    vault: Vault, capsys: pytest.CaptureFixture[str]
) -> None:
    vault.client.delete_secret(SecretId=NAME)
    assert vault.run() == 1
    assert capsys.readouterr().err == "error: GetSecretValue: InvalidRequestException\n"
    vault.client.restore_secret(SecretId=NAME)


def test_a_secret_without_a_value_has_nothing_to_check(
    vault: Vault, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vault.run() == 1
    assert capsys.readouterr().err.startswith(f"error: {NAME} has no value yet: ")


def test_an_empty_version_of_an_emulator_counts_as_no_value(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = vault.client
    monkeypatch.setattr(client, "get_secret_value", lambda **_: {"VersionStages": ["AWSCURRENT"]})
    monkeypatch.setattr(command, "session", lambda: SimpleNamespace(client=lambda _: client))
    assert vault.run(MONGODB_URI=URI, CATALOG_JWT_SECRET=OLD) == 0
    monkeypatch.undo()
    assert vault.held() == {"MONGODB_URI": URI, "CATALOG_JWT_SECRET": OLD}


def test_a_file_that_is_not_there_is_told(
    vault: Vault, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    vault.put(MONGODB_URI=URI, CATALOG_JWT_SECRET=OLD)
    assert command.main([NAME, f"MONGODB_URI={tmp_path}/missing"]) == 1
    assert "missing cannot be read: FileNotFoundError" in capsys.readouterr().err


def test_without_a_region_the_command_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    assert command.main([NAME]) == 1
    assert capsys.readouterr().err.startswith("error: there is no region: set AWS_REGION")


def test_the_region_may_be_given_as_the_aws_command_line_takes_it(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert vault.run(MONGODB_URI=URI, CATALOG_JWT_SECRET=OLD) == 0


@pytest.mark.parametrize("argument", [f"MONGODB_URI:{CANARY}", f"PASSWORD={CANARY}", CANARY])
def test_an_argument_of_another_form_is_wrong_usage_and_not_repeated(
    argument: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main([NAME, argument])
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert CANARY not in printed
    assert all(name in printed for name in SECRET_NAMES)
