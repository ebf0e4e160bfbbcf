"""Secrets of Secrets Manager: read once per process, rotation noticed, old ones kept if need be."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from chalicelib.bootstrap import SECRETS_FRESH_SECONDS, Containers
from chalicelib.domain.errors import InvalidTokenError
from chalicelib.settings import SettingsError, parse_secrets, read_settings
from tests.unit.conftest import a_token

ENVIRONMENT = {
    "NATS_URL": "nats://127.0.0.1:1",
    "SYNC_QUEUE_URL": "http://127.0.0.1:1/q",
    "SYNC_DLQ_URL": "http://127.0.0.1:1/d",
    "SUPPLY_CHAIN_URL": "http://127.0.0.1:1",
}
SECRETS = {"MONGODB_URI": "mongodb://one", "CATALOG_JWT_SECRET": "s" * 32}


class Vault:
    """Stands for Secrets Manager, and for the clock."""

    def __init__(self) -> None:
        self.text = json.dumps(SECRETS)
        self.error: SettingsError | None = None
        self.reads: list[str] = []
        self.now = 0.0

    def fetch(self, name: str) -> str:
        self.reads.append(name)
        if self.error:
            raise self.error
        return self.text

    def clock(self) -> float:
        return self.now


@pytest.fixture
def vault() -> Vault:
    return Vault()


@pytest.fixture
def containers(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> Iterator[Containers]:
    for name, text in {**ENVIRONMENT, "CATALOG_SECRET_ID": "catalog/settings"}.items():
        monkeypatch.setenv(name, text)
    monkeypatch.delenv("MONGODB_URI", raising=False)
    yield (made := Containers(vault.fetch, vault.clock))
    made.get().close()


def test_secrets_are_read_once(vault: Vault, containers: Containers) -> None:
    first = containers.get()
    assert containers.get() is first
    assert first.settings.mongodb_uri == "mongodb://one"
    assert vault.reads == ["catalog/settings"]


def test_a_rotation_is_noticed_and_makes_a_new_container(
    vault: Vault, containers: Containers
) -> None:
    first = containers.get()
    vault.text = json.dumps({**SECRETS, "MONGODB_URI": "mongodb://two"})
    vault.now = SECRETS_FRESH_SECONDS - 1
    assert containers.get() is first
    vault.now = SECRETS_FRESH_SECONDS
    assert containers.get().settings.mongodb_uri == "mongodb://two"


def test_without_a_rotation_the_container_stays(vault: Vault, containers: Containers) -> None:
    first = containers.get()
    vault.now = SECRETS_FRESH_SECONDS
    assert containers.get() is first
    assert len(vault.reads) == 2


@pytest.mark.parametrize("text", ["{", '{"MONGODB_URI": "wrong"}', "[]"])
def test_secrets_that_cannot_be_used_leave_the_old_ones(
    text: str, vault: Vault, containers: Containers
) -> None:
    first = containers.get()
    vault.text, vault.now = text, SECRETS_FRESH_SECONDS
    assert containers.get() is first


def test_a_process_starts_with_a_value_that_only_a_later_release_uses_and_says_so(
    vault: Vault, containers: Containers, capsys: pytest.CaptureFixture[str]
) -> None:
    vault.text = json.dumps({**SECRETS, "MONGODB_URI_PREVIOUS": "mongodb://before"})
    assert containers.get().settings.mongodb_uri == "mongodb://one"
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["level"], line["setting"]) == ("WARNING", "MONGODB_URI_PREVIOUS")
    assert "mongodb://before" not in str(line)


def test_secrets_manager_being_away_leaves_the_old_ones(
    vault: Vault, containers: Containers, capsys: pytest.CaptureFixture[str]
) -> None:
    first = containers.get()
    vault.error, vault.now = SettingsError("away"), SECRETS_FRESH_SECONDS
    assert containers.get() is first
    assert '"secrets_not_renewed":1' in capsys.readouterr().out
    # It is asked again only when the secrets would be due again.
    containers.get()
    assert len(vault.reads) == 2


def test_no_secrets_at_first_is_an_error(vault: Vault, containers: Containers) -> None:
    vault.error = SettingsError("CATALOG_SECRET_ID: cannot be read")
    with pytest.raises(SettingsError, match="CATALOG_SECRET_ID"):
        containers.get()
    vault.error = None


# ---- the rotation of the secret that signs tokens ----


def held_by(vault: Vault, **secrets: str) -> None:
    """Let the vault hold these, and two minutes pass."""
    vault.text = json.dumps({**SECRETS, **secrets})
    vault.now += SECRETS_FRESH_SECONDS


def is_good(containers: Containers, secret: str) -> bool:
    try:
        containers.get().tokens.verify(f"Bearer {a_token('products:read', secret=secret)}")
    except InvalidTokenError:
        return False
    return True


OLD, NEW = "s" * 32, "n" * 32


def test_a_rotation_of_the_token_secret_refuses_nobody_until_the_previous_one_is_removed(
    vault: Vault, containers: Containers
) -> None:
    assert [is_good(containers, OLD), is_good(containers, NEW)] == [True, False]
    held_by(vault, CATALOG_JWT_SECRET=NEW, CATALOG_JWT_SECRET_PREVIOUS=OLD)
    assert [is_good(containers, OLD), is_good(containers, NEW)] == [True, True]
    held_by(vault, CATALOG_JWT_SECRET=NEW)
    assert [is_good(containers, OLD), is_good(containers, NEW)] == [False, True]


def test_the_use_of_the_previous_secret_is_counted_and_logged_with_its_subject(
    vault: Vault, containers: Containers, capsys: pytest.CaptureFixture[str]
) -> None:
    containers.get()
    held_by(vault, CATALOG_JWT_SECRET=NEW, CATALOG_JWT_SECRET_PREVIOUS=OLD)
    until = int(time.time()) + 3 * 86_400 + 60
    containers.get().tokens.verify(f"Bearer {a_token(secret=OLD, sub='shop', exp=until)}")

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (told,) = (line for line in lines if line.get("message") == "the previous secret was used")
    assert (told["subject"], told["days_left"]) == ("shop", 3)
    assert [line["previous_secrets_used"] for line in lines if "_aws" in line] == [1]


def test_secrets_win_over_the_environment() -> None:
    settings = read_settings({**ENVIRONMENT, "MONGODB_URI": "mongodb://old"}, SECRETS)
    assert settings.mongodb_uri == "mongodb://one"


@pytest.mark.parametrize("text", ["secret", '["secret"]', '{"MONGODB_URI": 1}', '{"secret": ""}'])
def test_what_is_wrong_with_a_secret_is_told_without_its_value(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_secrets(text)
    assert "CATALOG_SECRET_ID" in str(caught.value)
    assert caught.value.__cause__ is None
