"""Listens to the stream of events, with a consumer that leaves no trace in NATS."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from catalogctl.errors import CommandError, RefusedError, UnavailableError, UsageError
from chalicelib.adapters.jetstream import CONNECT_SECONDS, credentials_of, servers_of
from chalicelib.domain import exact_json
from chalicelib.domain.events import StreamNames
from chalicelib.domain.exact_json import Json

LOOK_SECONDS = 1.0
"""How often a quiet stream is asked whether the connection is still there."""
Subscription = JetStreamContext.PushSubscription


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events, from when on, and how many. Without `since`: new ones; `everything`: all."""

    types: frozenset[str] = field(default_factory=frozenset)
    product_id: str | None = None
    since: datetime | None = None
    everything: bool = False
    follow: bool = True
    limit: int | None = None

    def matches(self, event: Json) -> bool:
        """Say whether an event is one of those."""
        return (not self.types or event.get("type") in self.types) and self.product_id in (
            None,
            event.get("subject"),
        )

    @property
    def config(self) -> ConsumerConfig:
        """Say to NATS where the consumer begins."""
        if self.since is not None:
            policy = DeliverPolicy.BY_START_TIME
            return ConsumerConfig(deliver_policy=policy, opt_start_time=self.since)
        policy = DeliverPolicy.ALL if self.everything else DeliverPolicy.NEW
        return ConsumerConfig(deliver_policy=policy)


def event_of(data: bytes) -> Json | None:
    """Parse an event; None if somebody else has published something that is none."""
    try:
        event = exact_json.loads(data)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "specversion" in event else None


@dataclass(frozen=True, slots=True)
class Source:
    """Where the events are: one server or several, credentials, and the names of the stream."""

    url: str
    credentials: str | None = None
    names: StreamNames = field(default_factory=StreamNames)


def listen(source: Source, wanted: Wanted, emit: Callable[[Json], None]) -> None:
    """Hand each wanted event to `emit`, until there are no more or the connection ends."""
    try:
        asyncio.run(_listen(source, wanted, emit))
    except NotFoundError as error:
        text = f"{address(source.url)} has no stream {source.names.stream}"
        raise RefusedError(f"{text}. Are NATS_URL and NATS_PREFIX those of the catalog?") from error
    except (nats.errors.Error, OSError, TimeoutError) as error:
        raise _failure(source.url, error) from error


def address(url: str) -> str:
    """Give the address of a server, or of several, without user and password."""
    return re.sub(r"//[^/@]*@", "//", url)


def _failure(url: str, error: Exception) -> CommandError:
    shown = f"NATS at {address(url)}"
    if "authorization" in str(error).lower():
        return RefusedError(f"{shown} refuses the credentials: set NATS_CREDENTIALS ({error})")
    return UnavailableError(
        f"{shown} does not answer ({error}). It may also be that the credentials do not allow it."
    )


async def _listen(source: Source, wanted: Wanted, emit: Callable[[Json], None]) -> None:
    names = source.names
    async with await _connect(source.url, source.credentials) as client:
        stream = client.jetstream(timeout=CONNECT_SECONDS)
        subscription = await stream.subscribe(
            names.subjects, stream=names.stream, ordered_consumer=True, config=wanted.config
        )
        await _hand_over(client, subscription, wanted, emit)


async def _connect(url: str, credentials: str | None) -> Client:
    try:
        known = credentials_of(credentials)
    except (OSError, ValueError) as error:
        raise UsageError(f"NATS_CREDENTIALS: {error}") from error
    return await nats.connect(
        servers_of(url),
        name="catalogctl",
        user_credentials=known,
        # A lost connection ends the command, which says how to go on.
        allow_reconnect=False,
        max_reconnect_attempts=1,
        reconnect_time_wait=0,
        connect_timeout=int(CONNECT_SECONDS),
        error_cb=_ignore,
    )


async def _ignore(_: Exception) -> None:
    # Errors are raised to the caller; nats-py would log them a second time.
    return


async def _hand_over(
    client: Client, subscription: Subscription, wanted: Wanted, emit: Callable[[Json], None]
) -> None:
    info = await subscription.consumer_info()
    # What had been stored when it began; an event that comes later has a higher sequence.
    delivered = info.delivered.consumer_seq if info.delivered else 0
    left, given = (info.num_pending or 0) + delivered, 0
    while (wanted.follow or left > 0) and given != wanted.limit:
        message = await _next(client, subscription)
        if message is None:
            continue
        left -= 1
        event = event_of(message.data)
        if event is not None and wanted.matches(event):
            emit(event)
            given += 1


async def _next(client: Client, subscription: Subscription) -> Msg | None:
    """Give the next message, None if there is none yet. Raises if the connection is gone."""
    try:
        return await subscription.next_msg(timeout=LOOK_SECONDS)
    except nats.errors.TimeoutError:
        if not client.is_connected:
            raise nats.errors.ConnectionClosedError from None
        return None
