"""From the event stream to the queue: an event is acknowledged after its message is enqueued."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from chalicelib import telemetry
from chalicelib.domain import exact_json
from chalicelib.domain.errors import (
    PoisonMessageError,
    QueueUnavailableError,
    StreamUnavailableError,
)
from chalicelib.domain.messages import DeadLetter, SyncMessage, sync_message_for
from chalicelib.usecases.ports import PULL_LIMIT, Consumer, Queue, StreamMessage

NAK_DELAY_SECONDS = 5.0
"""Seconds until the stream delivers an event again that the queue refused."""
GATHER_SECONDS = 0.02
GATHER_LIMIT_SECONDS = 0.15
"""The pause after a round, per event of the round and at most. Events that arrive in it share a
request to the queue, and sync gets larger batches: many under load, while a single event hardly
waits. A delivery may take this much longer under load."""
FULL_ROUND = 50
"""Events of a round whose requests are full anyway: no pause follows it."""
AWAY_SECONDS = 1.0
"""Seconds between two tries while the stream is away."""
PAYLOAD_LIMIT = 100_000
"""Bytes of a poison payload in its dead letter; with base64 and JSON below SQS's 256 KiB."""


@dataclass(frozen=True, slots=True)
class Bridged:
    """How many events were forwarded, refused by the queue, and poison."""

    forwarded: int = 0
    refused: int = 0
    poison: int = 0

    def __add__(self, other: Bridged) -> Bridged:
        """Add up two rounds."""
        return Bridged(
            self.forwarded + other.forwarded,
            self.refused + other.refused,
            self.poison + other.poison,
        )


class Bridge:
    """Forwards product changes from the stream's durable consumer to the sync queue."""

    def __init__(self, consumer: Consumer, queue: Queue, *, restoring: bool = False) -> None:
        """`restoring`: nothing is pulled, since the store is being made whole."""
        self._consumer = consumer
        self._queue = queue
        self._restoring = restoring

    def drain(self, seconds_left: Callable[[], float], *, poll: float = 5.0) -> Bridged:
        """Forward until the time is nearly up.

        `seconds_left` gives the seconds until the host stops the run; `poll` is how many seconds
        one pull waits for events. While the stream is away, it is tried again until the time is
        nearly up. Raises StreamUnavailableError if it is still away then.
        """
        while self._restoring and (left := seconds_left()) > 0:
            time.sleep(min(AWAY_SECONDS, left))
        try:
            return self._drain(seconds_left, poll)
        finally:
            # If it fails, the stream delivers again what was received and not forwarded.
            with suppress(StreamUnavailableError):
                self._consumer.release()

    def _drain(self, seconds_left: Callable[[], float], poll: float) -> Bridged:
        total = Bridged()
        failure: StreamUnavailableError | None = None
        while (left := seconds_left()) > 0:
            try:
                done = self.forward_once(timeout=min(poll, max(left, 0.1)))
                total, failure = total + done, None
                time.sleep(gathering(done.forwarded))
            except StreamUnavailableError as error:
                failure = error
                telemetry.log.warning("the stream is away", reason=str(error))
                time.sleep(min(AWAY_SECONDS, left))
        if failure is not None:
            raise failure
        return total

    def forward_once(self, timeout: float) -> Bridged:
        """Pull once and forward what came."""
        messages = self._consumer.pull(PULL_LIMIT, timeout)
        if not messages:
            return Bridged()
        sync_messages: list[tuple[StreamMessage, SyncMessage]] = []
        poison: list[tuple[StreamMessage, str]] = []
        for message in messages:
            try:
                sync_messages.append((message, sync_message_for(message.data, message.trace)))
            except PoisonMessageError as error:
                poison.append((message, str(error)))
        done = self._forward(sync_messages) + self._dead_letter(poison)
        # What was forwarded is counted by SQS: NumberOfMessagesSent.
        telemetry.count(bridge_refused=done.refused, poison=done.poison)
        return done

    def _forward(self, pairs: Sequence[tuple[StreamMessage, SyncMessage]]) -> Bridged:
        try:
            accepted = self._queue.enqueue([sync_message for _, sync_message in pairs])
        except QueueUnavailableError as error:
            telemetry.log.warning("the queue takes nothing", reason=str(error))
            accepted = []
        # By identity: two events may have equal messages.
        taken = {id(sync_message) for sync_message in accepted}
        forwarded = [message for message, sync_message in pairs if id(sync_message) in taken]
        refused = [message for message, sync_message in pairs if id(sync_message) not in taken]
        self._consumer.ack(forwarded)
        self._consumer.nak(refused, NAK_DELAY_SECONDS)
        for sync_message in accepted:
            telemetry.log.debug("bridged", **sync_message.log_fields)
        return Bridged(forwarded=len(forwarded), refused=len(refused))

    def _dead_letter(self, poison: Sequence[tuple[StreamMessage, str]]) -> Bridged:
        """Dead-letter poison events, so that none is dropped and none blocks others."""
        letters = [_letter(message, reason) for message, reason in poison]
        try:
            accepted = set(self._queue.dead_letter(letters)) if letters else set()
        except QueueUnavailableError as error:
            telemetry.log.warning("the dead-letter queue takes nothing", reason=str(error))
            accepted = set()
        dead = [message for index, (message, _) in enumerate(poison) if index in accepted]
        kept = [message for index, (message, _) in enumerate(poison) if index not in accepted]
        self._consumer.terminate(dead)
        self._consumer.nak(kept, NAK_DELAY_SECONDS)
        for message, reason in poison:
            telemetry.log.error("poison event", sequence=message.sequence, reason=reason)
        return Bridged(refused=len(kept), poison=len(dead))


def _letter(message: StreamMessage, reason: str) -> DeadLetter:
    """Describe a poison event; `streamSequence` identifies the original if it was truncated."""
    body = exact_json.dumps(
        {
            "reason": reason,
            "subject": message.subject,
            "streamSequence": message.sequence,
            "payloadBytes": len(message.data),
            "payloadBase64": base64.b64encode(message.data[:PAYLOAD_LIMIT]).decode("ascii"),
        }
    )
    return DeadLetter(body, {"reason": reason})


def gathering(events: float) -> float:
    """Give the seconds of the pause after a round of so many events."""
    return 0.0 if events >= FULL_ROUND else min(events * GATHER_SECONDS, GATHER_LIMIT_SECONDS)
