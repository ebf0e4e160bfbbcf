"""`catalogctl token`: tokens of single scopes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import jwt
import pytest
import simplejson

from tests.unit.catalogctl.conftest import NOON

if TYPE_CHECKING:
    from tests.support import Json
    from tests.unit.catalogctl.conftest import Run

SECRET = "a secret of at least thirty-two characters"


def claims_of(token: str, secret: str = SECRET) -> Json:
    options: jwt.types.Options = {"verify_exp": False, "verify_aud": False}
    return jwt.decode(token.strip(), secret, algorithms=["HS256"], options=options)


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CATALOG_JWT_SECRET", SECRET)


@pytest.mark.usefixtures("secret")
def test_a_token_has_the_scopes_that_were_asked_for_and_no_other(run: Run) -> None:
    ended = run("token", "--scope", "products:read")
    assert claims_of(ended.stdout) == {
        "sub": "operator",
        "scope": "products:read",
        "exp": int(NOON.timestamp()) + 3600,
    }


@pytest.mark.usefixtures("secret")
def test_json_says_what_the_token_holds(run: Run) -> None:
    ended = run(
        *("token", "--scope", "products:write", "--scope", "sync:admin"),
        *("--ttl", "30d", "--subject", "alice", "--json"),
    )
    told = simplejson.loads(ended.stdout)
    claims = claims_of(told.pop("token"))
    assert told == {
        "scope": "products:write sync:admin",
        "sub": "alice",
        "exp": "2026-12-29T12:00:00.000Z",
    }
    assert (claims["scope"], claims["sub"]) == (told["scope"], told["sub"])


@pytest.mark.usefixtures("secret")
def test_a_token_names_the_issuer_and_the_audience_that_the_api_asks_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATALOG_JWT_ISSUER", "https://idp")
    monkeypatch.setenv("CATALOG_JWT_AUDIENCE", "catalog")
    claims = claims_of(run("token", "--scope", "sync:admin").stdout)
    assert (claims["iss"], claims["aud"]) == ("https://idp", "catalog")


def test_the_secret_of_the_embedded_stack_is_found(run: Run, tmp_path: Path) -> None:
    (tmp_path / ".run").mkdir()
    (tmp_path / ".run/stack.json").write_text(json.dumps({"jwtSecret": "s" * 32}))
    assert claims_of(run("token", "--scope", "sync:admin").stdout, "s" * 32)


def test_without_a_secret_the_remedy_is_told(run: Run) -> None:
    ended = run("token", "--scope", "sync:admin")
    assert ended.exit_code == 2
    assert "set CATALOG_JWT_SECRET" in ended.stderr
    assert "the identity provider makes the tokens" in ended.stderr


def test_a_secret_that_the_api_would_refuse_signs_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATALOG_JWT_SECRET", "short")
    ended = run("token", "--scope", "sync:admin")
    assert ended.exit_code == 2
    assert "must have 32 bytes or more" in ended.stderr


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([], "Missing option '--scope'"),
        (["--scope", "everything"], "'everything' is not one of"),
        (["--scope", "sync:admin", "--ttl", "long"], "must be a span such as 90s"),
    ],
)
def test_wrong_usage_ends_with_2(run: Run, options: list[str], text: str) -> None:
    ended = run("token", *options)
    assert ended.exit_code == 2
    assert text in ended.stderr
