"""Settings → clients → use cases. Built once per process; nothing opens before its first use.

Adapters are imported where they are made, since their libraries take most of a cold start: each
function pays only for those that it uses.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from chalicelib import telemetry
from chalicelib.domain.errors import StreamNotMigratedError
from chalicelib.domain.retry import Schedule
from chalicelib.domain.times import now_utc
from chalicelib.settings import (
    Settings,
    SettingsError,
    cors_origin,
    parse_secrets,
    read_settings,
    secret_id,
)
from chalicelib.usecases.activity import Activity
from chalicelib.usecases.acts import Acts
from chalicelib.usecases.admission import Admissions
from chalicelib.usecases.audit import Auditor, AuditPolicy, Questions, Repairs
from chalicelib.usecases.audits import Audits
from chalicelib.usecases.bridge import Bridge
from chalicelib.usecases.catalog import Catalog
from chalicelib.usecases.controls import Controls
from chalicelib.usecases.convergence import Convergence
from chalicelib.usecases.dead_letters import DeadLetters
from chalicelib.usecases.enqueuing import Enqueuer
from chalicelib.usecases.operations import Operations
from chalicelib.usecases.outbox import Outbox
from chalicelib.usecases.parallel import InThreads
from chalicelib.usecases.quarantine import Quarantine
from chalicelib.usecases.readiness import Readiness
from chalicelib.usecases.reconcile import Reconcile
from chalicelib.usecases.republish import Republisher, Republishes
from chalicelib.usecases.restore import Restorer
from chalicelib.usecases.restores import Restores
from chalicelib.usecases.sync import Sync, SyncPolicy
from chalicelib.usecases.undelivered import Undelivered

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from pymongo import MongoClient

    from chalicelib.adapters.jetstream import JetStream
    from chalicelib.adapters.mongo.documents import Document
    from chalicelib.adapters.sqs import SqsQueue
    from chalicelib.adapters.supply_chain import HttpSupplyChain
    from chalicelib.adapters.tokens import JwtVerifier
    from chalicelib.usecases.ports import Store

MONGODB_SECONDS = 3
"""How long a request, or the migration, looks for MongoDB before StoreUnavailableError."""
SQS_ANSWER_SECONDS = 8
"""How long a request waits for SQS: longer than the longest long poll. A half-open connection stops
a worker for as long. All tries together are shorter than API Gateway waits."""

ENQUEUED_IN_PARALLEL = 8
CONNECTIONS = 64
"""Connections to the supply chain that are kept open for the next call."""
SECRETS_FRESH_SECONDS = 120.0
"""How long secrets are used before Secrets Manager is asked for newer ones."""


Made = TypeVar("Made")


class Part(Generic[Made]):
    """A property that is made at its first use, once, also if threads use it at the same time.

    functools.cached_property would make several, and each import takes long enough for that.
    """

    def __init__(self, make: Callable[[Any], Made]) -> None:
        self._make = make
        self._name = make.__name__

    def __get__(self, container: Container, owner: type[Container]) -> Made:
        with container.making:
            made = vars(container)
            if self._name not in made:
                made[self._name] = self._make(container)
            return cast("Made", made[self._name])


class Container:
    """Every part of the catalog, created from settings. Tests replace parts by assigning them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._closing = ExitStack()
        self.making = threading.RLock()
        telemetry.configure(
            level=settings.log_level,
            tracing=settings.xray_daemon is not None,
            namespace=settings.metrics_namespace,
        )

    def close(self) -> None:
        """Close all connections. The container must not be used afterwards."""
        self._closing.close()

    # ---- adapters ----

    @Part
    def store(self) -> Store:
        from chalicelib.adapters.mongo.store import MongoStore

        return MongoStore(self._mongo_client, self.settings.mongodb_database)

    def _mongo_client(self, answer: float | None = 10) -> MongoClient[Document]:
        """Make a client that waits `answer` seconds for a command's answer; None: for ever."""
        from chalicelib.adapters.mongo.client import Pool, make_client

        settings = self.settings
        pool = Pool(settings.mongodb_max_pool_size, settings.mongodb_max_idle)
        client = make_client(settings.mongodb_uri, MONGODB_SECONDS, answer, pool)
        self._closing.callback(client.close)
        return client

    @Part
    def stream(self) -> JetStream:
        from chalicelib.adapters.jetstream import JetStream
        from chalicelib.adapters.stream_setup import DUPLICATE_WINDOW_SECONDS, StreamPlan

        settings = self.settings
        # Reconcile relays an event within two of its runs, a minute apart, after the grace.
        relayed_within = settings.reconcile_grace + 2 * 60 + 60
        plan = StreamPlan(
            settings.stream_names,
            max_bytes=settings.nats_stream_max_bytes,
            replicas=settings.nats_stream_replicas,
            duplicate_window=max(DUPLICATE_WINDOW_SECONDS, relayed_within),
            consumer_start=settings.nats_consumer_start,
        )
        stream = JetStream(settings.nats_url, settings.nats_credentials, plan, _log_wrong_stream)
        self._closing.callback(stream.close)
        return stream

    @Part
    def queue(self) -> SqsQueue:
        from chalicelib.adapters.sqs import SqsQueue

        settings = self.settings
        return SqsQueue(
            _sqs_client,
            settings.sync_queue_url,
            settings.sync_dlq_url,
            settings.sync_bulk_queue_url,
        )

    @Part
    def bulk_queue(self) -> SqsQueue | None:
        """What receives bulk messages; None if they have no queue of their own."""
        from chalicelib.adapters.sqs import SqsQueue

        url = self.settings.sync_bulk_queue_url
        return SqsQueue(_sqs_client, url, self.settings.sync_dlq_url) if url else None

    @Part
    def supply_chain(self) -> HttpSupplyChain:
        from chalicelib.adapters.supply_chain import HttpSupplyChain

        settings = self.settings
        return HttpSupplyChain(
            settings.supply_chain_url,
            timeout=settings.supply_chain_timeout,
            reject_statuses=settings.supply_chain_reject_statuses,
            signing_secrets=settings.signing_secrets,
            clock=now_utc,
            connections=CONNECTIONS,
        )

    @Part
    def tokens(self) -> JwtVerifier:
        from chalicelib.adapters.tokens import JwtVerifier

        settings = self.settings
        return JwtVerifier(
            settings.jwt_secret,
            settings.jwks_url,
            previous_secret=settings.jwt_secret_previous,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            note_previous=_previous_used,
        )

    # ---- use cases ----

    @Part
    def outbox(self) -> Outbox:
        return Outbox(self.store, self.stream)

    @Part
    def catalog(self) -> Catalog:
        from chalicelib.adapters.mongo.documents import new_product_id

        return Catalog(
            self.store,
            self.outbox,
            clock=now_utc,
            grace=self._grace,
            new_id=new_product_id,
            bulk_queue=self.settings.sync_bulk_queue_url is not None,
            restoring=self.settings.restoring,
        )

    @Part
    def bridge(self) -> Bridge:
        return Bridge(self.stream, self.queue, restoring=self.settings.restoring)

    @Part
    def sync(self) -> Sync:
        return self._sync(self.queue)

    @Part
    def bulk_sync(self) -> Sync:
        """The same for messages of the bulk queue, which are deferred in that queue."""
        return self._sync(self.bulk_queue or self.queue)

    def sync_of(self, queue: str) -> Sync:
        """Give the use case for messages of the queue with this name."""
        bulk_url = self.settings.sync_bulk_queue_url or ""
        return self.bulk_sync if bulk_url.endswith(f"/{queue}") else self.sync

    def _sync(self, queue: SqsQueue) -> Sync:
        policy = SyncPolicy(
            schedule=Schedule(
                self.settings.sync_max_attempts,
                self.settings.sync_horizon,
                self.settings.sync_max_wait,
            ),
            lease=timedelta(seconds=self.settings.lease_seconds),
            grace=self._grace,
            concurrency=self.settings.sync_concurrency,
            max_in_flight=self.settings.sync_max_in_flight,
            restoring=self.settings.restoring,
        )
        return Sync(
            self.store,
            queue,
            self.outbox,
            self.supply_chain,
            policy,
            self.admissions,
            self.activity,
            clock=now_utc,
        )

    @Part
    def activity(self) -> Activity:
        """One for both queues: what this process counts is written at once."""
        return Activity(self.store, clock=now_utc)

    @Part
    def admissions(self) -> Admissions:
        """One for both queues: they share what this process knows of the breaker."""
        return Admissions(self.controls, self.settings.breaker, clock=now_utc)

    @Part
    def controls(self) -> Controls:
        return Controls(self.store)

    @Part
    def enqueuer(self) -> Enqueuer:
        in_parallel = InThreads(ENQUEUED_IN_PARALLEL)
        return Enqueuer(
            self.store, self.queue, clock=now_utc, grace=self._grace, in_parallel=in_parallel
        )

    @Part
    def convergence(self) -> Convergence:
        return Convergence(self.store, self.controls, self.enqueuer, clock=now_utc)

    @Part
    def audits(self) -> Audits:
        settings = self.settings
        return Audits(
            self.store,
            self.controls,
            self.acts,
            settings.breaker,
            repair=settings.audit_repair,
            clock=now_utc,
        )

    @Part
    def questions(self) -> Questions:
        return Questions(
            self.controls,
            lambda product: self.supply_chain.ask(product),  # noqa: PLW0108 - imports its HTTP client with the first question
            self.settings.breaker,
            clock=now_utc,
        )

    @Part
    def restores(self) -> Restores:
        return Restores(
            self.store,
            self.controls,
            self.acts,
            self.settings.breaker,
            restoring=self.settings.restoring,
            clock=now_utc,
        )

    @Part
    def dead_letters(self) -> DeadLetters:
        return DeadLetters(self.store, self.queue, clock=now_utc)

    @Part
    def restorer(self) -> Restorer:
        return Restorer(
            self.store,
            self.stream,
            self.dead_letters,
            self.restores,
            self.questions,
            self.audits,
            clock=now_utc,
            grace=self._grace,
        )

    @Part
    def auditor(self) -> Auditor:
        settings = self.settings
        return Auditor(
            self.store,
            self.audits,
            self.questions,
            Repairs(self.store, self.outbox, self.enqueuer, clock=now_utc, grace=self._grace),
            AuditPolicy(settings.audit_sample, settings.audit_max_rate),
            settings.breaker,
            clock=now_utc,
        )

    @Part
    def republishes(self) -> Republishes:
        rate = self.settings.republish_max_rate
        return Republishes(
            self.store, self.acts, rate=rate, restoring=self.settings.restoring, clock=now_utc
        )

    @Part
    def republisher(self) -> Republisher:
        return Republisher(self.store, self.republishes, self.outbox, clock=now_utc)

    @Part
    def quarantine(self) -> Quarantine:
        return Quarantine(self.store, self.acts, clock=now_utc)

    @Part
    def operations(self) -> Operations:
        return Operations(
            self.store,
            self.controls,
            self.enqueuer,
            self.convergence,
            self.settings.breaker,
            self.acts,
            clock=now_utc,
            grace=self._grace,
        )

    @Part
    def acts(self) -> Acts:
        from chalicelib.adapters.mongo.documents import new_product_id

        return Acts(self.store, clock=now_utc, new_id=new_product_id)

    @Part
    def undelivered(self) -> Undelivered:
        return Undelivered(self.store, self.controls, self.queue, clock=now_utc)

    @Part
    def reconcile(self) -> Reconcile:
        return Reconcile(
            self.store,
            self.outbox,
            self.enqueuer,
            self.dead_letters,
            self.convergence,
            self.auditor,
            self.republisher,
            self.restorer,
            self.settings.breaker,
            clock=now_utc,
            grace=self._grace,
            restoring=self.settings.restoring,
        )

    def migrate(self, patience: float | None = None) -> Iterator[str]:
        """Migrate the store; give a line for each change. Raises StoreUnavailableError.

        `patience`: seconds that one command may take; None: as long as it takes.
        """
        from chalicelib.adapters.mongo.migration import migrate

        connect = partial(self._mongo_client, patience)
        return migrate(connect, self.settings.mongodb_database, now_utc())

    def migrate_stream(self) -> Iterator[str]:
        """Make the stream and its consumer, and change what may be changed; give a line for each.

        Raises StreamNotMigratedError if something is left for a person; StreamUnavailableError.
        """
        changes, problems = self.stream.migrate()
        yield from changes
        if problems:
            raise StreamNotMigratedError("; ".join(problems))

    # ---- readiness ----

    @Part
    def readiness(self) -> Readiness:
        # Looked up with each check, so that nothing is made before, and tests may replace parts.
        return Readiness(
            {
                "mongodb": lambda: self.store.ping(),  # noqa: PLW0108
                "nats": lambda: self.stream.ping(),  # noqa: PLW0108
                "sqs": lambda: self.queue.ping(),  # noqa: PLW0108
            },
            clock=time.monotonic,
        )

    @property
    def _grace(self) -> timedelta:
        return timedelta(seconds=self.settings.reconcile_grace)


def _log_wrong_stream(problem: str) -> None:
    telemetry.log.error("the stream is not as the catalog needs it", reason=problem)


def _previous_used(subject: str, expires: int) -> None:
    """Say whose token keeps the previous secret in use."""
    days_left = (expires - int(time.time())) // 86_400
    telemetry.log.info("the previous secret was used", subject=subject, days_left=days_left)
    telemetry.count(previous_secrets_used=1)


def _sqs_client() -> SQSClient:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "sqs",
        config=Config(
            connect_timeout=3,
            read_timeout=SQS_ANSWER_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 3},
            # More than a sync process uses at a time.
            max_pool_connections=128,
        ),
    )


def _fetch_secrets(name: str) -> str:
    """Read a secret's current value. Raises SettingsError."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    # Two tries of two seconds, so that a request does not hang while secrets are renewed.
    patience = Config(connect_timeout=2, read_timeout=2, retries={"total_max_attempts": 2})
    try:
        client = boto3.client("secretsmanager", config=patience)
        answer = client.get_secret_value(SecretId=name)
    except (BotoCoreError, ClientError) as error:
        raise SettingsError(f"CATALOG_SECRET_ID: {name} cannot be read: {error}") from error
    text: str = answer.get("SecretString", "")
    if not text:
        raise SettingsError(
            f"CATALOG_SECRET_ID: {name} has no text: python -m tools.secret puts it"
        )
    return text


def _warn_of_unread(name: str) -> None:
    telemetry.log.warning("this release does not use a value of the secret", setting=name)


class Containers:
    """Keeps the container of this process; creates a new one when the secrets have changed."""

    def __init__(
        self,
        fetch: Callable[[str], str] = _fetch_secrets,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._current: Container | None = None
        self._retired: list[Container] = []
        self._look_at = 0.0

    def get(self) -> Container:
        """Give the container. Raises SettingsError if the first one cannot be created."""
        with self._lock:
            if self._current is None:
                self._current = Container(self._read())
                self._look_at = self._clock() + SECRETS_FRESH_SECONDS
            elif secret_id() is not None and self._clock() >= self._look_at:
                self._look_at = self._clock() + SECRETS_FRESH_SECONDS
                self._current = self._renewed(self._current)
            return self._current

    def _read(self) -> Settings:
        name = secret_id()
        secrets = parse_secrets(self._fetch(name), _warn_of_unread) if name else None
        return read_settings(secrets=secrets)

    def _renewed(self, current: Container) -> Container:
        # By now, what was in another thread's hands when it was replaced has ended.
        while self._retired:
            self._retired.pop().close()
        try:
            settings = self._read()
        except SettingsError as error:
            # Keep the old secrets: they may still be valid.
            telemetry.log.error("the secrets could not be renewed", reason=str(error))
            telemetry.count(secrets_not_renewed=1)
            return current
        if settings == current.settings:
            return current
        telemetry.log.info("the secrets have been rotated")
        self._retired.append(current)
        return Container(settings)


_containers = Containers()


def container() -> Container:
    """Give the container of this process; its secrets are two minutes old at most.

    Raises SettingsError if the first container cannot be created.
    """
    return _containers.get()


def allowed_origin() -> str | None:
    """Give the origin whose pages may read answers. Needs no container, as /health needs none."""
    return cors_origin()
