"""The stream in memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from chalicelib.domain.errors import StreamUnavailableError
from chalicelib.domain.events import BRIDGED, Event
from chalicelib.usecases.ports import StreamMessage, StreamPage, StreamUsage
from tests.fakes.switchable import Switchable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class FakeStreamMessage:
    """Implements `ports.StreamMessage`."""

    data: bytes
    subject: str
    sequence: int
    trace: str | None


class FakeStream(Switchable):
    """Implements `ports.Publisher`, `ports.Consumer` and `ports.StreamReader`; a pull never waits.

    `refused` holds the ids of events that it does not store. `limit`: bytes that it may hold; it
    only says so.
    """

    error = StreamUnavailableError
    ACK_WAIT = timedelta(seconds=60)

    def __init__(
        self,
        clock: Callable[[], datetime],
        *,
        log: list[FakeStreamMessage] | None = None,
    ) -> None:
        super().__init__()
        self._clock = clock
        self.log: list[FakeStreamMessage] = [] if log is None else log
        self.refused: set[str] = set()
        self.limit: int | None = None
        self._ids: set[str] = set()
        self._settled: set[int] = set()
        self._due: dict[int, datetime] = {}

    def another_consumer(self) -> FakeStream:
        """The same stream, with a durable consumer of its own."""
        return FakeStream(self._clock, log=self.log)

    def publish(self, events: Sequence[Event]) -> list[Event]:
        self._reach("publish")
        stored = [event for event in events if event.id not in self.refused]
        with self._lock:
            for event in stored:
                if event.message_id not in self._ids:
                    self._ids.add(event.message_id)
                    self.add(event.type.subject, event.to_cloudevent().encode(), event.trace)
        if events and not stored:
            raise StreamUnavailableError("none was stored")
        return stored

    def add(self, subject: str, data: bytes, trace: str | None = None) -> None:
        """Store whatever a publisher sends."""
        with self._lock:
            self.log.append(FakeStreamMessage(data, subject, len(self.log) + 1, trace))

    def ping(self) -> None:
        self._reach("ping")

    def usage(self) -> StreamUsage:
        self._reach("usage")
        with self._lock:
            return StreamUsage(sum(len(message.data) for message in self.log), self.limit)

    def pull(self, limit: int, timeout: float) -> list[StreamMessage]:  # noqa: ARG002 - the port's
        self._reach("pull")
        now, bridged = self._clock(), {event_type.subject for event_type in BRIDGED}
        with self._lock:
            due = [
                message
                for message in self.log
                if message.subject in bridged
                and message.sequence not in self._settled
                and self._due.get(message.sequence, now) <= now
            ][:limit]
            for message in due:
                self._due[message.sequence] = now + self.ACK_WAIT
        return list(due)

    def release(self) -> None:
        self._reach("release")

    def ack(self, messages: Sequence[StreamMessage]) -> None:
        self._reach("ack")
        self._settled |= {message.sequence for message in messages}

    def nak(self, messages: Sequence[StreamMessage], delay: float) -> None:
        self._reach("nak")
        due = self._clock() + timedelta(seconds=delay)
        self._due |= {message.sequence: due for message in messages}

    def terminate(self, messages: Sequence[StreamMessage]) -> None:
        self._reach("terminate")
        self._settled |= {message.sequence for message in messages}

    def read(self, after: int, limit: int) -> StreamPage:
        self._reach("read")
        with self._lock:
            following = [message for message in self.log if message.sequence > after]
        return StreamPage(following[:limit], len(following[limit:]))

    def unsettled(self) -> list[int]:
        """The sequence numbers of what the consumer has neither acknowledged nor terminated."""
        return [item.sequence for item in self.log if item.sequence not in self._settled]
