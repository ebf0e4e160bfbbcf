"""The environment: every setting's default, its reading, and what is refused, by name."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.bootstrap import Container
from chalicelib.domain.breaker import BreakerPolicy
from chalicelib.settings import (
    ROTATED,
    SECRET_NAMES,
    Settings,
    SettingsError,
    parse_secrets,
    read_settings,
    secret_id,
)
from tests.unit.conftest import ENVIRONMENT, SECRET

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
ATTRIBUTES = {
    "MONGODB_URI": "mongodb_uri",
    "MONGODB_DATABASE": "mongodb_database",
    "NATS_URL": "nats_url",
    "MONGODB_MAX_POOL_SIZE": "mongodb_max_pool_size",
    "MONGODB_MAX_IDLE_SECONDS": "mongodb_max_idle",
    "NATS_CREDENTIALS": "nats_credentials",
    "NATS_PREFIX": "nats_prefix",
    "NATS_STREAM_REPLICAS": "nats_stream_replicas",
    "NATS_CONSUMER_START": "nats_consumer_start",
    "NATS_STREAM_MAX_BYTES": "nats_stream_max_bytes",
    "SYNC_QUEUE_URL": "sync_queue_url",
    "SYNC_DLQ_URL": "sync_dlq_url",
    "SYNC_BULK_QUEUE_URL": "sync_bulk_queue_url",
    "SUPPLY_CHAIN_URL": "supply_chain_url",
    "SUPPLY_CHAIN_TIMEOUT_SECONDS": "supply_chain_timeout",
    "SUPPLY_CHAIN_SIGNING_SECRET": "supply_chain_signing_secret",
    "SUPPLY_CHAIN_SIGNING_SECRET_PREVIOUS": "supply_chain_signing_secret_previous",
    "SUPPLY_CHAIN_REJECT_STATUSES": "supply_chain_reject_statuses",
    "SYNC_MAX_ATTEMPTS": "sync_max_attempts",
    "SYNC_HORIZON_SECONDS": "sync_horizon",
    "SYNC_MAX_WAIT_SECONDS": "sync_max_wait",
    "SYNC_CONCURRENCY": "sync_concurrency",
    "SYNC_POLLERS": "sync_pollers",
    "SYNC_MAX_IN_FLIGHT": "sync_max_in_flight",
    "SUPPLY_CHAIN_MAX_RATE": "max_rate",
    "BREAKER_FAILURES": "breaker_failures",
    "BREAKER_PRODUCTS": "breaker_products",
    "BREAKER_SHARE": "breaker_share",
    "BREAKER_WINDOW_SECONDS": "breaker_window",
    "BREAKER_PROBE_SECONDS": "breaker_probe",
    "BREAKER_SUCCESSES": "breaker_successes",
    "BREAKER_RAMP_RATE": "breaker_ramp_rate",
    "BREAKER_RAMP_STEP_SECONDS": "breaker_ramp_step",
    "RECONCILE_GRACE_SECONDS": "reconcile_grace",
    "AUDIT_SAMPLE": "audit_sample",
    "AUDIT_MAX_RATE": "audit_max_rate",
    "REPUBLISH_MAX_RATE": "republish_max_rate",
    "AUDIT_REPAIR": "audit_repair",
    "CATALOG_MODE": "mode",
    "CATALOG_JWT_SECRET": "jwt_secret",
    "CATALOG_JWT_SECRET_PREVIOUS": "jwt_secret_previous",
    "CATALOG_JWKS_URL": "jwks_url",
    "CATALOG_JWT_ISSUER": "jwt_issuer",
    "CATALOG_JWT_AUDIENCE": "jwt_audience",
    "LOG_LEVEL": "log_level",
    "API_HOST": "api_host",
    "PORT": "api_port",
    "AWS_XRAY_DAEMON_ADDRESS": "xray_daemon",
    "METRICS_NAMESPACE": "metrics_namespace",
    "METRICS_PORT": "metrics_port",
}
DEFAULTS: dict[str, object] = {
    "MONGODB_DATABASE": "catalog",
    "MONGODB_MAX_POOL_SIZE": 10,
    "MONGODB_MAX_IDLE_SECONDS": 300.0,
    "NATS_CREDENTIALS": None,
    "NATS_PREFIX": None,
    "NATS_STREAM_REPLICAS": 1,
    "NATS_CONSUMER_START": "all",
    "NATS_STREAM_MAX_BYTES": None,
    "SYNC_BULK_QUEUE_URL": None,
    "SUPPLY_CHAIN_TIMEOUT_SECONDS": 10.0,
    "SUPPLY_CHAIN_SIGNING_SECRET": None,
    "SUPPLY_CHAIN_SIGNING_SECRET_PREVIOUS": None,
    "SUPPLY_CHAIN_REJECT_STATUSES": {413, 422},
    "SYNC_MAX_ATTEMPTS": 18,
    "SYNC_HORIZON_SECONDS": 259_200.0,
    "SYNC_MAX_WAIT_SECONDS": 39_600.0,
    "SYNC_CONCURRENCY": 10,
    "SYNC_POLLERS": 4,
    "SYNC_MAX_IN_FLIGHT": 60_000,
    "SUPPLY_CHAIN_MAX_RATE": None,
    "BREAKER_FAILURES": 10,
    "BREAKER_PRODUCTS": 5,
    "BREAKER_SHARE": 0.8,
    "BREAKER_WINDOW_SECONDS": 30.0,
    "BREAKER_PROBE_SECONDS": 2.0,
    "BREAKER_SUCCESSES": 3,
    "BREAKER_RAMP_RATE": 20.0,
    "BREAKER_RAMP_STEP_SECONDS": 5.0,
    "RECONCILE_GRACE_SECONDS": 300.0,
    "AUDIT_SAMPLE": 20,
    "AUDIT_MAX_RATE": 10.0,
    "REPUBLISH_MAX_RATE": 500.0,
    "AUDIT_REPAIR": True,
    "CATALOG_JWT_SECRET_PREVIOUS": None,
    "CATALOG_MODE": "normal",
    "CATALOG_JWKS_URL": None,
    "CATALOG_JWT_ISSUER": None,
    "CATALOG_JWT_AUDIENCE": None,
    "LOG_LEVEL": "INFO",
    "API_HOST": "127.0.0.1",
    "PORT": 8000,
    "AWS_XRAY_DAEMON_ADDRESS": None,
    "METRICS_NAMESPACE": "ProductCatalog",
    "METRICS_PORT": None,
}
REQUIRED = ["MONGODB_URI", "NATS_URL", "SYNC_QUEUE_URL", "SYNC_DLQ_URL", "SUPPLY_CHAIN_URL"]
CANARY = "hunter2-do-not-tell"
OF_A_PROVIDER = {
    "CATALOG_JWKS_URL": "https://idp/keys",
    "CATALOG_JWT_ISSUER": "https://idp",
    "CATALOG_JWT_AUDIENCE": "catalog",
}


def read(**changes: str) -> Settings:
    return read_settings({**ENVIRONMENT, **changes})


def value_of(name: str, settings: Settings) -> Any:  # noqa: ANN401 - any setting
    return getattr(settings, ATTRIBUTES[name])


def refused(environment: Mapping[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        read_settings(environment)
    return str(caught.value)


def test_every_setting_is_in_these_tests() -> None:
    aliases = {field.alias: name for name, field in Settings.model_fields.items()}
    assert aliases == ATTRIBUTES
    assert {*DEFAULTS, *REQUIRED, "CATALOG_JWT_SECRET"} == ATTRIBUTES.keys()


def test_every_setting_is_documented() -> None:
    text = (ROOT / "README.md").read_text()
    assert [name for name in ATTRIBUTES if f"`{name}`" not in text] == []


def test_terraform_passes_settings_that_exist_with_their_own_defaults() -> None:
    variables = (ROOT / "terraform/modules/catalog/variables.tf").read_text()
    passed = re.findall(
        r"(\w+) += tostring\(var\.(sync|breaker|audit)\.(\w+)\)",
        (ROOT / "terraform/modules/catalog/main.tf").read_text(),
    )
    for name, group, field in passed:
        block = variables.partition(f'variable "{group}"')[2]
        found = re.search(rf"\b{field} += optional\((?:number|bool), ([\w.]+)\)", block)
        assert found is not None, name
        assert json.loads(found[1]) == DEFAULTS[name], name
    tuned = {name for name in DEFAULTS if name.startswith(("AUDIT_", "BREAKER_", "SYNC_MAX_"))}
    assert tuned <= {name for name, _, _ in passed}


@pytest.mark.parametrize(("name", "default"), DEFAULTS.items())
def test_an_optional_setting_has_its_default(name: str, default: object) -> None:
    assert value_of(name, read()) == default


@pytest.mark.parametrize("name", DEFAULTS)
def test_an_empty_variable_counts_as_unset(name: str) -> None:
    assert read(**{name: ""}) == read()


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [None, ""])
def test_a_required_setting_that_is_missing_is_named(name: str, value: str | None) -> None:
    rest = {key: text for key, text in ENVIRONMENT.items() if key != name}
    message = refused(rest if value is None else {**rest, name: value})
    assert message.startswith(f"{name}: ")
    assert ";" not in message


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("MONGODB_URI", "mongodb+srv://u:p@host/x?w=1", "mongodb+srv://u:p@host/x?w=1"),
        ("MONGODB_DATABASE", "other", "other"),
        ("NATS_URL", "tls://a:4222,tls://b:4222", "tls://a:4222,tls://b:4222"),
        ("NATS_URL", "nats://u:p@a:4222 , nats://b", "nats://u:p@a:4222 , nats://b"),
        ("NATS_CREDENTIALS", "/etc/nats.creds", "/etc/nats.creds"),
        ("NATS_PREFIX", "staging-2", "staging-2"),
        ("NATS_STREAM_REPLICAS", "3", 3),
        ("NATS_STREAM_REPLICAS", "5", 5),
        ("NATS_CONSUMER_START", "new", "new"),
        ("NATS_CONSUMER_START", "2026-01-31T13:00:00+01:00", "2026-01-31T12:00:00.000Z"),
        ("MONGODB_MAX_POOL_SIZE", "100", 100),
        ("MONGODB_MAX_IDLE_SECONDS", "60", 60.0),
        ("NATS_STREAM_MAX_BYTES", "1000000000", 1_000_000_000),
        ("SYNC_QUEUE_URL", "https://sqs/1/q", "https://sqs/1/q"),
        ("SYNC_DLQ_URL", "https://sqs/1/d", "https://sqs/1/d"),
        ("SYNC_BULK_QUEUE_URL", "https://sqs/1/b", "https://sqs/1/b"),
        ("SUPPLY_CHAIN_URL", "https://chain/v1", "https://chain/v1"),
        ("SUPPLY_CHAIN_TIMEOUT_SECONDS", "0.5", 0.5),
        ("SUPPLY_CHAIN_TIMEOUT_SECONDS", "120", 120.0),
        ("SUPPLY_CHAIN_SIGNING_SECRET", "whsec_c2VjcmV0", "whsec_c2VjcmV0"),
        ("SUPPLY_CHAIN_SIGNING_SECRET", "c2VjcmV0", "c2VjcmV0"),
        # The library does without padding, and so do its key generators.
        ("SUPPLY_CHAIN_SIGNING_SECRET", "whsec_YWJjZA", "whsec_YWJjZA"),
        ("SUPPLY_CHAIN_REJECT_STATUSES", "400", {400}),
        ("SUPPLY_CHAIN_REJECT_STATUSES", " 400, 409 ,599", {400, 409, 599}),
        ("SYNC_MAX_ATTEMPTS", "8", 8),
        ("SYNC_HORIZON_SECONDS", "20.5", 20.5),
        ("SYNC_MAX_WAIT_SECONDS", "42300", 42_300.0),
        ("SYNC_CONCURRENCY", "100", 100),
        ("SYNC_POLLERS", "100", 100),
        ("SYNC_MAX_IN_FLIGHT", "1", 1),
        ("SYNC_MAX_IN_FLIGHT", "120000", 120_000),
        ("SUPPLY_CHAIN_MAX_RATE", "0.01", 0.01),
        ("BREAKER_FAILURES", "1", 1),
        ("BREAKER_PRODUCTS", "2", 2),
        ("BREAKER_SHARE", "1", 1.0),
        ("BREAKER_WINDOW_SECONDS", "600", 600.0),
        ("BREAKER_PROBE_SECONDS", "1", 1.0),
        ("BREAKER_SUCCESSES", "100", 100),
        ("BREAKER_RAMP_RATE", "0.1", 0.1),
        ("BREAKER_RAMP_STEP_SECONDS", "600", 600.0),
        ("RECONCILE_GRACE_SECONDS", "0.5", 0.5),
        ("AUDIT_SAMPLE", "0", 0),
        ("AUDIT_MAX_RATE", "0.01", 0.01),
        ("AUDIT_REPAIR", "false", False),
        ("AUDIT_REPAIR", "true", True),
        ("CATALOG_MODE", "restore", "restore"),
        ("CATALOG_JWT_SECRET", "y" * 32, "y" * 32),
        ("CATALOG_JWT_SECRET_PREVIOUS", "y" * 32, "y" * 32),
        ("CATALOG_JWT_ISSUER", "https://idp/", "https://idp/"),
        ("CATALOG_JWT_AUDIENCE", "catalog", "catalog"),
        ("LOG_LEVEL", "DEBUG", "DEBUG"),
        ("LOG_LEVEL", "CRITICAL", "CRITICAL"),
        ("API_HOST", "0.0.0.0", "0.0.0.0"),  # noqa: S104 - only read, never bound
        ("PORT", "65535", 65_535),
        ("METRICS_PORT", "9100", 9100),
        ("AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1:2000", "127.0.0.1:2000"),
        ("METRICS_NAMESPACE", "Staging", "Staging"),
    ],
)
def test_a_setting_is_read(name: str, text: str, value: object) -> None:
    # A short horizon needs no long waits: eight attempts fit into the others' defaults too.
    more = {"SYNC_HORIZON_SECONDS": "1000"} if name == "SYNC_MAX_ATTEMPTS" else {}
    assert value_of(name, read(**{**more, name: text})) == value


WRONG = [
    ("MONGODB_URI", "http://host"),
    ("MONGODB_URI", "host:27017"),
    ("NATS_URL", "http://host"),
    # That would take a library more.
    ("NATS_URL", "wss://host"),
    ("NATS_URL", "nats://a,b"),
    ("NATS_URL", "nats://a,"),
    ("NATS_STREAM_MAX_BYTES", "0"),
    ("NATS_STREAM_REPLICAS", "2"),
    ("NATS_STREAM_REPLICAS", "7"),
    ("NATS_PREFIX", "a.b"),
    ("NATS_PREFIX", "*"),
    ("NATS_CONSUMER_START", "yesterday"),
    ("NATS_CONSUMER_START", "2026-01-31T12:00:00"),
    ("MONGODB_MAX_POOL_SIZE", "0"),
    ("MONGODB_MAX_POOL_SIZE", "1001"),
    ("MONGODB_MAX_IDLE_SECONDS", "0"),
    ("SYNC_QUEUE_URL", "product-sync"),
    ("SYNC_QUEUE_URL", "ftp://host/q"),
    ("SYNC_DLQ_URL", "https://a b"),
    ("SYNC_BULK_QUEUE_URL", "product-sync-bulk"),
    ("SUPPLY_CHAIN_URL", "https://"),
    ("SUPPLY_CHAIN_URL", "https://host\n"),
    ("SUPPLY_CHAIN_TIMEOUT_SECONDS", "soon"),
    ("SUPPLY_CHAIN_TIMEOUT_SECONDS", "0"),
    ("SUPPLY_CHAIN_TIMEOUT_SECONDS", "-1"),
    ("SUPPLY_CHAIN_TIMEOUT_SECONDS", "121"),
    ("SUPPLY_CHAIN_TIMEOUT_SECONDS", "nan"),
    ("SUPPLY_CHAIN_TIMEOUT_SECONDS", "inf"),
    ("SUPPLY_CHAIN_REJECT_STATUSES", "422;413"),
    ("SUPPLY_CHAIN_REJECT_STATUSES", "422,"),
    ("SUPPLY_CHAIN_REJECT_STATUSES", "200"),
    ("SUPPLY_CHAIN_REJECT_STATUSES", "600"),
    ("SYNC_MAX_ATTEMPTS", "0"),
    ("SYNC_MAX_ATTEMPTS", "1001"),
    ("SYNC_MAX_ATTEMPTS", "18.5"),
    ("SYNC_HORIZON_SECONDS", "0"),
    ("SYNC_HORIZON_SECONDS", "three days"),
    ("SYNC_HORIZON_SECONDS", "nan"),
    ("SYNC_MAX_WAIT_SECONDS", "0"),
    # SQS has no visibility timeout that long.
    ("SYNC_MAX_WAIT_SECONDS", "43200"),
    ("SYNC_CONCURRENCY", "0"),
    ("SYNC_CONCURRENCY", "101"),
    ("SYNC_POLLERS", "0"),
    ("SYNC_POLLERS", "101"),
    ("SYNC_MAX_IN_FLIGHT", "0"),
    # SQS's limit.
    ("SYNC_MAX_IN_FLIGHT", "120001"),
    ("SUPPLY_CHAIN_MAX_RATE", "1e-300"),
    ("SUPPLY_CHAIN_MAX_RATE", "fast"),
    ("SUPPLY_CHAIN_MAX_RATE", "nan"),
    ("SUPPLY_CHAIN_MAX_RATE", "inf"),
    ("BREAKER_FAILURES", "0"),
    # One product alone does not say that the supply chain is down.
    ("BREAKER_PRODUCTS", "1"),
    ("BREAKER_PRODUCTS", "1001"),
    ("BREAKER_SHARE", "0"),
    ("BREAKER_SHARE", "1.1"),
    ("BREAKER_WINDOW_SECONDS", "0.5"),
    ("BREAKER_WINDOW_SECONDS", "601"),
    ("BREAKER_PROBE_SECONDS", "0.5"),
    ("BREAKER_PROBE_SECONDS", "601"),
    ("BREAKER_SUCCESSES", "0"),
    ("BREAKER_SUCCESSES", "101"),
    ("BREAKER_RAMP_RATE", "0"),
    ("BREAKER_RAMP_RATE", "inf"),
    ("BREAKER_RAMP_STEP_SECONDS", "0.5"),
    ("BREAKER_RAMP_STEP_SECONDS", "601"),
    ("RECONCILE_GRACE_SECONDS", "0"),
    ("RECONCILE_GRACE_SECONDS", "five minutes"),
    ("AUDIT_SAMPLE", "-1"),
    ("AUDIT_SAMPLE", "1001"),
    ("AUDIT_MAX_RATE", "0"),
    ("REPUBLISH_MAX_RATE", "0"),
    ("AUDIT_REPAIR", "maybe"),
    ("CATALOG_MODE", "read-only"),
    ("CATALOG_JWT_SECRET", "x" * 31),
    ("CATALOG_JWT_SECRET_PREVIOUS", "x" * 31),
    ("CATALOG_JWKS_URL", "file:///etc/passwd"),
    ("LOG_LEVEL", "LOUD"),
    ("LOG_LEVEL", "info"),
    ("PORT", "0"),
    ("PORT", "65536"),
    ("PORT", "http"),
    ("METRICS_PORT", "0"),
    ("METRICS_PORT", "http"),
]


@pytest.mark.parametrize(("name", "text"), WRONG)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(name: str, text: str) -> None:
    assert refused({**ENVIRONMENT, name: text}).startswith(name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("RECONCILE_GRACE_SECONDS", "inf"),
        ("RECONCILE_GRACE_SECONDS", "1e300"),
        ("SYNC_HORIZON_SECONDS", "inf"),
        ("SYNC_HORIZON_SECONDS", "1e300"),
    ],
)
def test_a_duration_that_no_clock_can_add_is_refused(name: str, text: str) -> None:
    assert name in refused({**ENVIRONMENT, "SYNC_MAX_ATTEMPTS": "1", name: text})


@pytest.mark.parametrize("suffix", ["", "_PREVIOUS"])
@pytest.mark.parametrize("secret", ["whsec_", "whsec_a", "!!", "\u00e9\u00e9\u00e9\u00e9"])
def test_a_signing_secret_that_cannot_sign_is_refused(secret: str, suffix: str) -> None:
    name = f"SUPPLY_CHAIN_SIGNING_SECRET{suffix}"
    assert refused({**ENVIRONMENT, name: secret}).startswith(f"{name}: must be base64")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MONGODB_URI", f"mongo://user:{CANARY}@host"),
        ("NATS_URL", f"http://user:{CANARY}@host"),
        ("SUPPLY_CHAIN_URL", f"user:{CANARY}@host"),
        ("SUPPLY_CHAIN_SIGNING_SECRET", f"{CANARY}\u00e9"),
        ("CATALOG_JWT_SECRET", CANARY),
        ("CATALOG_JWT_SECRET_PREVIOUS", CANARY),
        ("SUPPLY_CHAIN_SIGNING_SECRET_PREVIOUS", f"{CANARY}\u00e9"),
        ("PORT", CANARY),
        ("METRICS_PORT", CANARY),
        ("SUPPLY_CHAIN_REJECT_STATUSES", CANARY),
        ("LOG_LEVEL", CANARY),
    ],
)
def test_a_refusal_does_not_tell_the_value(name: str, text: str) -> None:
    assert CANARY not in refused({**ENVIRONMENT, name: text})


def test_a_refusal_does_not_show_other_settings_on_its_chain() -> None:
    with pytest.raises(SettingsError) as caught:
        read(PORT="0", SUPPLY_CHAIN_SIGNING_SECRET=CANARY)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (
            "MONGODB_URI",
            "host:27017",
            "must look like mongodb+srv://user:password@cluster.example.net",
        ),
        (
            "MONGODB_URI",
            "",
            "is required, for example mongodb+srv://user:password@cluster.example.net",
        ),
        ("SUPPLY_CHAIN_URL", "ftp://host", "must look like https://supply-chain.example.com"),
        ("LOG_LEVEL", "LOUD", "must be one of 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'"),
        ("PORT", "http", "must be a whole number"),
        ("SYNC_HORIZON_SECONDS", "3 days", "must be a number"),
        ("SYNC_HORIZON_SECONDS", "0", "must be more than 0"),
        ("SYNC_HORIZON_SECONDS", "1209601", "must be 1209600 or less"),
        ("BREAKER_PRODUCTS", "1", "must be 2 or more"),
        ("CATALOG_JWT_SECRET", CANARY, "must have 32 characters or more"),
        ("SUPPLY_CHAIN_REJECT_STATUSES", "x,y", "each must be a whole number"),
        ("SUPPLY_CHAIN_SIGNING_SECRET", "!", "must be base64, with or without whsec_ before it"),
        (
            "SYNC_BULK_QUEUE_URL",
            ENVIRONMENT["SYNC_QUEUE_URL"],
            "must be another queue than the two others",
        ),
    ],
)
def test_a_refusal_says_what_would_be_right(name: str, text: str, told: str) -> None:
    assert refused({**ENVIRONMENT, name: text}) == f"{name}: {told}"


def test_each_setting_with_a_pattern_has_an_example_that_is_accepted() -> None:
    fields = Settings.model_fields.values()
    shown = {str(field.alias): field.examples[0] for field in fields if field.examples}
    assert shown.keys() >= {name for name, _ in WRONG if name.endswith(("_URI", "_URL"))}
    rest = {"CATALOG_JWT_ISSUER": "https://idp", "CATALOG_JWT_AUDIENCE": "catalog"}
    assert all(value_of(name, read(**rest, **{name: text})) == text for name, text in shown.items())


def test_all_faults_are_told_at_once() -> None:
    message = refused({**ENVIRONMENT, "PORT": "0", "LOG_LEVEL": "LOUD"})
    assert "PORT: " in message
    assert "LOG_LEVEL: " in message


def test_waits_that_cannot_span_the_horizon_are_refused() -> None:
    message = refused({**ENVIRONMENT, "SYNC_MAX_WAIT_SECONDS": "600"})
    names = ("SYNC_MAX_ATTEMPTS", "SYNC_HORIZON_SECONDS", "SYNC_MAX_WAIT_SECONDS")
    assert all(name in message for name in names)


@pytest.mark.parametrize("other", ["SYNC_QUEUE_URL", "SYNC_DLQ_URL"])
def test_the_bulk_queue_must_be_another_queue(other: str) -> None:
    message = refused({**ENVIRONMENT, "SYNC_BULK_QUEUE_URL": ENVIRONMENT[other]})
    assert "SYNC_BULK_QUEUE_URL" in message


def test_the_metrics_need_a_port_of_their_own() -> None:
    message = refused({**ENVIRONMENT, "PORT": "8123", "METRICS_PORT": "8123"})
    assert "METRICS_PORT: must be another port than PORT" in message


def test_a_way_to_check_tokens_is_required() -> None:
    message = refused({**ENVIRONMENT, "CATALOG_JWT_SECRET": ""})
    assert "CATALOG_JWT_SECRET" in message
    assert "CATALOG_JWKS_URL" in message


def test_keys_of_an_identity_provider_are_enough() -> None:
    settings = read(CATALOG_JWT_SECRET="", **OF_A_PROVIDER)
    assert (settings.jwt_secret, settings.jwks_url) == (None, "https://idp/keys")


@pytest.mark.parametrize("missing", ["CATALOG_JWT_ISSUER", "CATALOG_JWT_AUDIENCE"])
def test_keys_of_an_identity_provider_need_an_issuer_and_an_audience(missing: str) -> None:
    message = refused({**ENVIRONMENT, **OF_A_PROVIDER, missing: ""})
    assert message.startswith("CATALOG_JWT_ISSUER and CATALOG_JWT_AUDIENCE: both are required")
    assert "set them to `iss` and `aud` of its tokens" in message


@pytest.mark.parametrize("name", ROTATED)
def test_a_previous_secret_needs_the_one_that_follows_it(name: str) -> None:
    others = {**ENVIRONMENT, **OF_A_PROVIDER, "CATALOG_JWT_SECRET": ""}
    message = refused({**others, f"{name}_PREVIOUS": "c2VjcmV0" * 4})
    assert message == f"{name}_PREVIOUS: {name} is required with it"


@pytest.mark.parametrize(
    ("given", "signing"),
    [
        ({}, ()),
        ({"SUPPLY_CHAIN_SIGNING_SECRET": "bmV3"}, ("bmV3",)),
        (
            {"SUPPLY_CHAIN_SIGNING_SECRET": "bmV3", "SUPPLY_CHAIN_SIGNING_SECRET_PREVIOUS": "b2xk"},
            ("bmV3", "b2xk"),
        ),
    ],
)
def test_calls_are_signed_with_each_secret_the_current_one_first(
    given: dict[str, str], signing: tuple[str, ...]
) -> None:
    assert read(**given).signing_secrets == signing


def test_other_variables_do_not_matter() -> None:
    assert read(HOME="/", jwt_secret="x", port="1") == read()


# ---- names ----


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("SYNC_MAX_ATTEMTPS", "SYNC_MAX_ATTEMPTS"),
        ("BREAKER_SHARES", "BREAKER_SHARE"),
        ("CATALOG_SECRETS_ID", "CATALOG_SECRET_ID"),
        ("MONGODB_URL", "MONGODB_URI"),
        ("NATS_CREDENTIAL", "NATS_CREDENTIALS"),
    ],
)
def test_a_misspelt_setting_is_refused_with_the_one_that_is_meant(name: str, nearest: str) -> None:
    message = refused({**ENVIRONMENT, name: CANARY})
    assert message == f"{name}: there is no such setting; is {nearest} meant?"


def test_another_variable_with_a_prefix_of_ours_is_refused() -> None:
    told = "SUPPLY_CHAIN_TIMEOUT: there is no such setting; the nearest is "
    assert refused({**ENVIRONMENT, "SUPPLY_CHAIN_TIMEOUT": "3"}).startswith(told)
    told = "BREAKER_XYZZY_QUUX: there is no such setting; they are listed in README.md"
    assert refused({**ENVIRONMENT, "BREAKER_XYZZY_QUUX": "3"}) == told


def test_an_unknown_name_is_told_with_the_other_faults() -> None:
    message = refused({**ENVIRONMENT, "PORT": "0", "SYNC_POLLER": "3"})
    assert [part.split(":")[0] for part in message.split("; ")][:2] == ["PORT", "SYNC_POLLER"]


@pytest.mark.parametrize(
    "name",
    [
        # Kubernetes sets these for Services named sync, nats, mongodb, supply-chain, catalog.
        "SYNC_SERVICE_HOST",
        "SYNC_PORT",
        "SYNC_PORT_8000_TCP",
        "SYNC_PORT_8000_TCP_ADDR",
        "NATS_SERVICE_PORT",
        "NATS_PORT_4222_UDP_PROTO",
        "MONGODB_PORT_27017_TCP_PORT",
        "SUPPLY_CHAIN_SERVICE_PORT_HTTP",
        "CATALOG_SERVICE_PORT",
        # Read by another program of ours.
        "CATALOG_API",
        "CATALOG_TOKEN",
        "CATALOG_SECRET_ID",
        "SUPPLY_CHAIN_FAILURE_RATE",
        # Of the tools of NATS and Atlas.
        "NATS_CONTEXT",
        "NATS_CREDS",
        "NATS_USER",
        "MONGODB_ATLAS_PROJECT_ID",
    ],
)
def test_a_variable_of_a_platform_or_of_another_program_does_not_matter(name: str) -> None:
    assert read(**{name: "x"}) == read()


def test_an_unknown_variable_that_is_empty_counts_as_unset() -> None:
    assert read(SYNC_MAX_ATTEMTPS="") == read()


# ---- the whole ----


def test_the_breaker_has_the_policy_of_the_settings() -> None:
    settings = read(BREAKER_SHARE="0.5", SUPPLY_CHAIN_MAX_RATE="7")
    assert (settings.breaker.share, settings.breaker.max_rate) == (0.5, 7.0)
    # A worker that has died during its probe holds its lease as long.
    assert settings.breaker.probe_within == settings.lease_seconds


def test_the_breaker_has_its_own_defaults() -> None:
    settings = read()
    assert settings.breaker == BreakerPolicy(probe_within=settings.lease_seconds)


@pytest.mark.parametrize("timeout", ["0.1", "10", "120"])
def test_a_lease_outlives_the_longest_call(timeout: str) -> None:
    settings = read(SUPPLY_CHAIN_TIMEOUT_SECONDS=timeout)
    # The upsert and the question after a conflict; then the result is to be written.
    assert settings.lease_seconds >= 2 * settings.supply_chain_timeout + 10


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read().api_port = 1  # type: ignore[misc]  # that is what is tested


def test_without_an_argument_the_process_environment_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ATTRIBUTES:
        monkeypatch.delenv(name, raising=False)
    for name, text in {**ENVIRONMENT, "PORT": "8123"}.items():
        monkeypatch.setenv(name, text)
    assert (read_settings().api_port, read_settings().jwt_secret) == (8123, SECRET)


# ---- secrets ----


def test_a_secret_wins_over_the_environment() -> None:
    settings = read_settings(ENVIRONMENT, secrets={"CATALOG_JWT_SECRET": "z" * 32})
    assert settings.jwt_secret == "z" * 32


def test_a_required_setting_may_come_from_the_secrets() -> None:
    rest = {name: text for name, text in ENVIRONMENT.items() if name != "MONGODB_URI"}
    settings = read_settings(rest, secrets={"MONGODB_URI": "mongodb://secret"})
    assert settings.mongodb_uri == "mongodb://secret"


def test_a_wrong_secret_is_named_and_not_told() -> None:
    with pytest.raises(SettingsError, match=r"^CATALOG_JWT_SECRET: ") as caught:
        read_settings(ENVIRONMENT, secrets={"CATALOG_JWT_SECRET": CANARY})
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(("text", "name"), [("prod/catalog", "prod/catalog"), ("", None)])
def test_the_name_of_the_secret_is_a_variable(text: str, name: str | None) -> None:
    assert secret_id({"CATALOG_SECRET_ID": text}) == name
    assert secret_id({}) is None


def test_the_secret_is_a_json_object_of_settings() -> None:
    secrets = dict.fromkeys(SECRET_NAMES, "x")
    assert parse_secrets(json.dumps(secrets)) == secrets
    assert {f"{name}_PREVIOUS" for name in ROTATED} < SECRET_NAMES


@pytest.mark.parametrize(
    "text",
    [
        CANARY,
        f'"{CANARY}"',
        f'["{CANARY}"]',
        f'{{"MONGODB_URI": "{CANARY}", "NATS_CREDENTIALS": 5}}',
        f'{{"PORT": "{CANARY}"}}',
        f'{{"MONGODB_URI": "{CANARY}"',
        "",
    ],
)
def test_a_secret_of_another_form_is_refused_and_not_told(text: str) -> None:
    with pytest.raises(SettingsError, match="CATALOG_SECRET_ID") as caught:
        parse_secrets(text)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("name", ["MONGODB_URI_PREVIOUS", "NATS_CREDENTIALS_PREVIOUS"])
def test_a_value_of_before_that_only_a_later_release_rotates_is_left_out_where_that_is_told(
    name: str,
) -> None:
    told: list[str] = []
    text = json.dumps({"MONGODB_URI": "x", name: CANARY})
    assert parse_secrets(text, told.append) == {"MONGODB_URI": "x"}
    assert told == [name]
    with pytest.raises(SettingsError, match=f"must not hold {name}"):
        parse_secrets(text)


@pytest.mark.parametrize(
    "name", ["CATALOG_JWT_SECERT", "CATALOG_JWT_SECERT_PREVIOUS", "PORT_PREVIOUS", "_PREVIOUS"]
)
def test_a_name_that_may_be_misspelt_is_refused_beside_one_that_is_left_out(name: str) -> None:
    told: list[str] = []
    with pytest.raises(SettingsError, match=f"must not hold {name}$"):
        parse_secrets(json.dumps({name: "x", "MONGODB_URI_PREVIOUS": "x"}), told.append)
    assert told == []


def test_what_is_accepted_makes_a_container() -> None:
    parts = Container(read(SUPPLY_CHAIN_SIGNING_SECRET="whsec_c2VjcmV0"))
    made = [parts.supply_chain, parts.tokens, parts.sync, parts.bridge, parts.reconcile]
    assert all(part is not None for part in made)
    assert math.isclose(parts.settings.reconcile_grace, 300)
