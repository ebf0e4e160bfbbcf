"""Settings → clients → use cases. Built once per process; nothing opens before its first use."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta
from functools import cache, cached_property
from typing import TYPE_CHECKING

from pymongo import MongoClient

from chalicelib import telemetry
from chalicelib.backoff import Schedule
from chalicelib.bridge import Bridge
from chalicelib.catalog import Catalog
from chalicelib.jetstream import JetStream
from chalicelib.models import now_utc
from chalicelib.mongo import Document, MongoStore
from chalicelib.outbox import Outbox
from chalicelib.reconcile import Reconcile
from chalicelib.settings import Settings, read_settings
from chalicelib.sqs import SqsQueue
from chalicelib.supply_chain import HttpSupplyChain
from chalicelib.sync import Sync, SyncPolicy
from chalicelib.tokens import TokenVerifier

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

    from chalicelib.ports import Store

MONGODB_SECONDS = 3
"""How long a request waits for MongoDB before it says that the store is away."""


CONNECTIONS = 64
"""Connections to the supply chain that are kept open for the next call."""
READY_SECONDS = 4.0


class Container:
    """Every part of the catalog, made from settings. Tests replace parts by assigning them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        telemetry.configure(level=settings.log_level, tracing=settings.xray_daemon is not None)

    # ---- adapters ----

    @cached_property
    def store(self) -> Store:
        return MongoStore(self._mongo_client, self.settings.mongodb_database)

    def _mongo_client(self) -> MongoClient[Document]:
        return MongoClient(
            self.settings.mongodb_uri,
            appname="product-catalog",
            serverSelectionTimeoutMS=MONGODB_SECONDS * 1000,
            connectTimeoutMS=MONGODB_SECONDS * 1000,
            socketTimeoutMS=10_000,
        )

    @cached_property
    def stream(self) -> JetStream:
        return JetStream(self.settings.nats_url, self.settings.nats_credentials)

    @cached_property
    def queue(self) -> SqsQueue:
        settings = self.settings
        return SqsQueue(_sqs_client, settings.sync_queue_url, settings.sync_dlq_url)

    @cached_property
    def supply_chain(self) -> HttpSupplyChain:
        settings = self.settings
        return HttpSupplyChain(
            settings.supply_chain_url,
            timeout=settings.supply_chain_timeout,
            reject_statuses=settings.supply_chain_reject_statuses,
            signing_secret=settings.supply_chain_signing_secret,
            clock=now_utc,
            connections=CONNECTIONS,
        )

    @cached_property
    def tokens(self) -> TokenVerifier:
        return TokenVerifier(self.settings.jwt_secret, self.settings.jwks_url)

    # ---- use cases ----

    @cached_property
    def outbox(self) -> Outbox:
        return Outbox(self.store, self.stream)

    @cached_property
    def catalog(self) -> Catalog:
        return Catalog(self.store, self.outbox, self.queue, clock=now_utc, grace=self._grace)

    @cached_property
    def bridge(self) -> Bridge:
        return Bridge(self.stream, self.queue)

    @cached_property
    def sync(self) -> Sync:
        policy = SyncPolicy(
            schedule=Schedule(
                self.settings.sync_max_attempts,
                self.settings.sync_horizon,
                self.settings.sync_max_wait,
            ),
            lease=timedelta(seconds=self.settings.lease_seconds),
            grace=self._grace,
            concurrency=self.settings.sync_concurrency,
        )
        return Sync(self.store, self.queue, self.outbox, self.supply_chain, policy, clock=now_utc)

    @cached_property
    def reconcile(self) -> Reconcile:
        return Reconcile(self.store, self.queue, self.outbox, clock=now_utc, grace=self._grace)

    # ---- readiness ----

    def readiness(self) -> dict[str, str]:
        """Ask each dependency for a sign of life: its name → `ok`, or what is wrong."""
        pings = {"mongodb": self.store.ping, "nats": self.stream.ping, "sqs": self.queue.ping}
        asked = {name: self._pinging.submit(ping) for name, ping in pings.items()}
        wait(asked.values(), timeout=READY_SECONDS)
        return {name: _state(answer) for name, answer in asked.items()}

    @cached_property
    def _pinging(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(thread_name_prefix="ready")

    @property
    def _grace(self) -> timedelta:
        return timedelta(seconds=self.settings.reconcile_grace)


def _state(answer: Future[None]) -> str:
    if not answer.done():
        return "no answer"
    return "ok" if answer.exception() is None else "unreachable"


def _sqs_client() -> SQSClient:
    # A third of a second to import: only the functions that use the queue pay for it.
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    return boto3.client(
        "sqs",
        config=Config(
            connect_timeout=3,
            # Longer than the longest long poll.
            read_timeout=25,
            retries={"mode": "standard", "max_attempts": 3},
            max_pool_connections=20,
        ),
    )


@cache
def container() -> Container:
    """Give the one container of this process; raises SettingsError."""
    return Container(read_settings())
