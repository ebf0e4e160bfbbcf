"""The environment, read once into a frozen, validated object. The only reader of os.environ."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from typing import Annotated, Self

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
from chalicelib.domain.retry import (
    LONGEST_WAIT_SECONDS,
    QUEUE_RETENTION_SECONDS,
    SQS_MAX_IN_FLIGHT,
    waits,
)

Url = Annotated[str, Field(pattern=r"^https?://[^\s]+$")]
Text = Annotated[str, Field(min_length=1)]
Rate = Annotated[float, Field(ge=0.01, le=100_000)]
"""Calls per second."""

LEASE_SLACK_SECONDS = 15
"""Added to a lease for the DNS look-up, for waiting for a thread, and for clocks that differ.

The look-up is the only step of a call that its deadline cannot end, since `getaddrinfo` takes no
time-out. Nothing is sent if it ends after the deadline.
"""

SECRET_NAMES = frozenset(
    {"MONGODB_URI", "NATS_CREDENTIALS", "CATALOG_JWT_SECRET", "SUPPLY_CHAIN_SIGNING_SECRET"}
)
"""The settings that may come from one secret of Secrets Manager instead of the environment."""


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


class Settings(BaseModel):
    """Every setting of the catalog; the alias is the environment variable's name."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    mongodb_uri: Annotated[str, Field(alias="MONGODB_URI", pattern=r"^mongodb(\+srv)?://")]
    mongodb_database: Annotated[Text, Field(alias="MONGODB_DATABASE")] = "catalog"
    nats_url: Annotated[str, Field(alias="NATS_URL", pattern=r"^(nats|tls)://")]
    nats_credentials: Annotated[Text | None, Field(alias="NATS_CREDENTIALS")] = None
    nats_stream_max_bytes: Annotated[int | None, Field(alias="NATS_STREAM_MAX_BYTES", gt=0)] = None
    sync_queue_url: Annotated[Url, Field(alias="SYNC_QUEUE_URL")]
    sync_dlq_url: Annotated[Url, Field(alias="SYNC_DLQ_URL")]
    sync_bulk_queue_url: Annotated[Url | None, Field(alias="SYNC_BULK_QUEUE_URL")] = None
    supply_chain_url: Annotated[Url, Field(alias="SUPPLY_CHAIN_URL")]
    supply_chain_timeout: Annotated[
        float, Field(alias="SUPPLY_CHAIN_TIMEOUT_SECONDS", gt=0, le=120)
    ] = 10.0
    supply_chain_signing_secret: Annotated[
        str | None, AfterValidator(_signing_secret), Field(alias="SUPPLY_CHAIN_SIGNING_SECRET")
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
    jwt_secret: Annotated[str | None, Field(alias="CATALOG_JWT_SECRET", min_length=32)] = None
    jwks_url: Annotated[Url | None, Field(alias="CATALOG_JWKS_URL")] = None
    log_level: Annotated[
        str, Field(alias="LOG_LEVEL", pattern="^(DEBUG|INFO|WARNING|ERROR|CRITICAL)$")
    ] = "INFO"
    api_host: Annotated[Text, Field(alias="API_HOST")] = "127.0.0.1"
    api_port: Annotated[int, Field(alias="PORT", ge=1, le=65535)] = 8000
    metrics_namespace: Annotated[Text, Field(alias="METRICS_NAMESPACE")] = "ProductCatalog"
    xray_daemon: Annotated[str | None, Field(alias="AWS_XRAY_DAEMON_ADDRESS")] = None

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        try:
            waits(self.sync_max_attempts, self.sync_horizon, self.sync_max_wait)
        except ValueError as error:
            names = "SYNC_MAX_ATTEMPTS, SYNC_HORIZON_SECONDS and SYNC_MAX_WAIT_SECONDS"
            raise ValueError(f"{names} do not fit: {error}") from error
        if self.jwt_secret is None and self.jwks_url is None:
            raise ValueError("one of CATALOG_JWT_SECRET and CATALOG_JWKS_URL is required")
        if self.sync_bulk_queue_url in {self.sync_queue_url, self.sync_dlq_url}:
            raise ValueError("SYNC_BULK_QUEUE_URL must be of a queue of its own")
        return self

    @property
    def lease_seconds(self) -> float:
        """How long a worker may call for one product, in seconds.

        Two time-outs: that of the call, and that of the questions after it.
        """
        return 2 * self.supply_chain_timeout + LEASE_SLACK_SECONDS

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


def secret_id(environment: Mapping[str, str] | None = None) -> str | None:
    """Give the name or ARN of the secret in Secrets Manager, if there is one."""
    given = os.environ if environment is None else environment
    return given.get("CATALOG_SECRET_ID") or None


def cors_origin(environment: Mapping[str, str] | None = None) -> str | None:
    """Give the origin whose pages may read answers, if there is one. Needs no secret."""
    given = os.environ if environment is None else environment
    return given.get("CORS_ORIGIN") or None


def parse_secrets(text: str) -> dict[str, str]:
    """Parse the secret's value, a JSON object of settings. Raises SettingsError."""
    # Neither the value nor a parser's message about it may get into a log.
    try:
        content = json.loads(text)
    except ValueError:
        raise SettingsError("the secret CATALOG_SECRET_ID is not JSON") from None
    if not isinstance(content, dict) or not all(isinstance(v, str) for v in content.values()):
        raise SettingsError("the secret CATALOG_SECRET_ID is not a JSON object of strings")
    if unknown := sorted(content.keys() - SECRET_NAMES):
        raise SettingsError(f"the secret CATALOG_SECRET_ID must not hold {', '.join(unknown)}")
    return content


def read_settings(
    environment: Mapping[str, str] | None = None, secrets: Mapping[str, str] | None = None
) -> Settings:
    """Read and check the environment; raises SettingsError. An empty variable counts as unset.

    `secrets` (see `parse_secrets`) win over the environment.
    """
    given = {**(os.environ if environment is None else environment), **(secrets or {})}
    try:
        return Settings.model_validate({name: text for name, text in given.items() if text})
    except ValidationError as error:
        # Values are left out: some of them are secrets.
        problems = [
            f"{'.'.join(map(str, item['loc'])) or 'settings'}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        ]
        raise SettingsError("; ".join(problems)) from None
