"""The environment, read once into a frozen, validated object. The only reader of os.environ."""

from __future__ import annotations

import base64
import difflib
import json
import os
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from chalicelib.domain.breaker import BreakerPolicy
from chalicelib.domain.events import StreamNames
from chalicelib.domain.retry import (
    LONGEST_WAIT_SECONDS,
    QUEUE_RETENTION_SECONDS,
    SQS_MAX_IN_FLIGHT,
    waits,
)
from chalicelib.domain.times import rfc3339

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Url = Annotated[str, Field(pattern=r"^https?://[^\s]+$")]
Text = Annotated[str, Field(min_length=1)]
_NATS_SERVER = r"(nats|tls)://[^\s,]+"
_QUEUES = "https://sqs.eu-central-1.amazonaws.com/123456789012"
Rate = Annotated[float, Field(ge=0.01, le=100_000)]
"""Calls per second."""

LEASE_SLACK_SECONDS = 15
"""Added to a lease for the DNS look-up, for waiting for a thread, and for clocks that differ.

The look-up is the only step of a call that its deadline cannot end, since `getaddrinfo` takes no
time-out. Nothing is sent if it ends after the deadline.
"""

ROTATED = ("CATALOG_JWT_SECRET", "SUPPLY_CHAIN_SIGNING_SECRET")
"""The settings that have a `…_PREVIOUS`: the value of before, which counts too in a rotation."""
SECRET_NAMES = frozenset(
    {"MONGODB_URI", "NATS_CREDENTIALS", *ROTATED, *(f"{name}_PREVIOUS" for name in ROTATED)}
)
"""The settings that may come from one secret of Secrets Manager instead of the environment."""

OWN_PREFIXES = (
    "SYNC_",
    "SUPPLY_CHAIN_",
    "BREAKER_",
    "RECONCILE_",
    "CATALOG_",
    "AUDIT_",
    "REPUBLISH_",
)
"""A variable with one of these is ours: one that nobody reads is refused."""
SHARED_PREFIXES = ("MONGODB_", "NATS_")
"""Tools of these servers have variables of their own with these; ours misspelt is refused."""
READ_ELSEWHERE = frozenset(
    {"CATALOG_SECRET_ID", "CATALOG_API", "CATALOG_TOKEN", "SUPPLY_CHAIN_FAILURE_RATE"}
)
"""Read by `secret_id`, by catalogctl, and by the embedded stack."""
MISSPELT = 0.85
"""The similarity of two names, by difflib, from which one counts as the other misspelt."""
_SERVICE_LINK = re.compile(
    r"_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$"
)
"""What Kubernetes sets in every container for each Service of the namespace: a Service "sync" has
SYNC_SERVICE_HOST and SYNC_PORT_8000_TCP."""


class SettingsError(Exception):
    """The environment is not usable; the text names each variable and what is wrong with it."""


def _statuses(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _signing_secret(value: str | None) -> str | None:
    """Check the form of Standard Webhooks: base64, with or without `whsec_` before it."""
    text = (value or "").removeprefix("whsec_")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        key = b""
    if value is not None and not key:
        raise ValueError("must be base64, with or without whsec_ before it")
    return value


def _replicas(value: int) -> int:
    if value not in {1, 3, 5}:
        raise ValueError("must be 1, 3 or 5")
    return value


def _start(value: str) -> str:
    """Check where a consumer is to begin; give a time as NATS reads it."""
    if value in {"all", "new"}:
        return value
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ValueError("must be all, new, or a time such as 2026-01-31T12:00:00Z")
    return rfc3339(time)


class Settings(BaseModel):
    """Every setting of the catalog; the alias is the environment variable's name."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    mongodb_uri: Annotated[
        str,
        Field(
            alias="MONGODB_URI",
            pattern=r"^mongodb(\+srv)?://",
            examples=["mongodb+srv://user:password@cluster.example.net"],
        ),
    ]
    mongodb_database: Annotated[Text, Field(alias="MONGODB_DATABASE")] = "catalog"
    mongodb_max_pool_size: Annotated[int, Field(alias="MONGODB_MAX_POOL_SIZE", ge=1, le=1000)] = 10
    mongodb_max_idle: Annotated[float, Field(alias="MONGODB_MAX_IDLE_SECONDS", ge=1, le=86_400)] = (
        300.0
    )
    nats_url: Annotated[
        str,
        Field(
            alias="NATS_URL",
            pattern=rf"^{_NATS_SERVER}(\s*,\s*{_NATS_SERVER})*$",
            examples=["nats://nats.example.net:4222"],
        ),
    ]
    nats_credentials: Annotated[Text | None, Field(alias="NATS_CREDENTIALS")] = None
    nats_prefix: Annotated[
        str | None,
        Field(alias="NATS_PREFIX", pattern=r"^[A-Za-z0-9_-]{1,32}$", examples=["staging"]),
    ] = None
    nats_stream_max_bytes: Annotated[int | None, Field(alias="NATS_STREAM_MAX_BYTES", gt=0)] = None
    nats_stream_replicas: Annotated[
        int, AfterValidator(_replicas), Field(alias="NATS_STREAM_REPLICAS")
    ] = 1
    nats_consumer_start: Annotated[
        str, AfterValidator(_start), Field(alias="NATS_CONSUMER_START")
    ] = "all"
    sync_queue_url: Annotated[
        Url, Field(alias="SYNC_QUEUE_URL", examples=[f"{_QUEUES}/product-sync"])
    ]
    sync_dlq_url: Annotated[
        Url, Field(alias="SYNC_DLQ_URL", examples=[f"{_QUEUES}/product-sync-dlq"])
    ]
    sync_bulk_queue_url: Annotated[
        Url | None, Field(alias="SYNC_BULK_QUEUE_URL", examples=[f"{_QUEUES}/product-sync-bulk"])
    ] = None
    supply_chain_url: Annotated[
        Url, Field(alias="SUPPLY_CHAIN_URL", examples=["https://supply-chain.example.com"])
    ]
    supply_chain_timeout: Annotated[
        float, Field(alias="SUPPLY_CHAIN_TIMEOUT_SECONDS", gt=0, le=120)
    ] = 10.0
    supply_chain_signing_secret: Annotated[
        str | None, AfterValidator(_signing_secret), Field(alias="SUPPLY_CHAIN_SIGNING_SECRET")
    ] = None
    supply_chain_signing_secret_previous: Annotated[
        str | None,
        AfterValidator(_signing_secret),
        Field(alias="SUPPLY_CHAIN_SIGNING_SECRET_PREVIOUS"),
    ] = None
    supply_chain_reject_statuses: Annotated[
        frozenset[Annotated[int, Field(ge=300, le=599)]],
        BeforeValidator(_statuses),
        Field(alias="SUPPLY_CHAIN_REJECT_STATUSES"),
    ] = frozenset({413, 422})
    sync_max_attempts: Annotated[int, Field(alias="SYNC_MAX_ATTEMPTS", ge=1, le=100)] = 18
    sync_horizon: Annotated[
        float, Field(alias="SYNC_HORIZON_SECONDS", gt=0, le=QUEUE_RETENTION_SECONDS)
    ] = 259_200.0
    sync_max_wait: Annotated[
        float,
        Field(
            alias="SYNC_MAX_WAIT_SECONDS",
            gt=0,
            le=LONGEST_WAIT_SECONDS,
        ),
    ] = 39_600.0
    sync_concurrency: Annotated[int, Field(alias="SYNC_CONCURRENCY", ge=1, le=100)] = 10
    sync_max_in_flight: Annotated[
        int, Field(alias="SYNC_MAX_IN_FLIGHT", ge=1, le=SQS_MAX_IN_FLIGHT)
    ] = 60_000
    max_rate: Annotated[Rate | None, Field(alias="SUPPLY_CHAIN_MAX_RATE")] = None
    breaker_failures: Annotated[int, Field(alias="BREAKER_FAILURES", ge=1)] = 10
    breaker_products: Annotated[int, Field(alias="BREAKER_PRODUCTS", ge=2, le=1000)] = 5
    breaker_share: Annotated[float, Field(alias="BREAKER_SHARE", gt=0, le=1)] = 0.8
    breaker_window: Annotated[float, Field(alias="BREAKER_WINDOW_SECONDS", ge=1, le=600)] = 30.0
    breaker_probe: Annotated[float, Field(alias="BREAKER_PROBE_SECONDS", ge=1, le=600)] = 2.0
    breaker_successes: Annotated[int, Field(alias="BREAKER_SUCCESSES", ge=1, le=100)] = 3
    breaker_ramp_rate: Annotated[Rate, Field(alias="BREAKER_RAMP_RATE")] = 20.0
    breaker_ramp_step: Annotated[float, Field(alias="BREAKER_RAMP_STEP_SECONDS", ge=1, le=600)] = (
        5.0
    )
    sync_pollers: Annotated[int, Field(alias="SYNC_POLLERS", ge=1, le=100)] = 4
    reconcile_grace: Annotated[
        float, Field(alias="RECONCILE_GRACE_SECONDS", gt=0, le=QUEUE_RETENTION_SECONDS)
    ] = 300.0
    audit_sample: Annotated[int, Field(alias="AUDIT_SAMPLE", ge=0, le=1000)] = 20
    audit_max_rate: Annotated[Rate, Field(alias="AUDIT_MAX_RATE")] = 10.0
    republish_max_rate: Annotated[Rate, Field(alias="REPUBLISH_MAX_RATE")] = 500.0
    audit_repair: Annotated[bool, Field(alias="AUDIT_REPAIR")] = True
    mode: Annotated[Literal["normal", "restore"], Field(alias="CATALOG_MODE")] = "normal"
    jwt_secret: Annotated[str | None, Field(alias="CATALOG_JWT_SECRET", min_length=32)] = None
    jwt_secret_previous: Annotated[
        str | None, Field(alias="CATALOG_JWT_SECRET_PREVIOUS", min_length=32)
    ] = None
    jwks_url: Annotated[
        Url | None, Field(alias="CATALOG_JWKS_URL", examples=["https://idp.example.com/keys"])
    ] = None
    jwt_issuer: Annotated[Text | None, Field(alias="CATALOG_JWT_ISSUER")] = None
    jwt_audience: Annotated[Text | None, Field(alias="CATALOG_JWT_AUDIENCE")] = None
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], Field(alias="LOG_LEVEL")
    ] = "INFO"
    api_host: Annotated[Text, Field(alias="API_HOST")] = "127.0.0.1"
    api_port: Annotated[int, Field(alias="PORT", ge=1, le=65535)] = 8000
    metrics_port: Annotated[int | None, Field(alias="METRICS_PORT", ge=1, le=65535)] = None
    metrics_namespace: Annotated[Text, Field(alias="METRICS_NAMESPACE")] = "ProductCatalog"
    xray_daemon: Annotated[str | None, Field(alias="AWS_XRAY_DAEMON_ADDRESS")] = None

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        try:
            waits(self.sync_max_attempts, self.sync_horizon, self.sync_max_wait)
        except ValueError as error:
            names = "SYNC_MAX_ATTEMPTS, SYNC_HORIZON_SECONDS and SYNC_MAX_WAIT_SECONDS"
            raise ValueError(f"{names} do not fit together: {error}") from error
        if self.sync_bulk_queue_url in {self.sync_queue_url, self.sync_dlq_url}:
            raise ValueError("SYNC_BULK_QUEUE_URL: must be another queue than the two others")
        if self.metrics_port == self.api_port:
            raise ValueError("METRICS_PORT: must be another port than PORT")
        return self

    @model_validator(mode="after")
    def _can_judge_tokens(self) -> Self:
        if self.jwt_secret is None and self.jwks_url is None:
            raise ValueError(
                "CATALOG_JWT_SECRET or CATALOG_JWKS_URL: one of them is required, to check tokens"
            )
        if self.jwks_url and not (self.jwt_issuer and self.jwt_audience):
            raise ValueError(
                "CATALOG_JWT_ISSUER and CATALOG_JWT_AUDIENCE: both are required with"
                " CATALOG_JWKS_URL, since an identity provider signs tokens for other applications"
                " with the same keys: set them to `iss` and `aud` of its tokens for this API"
            )
        return self

    @model_validator(mode="after")
    def _has_what_follows_the_previous(self) -> Self:
        pairs = (
            (self.jwt_secret_previous, self.jwt_secret),
            (self.supply_chain_signing_secret_previous, self.supply_chain_signing_secret),
        )
        for name, (previous, current) in zip(ROTATED, pairs, strict=True):
            if previous and not current:
                raise ValueError(f"{name}_PREVIOUS: {name} is required with it")
        return self

    @property
    def restoring(self) -> bool:
        """Say whether the catalog is read-only, for a restore."""
        return self.mode == "restore"

    @property
    def stream_names(self) -> StreamNames:
        """What the stream, its subjects and the bridge's consumer are called."""
        return StreamNames.of(self.nats_prefix)

    @property
    def lease_seconds(self) -> float:
        """How long a worker may call for one product, in seconds.

        Two time-outs: that of the call, and that of the questions after it.
        """
        return 2 * self.supply_chain_timeout + LEASE_SLACK_SECONDS

    @property
    def signing_secrets(self) -> tuple[str, ...]:
        """What calls are signed with: none, one, or in a rotation two, the current one first."""
        both = (self.supply_chain_signing_secret, self.supply_chain_signing_secret_previous)
        return tuple(secret for secret in both if secret)

    @property
    def breaker(self) -> BreakerPolicy:
        """When the circuit breaker opens and closes, and the limit of calls per second."""
        return BreakerPolicy(
            failures=self.breaker_failures,
            products=self.breaker_products,
            share=self.breaker_share,
            window=self.breaker_window,
            probe_every=self.breaker_probe,
            # A worker that has died holds its lease as long.
            probe_within=self.lease_seconds,
            successes=self.breaker_successes,
            ramp_rate=self.breaker_ramp_rate,
            ramp_step=self.breaker_ramp_step,
            max_rate=self.max_rate,
        )


SETTINGS = frozenset(str(field.alias) for field in Settings.model_fields.values())
"""The names of all of them."""


def secret_id(environment: Mapping[str, str] | None = None) -> str | None:
    """Give the name or ARN of the secret in Secrets Manager, if there is one."""
    given = os.environ if environment is None else environment
    return given.get("CATALOG_SECRET_ID") or None


def cors_origin(environment: Mapping[str, str] | None = None) -> str | None:
    """Give the origin whose pages may read answers, if there is one. Needs no secret."""
    given = os.environ if environment is None else environment
    return given.get("CORS_ORIGIN") or None


def parse_secrets(text: str, on_left_out: Callable[[str], object] | None = None) -> dict[str, str]:
    """Parse the secret's value, a JSON object of settings. Raises SettingsError.

    A later release may rotate a value that this one does not rotate. With `on_left_out`, the
    `…_PREVIOUS` of a known name is left out then, and told, so that one can roll back to this
    release in the middle of a rotation. Any other unknown name is refused: it may be misspelt.
    """
    # Neither the value nor a parser's message about it may get into a log.
    try:
        content = json.loads(text)
    except ValueError:
        raise SettingsError("the secret CATALOG_SECRET_ID is not JSON") from None
    if not isinstance(content, dict) or not all(isinstance(v, str) for v in content.values()):
        raise SettingsError("the secret CATALOG_SECRET_ID is not a JSON object of strings")
    unknown = sorted(content.keys() - SECRET_NAMES)
    if refused := [name for name in unknown if on_left_out is None or not _is_of_before(name)]:
        raise SettingsError(f"the secret CATALOG_SECRET_ID must not hold {', '.join(refused)}")
    if on_left_out:
        for name in unknown:
            on_left_out(name)
    return {name: value for name, value in content.items() if name in SECRET_NAMES}


def _is_of_before(name: str) -> bool:
    return name.endswith("_PREVIOUS") and name.removesuffix("_PREVIOUS") in SECRET_NAMES


def read_settings(
    environment: Mapping[str, str] | None = None, secrets: Mapping[str, str] | None = None
) -> Settings:
    """Read and check the environment; raises SettingsError. An empty variable counts as unset.

    `secrets` (see `parse_secrets`) win over the environment.
    """
    variables = os.environ if environment is None else environment
    given = {name: text for name, text in {**variables, **(secrets or {})}.items() if text}
    problems = list(unknown_settings(given).values())
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        # Values are left out: some of them are secrets.
        faults = error.errors(include_input=False, include_url=False)
        problems = [*dict.fromkeys(map(_described, faults)), *problems]
    if problems:
        raise SettingsError("; ".join(problems)) from None
    return settings


# ---- what an error says ----


def unknown_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Give the variables that look like a setting and are none: name → what is wrong with it."""
    found = sorted(name for name in environment if name.startswith(OWN_PREFIXES + SHARED_PREFIXES))
    return {name: problem for name in found if (problem := _unknown(name))}


def _unknown(name: str) -> str | None:
    known = SETTINGS | READ_ELSEWHERE
    if name in known or _SERVICE_LINK.search(name):
        return None
    nearest = difflib.get_close_matches(name, sorted(known), n=1)
    if nearest and difflib.SequenceMatcher(None, nearest[0], name).ratio() >= MISSPELT:
        return f"{name}: there is no such setting; is {nearest[0]} meant?"
    if name.startswith(SHARED_PREFIXES):
        return None
    hint = f"the nearest is {nearest[0]}" if nearest else "they are listed in README.md"
    return f"{name}: there is no such setting; {hint}"


def _described(fault: ErrorDetails) -> str:
    """Say which setting is wrong, and what would be right. Never what its value is."""
    if not fault["loc"]:
        # Of the settings together; the text names them.
        return str(fault["ctx"]["error"])
    name = str(fault["loc"][0])
    part = "each " if len(fault["loc"]) > 1 else ""
    return f"{name}: {part}{_wanted(fault)}{_example(name, fault['type'])}"


def _wanted(fault: ErrorDetails) -> str:
    context = fault.get("ctx", {})
    if fault["type"] == "value_error":
        return str(context["error"])
    text = _WANTED.get(fault["type"])
    return fault["msg"] if text is None else text.format(**context)


_WANTED = {
    "missing": "is required",
    "string_pattern_mismatch": "must look like ",
    "string_too_short": "must have {min_length} characters or more",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "float_parsing": "must be a number",
    "greater_than": "must be more than {gt:.10g}",
    "greater_than_equal": "must be {ge:.10g} or more",
    "less_than_equal": "must be {le:.10g} or less",
    "literal_error": "must be one of {expected}",
    "bool_parsing": "must be true or false",
}
"""The types of pydantic's errors that settings can have, without pydantic's own words."""


def _example(name: str, kind: str) -> str:
    examples = next(f.examples for f in Settings.model_fields.values() if f.alias == name)
    if not examples or kind not in {"missing", "string_pattern_mismatch"}:
        return ""
    return f", for example {examples[0]}" if kind == "missing" else str(examples[0])
