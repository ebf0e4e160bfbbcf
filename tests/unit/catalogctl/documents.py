"""Answers of the API, as the command line gets them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from tests.unit.catalogctl.conftest import ID

if TYPE_CHECKING:
    from tests.support import Json

NO_AUDIT: Json = {
    "state": "none",
    "checked": 0,
    "total": 0,
    "behind": 0,
    "unanswered": 0,
    "repair": True,
    "differences": {},
    "repaired": 0,
    "startedAt": None,
    "finishedAt": None,
    "startedBy": None,
    "stoppedBy": None,
    "held": None,
    "lastStatement": None,
    "rolling": None,
    "statement": None,
    "examples": [],
}
RUNNING: Json = {
    **NO_AUDIT,
    "state": "running",
    "checked": 120,
    "total": 5000,
    "startedAt": "2026-11-29T11:58:00.000Z",
    "startedBy": "alice",
    "differences": {"missing": 0, "different": 1},
}
STATEMENT = (
    "at 2026-11-29T12:03:00.000Z the supply chain held the newest version of all 5,000 products"
)
DONE: Json = {**RUNNING, "state": "done", "checked": 5000, "finishedAt": "2026-11-29T11:59:00.000Z"}
PROVEN: Json = {**DONE, "differences": {"missing": 0}, "statement": STATEMENT}
DIFFERENT: Json = {
    **DONE,
    "repaired": 1,
    "statement": f"{STATEMENT}, but for 1: 1 differed (1 repaired since)",
    "examples": [
        {
            "id": ID,
            "difference": "different",
            "version": 3,
            "held": None,
            "fields": ["price"],
            "repaired": True,
            "at": "2026-11-29T11:58:30.000Z",
        }
    ],
}
STOPPED: Json = {
    **RUNNING,
    "state": "done",
    "differences": {"missing": 0},
    "stoppedBy": "bob",
    "statement": "stopped by bob at 2026-11-29T11:59:00.000Z after 120 of 5,000 products",
}
CONVERGED: Json = {
    "products": {"pending": 0, "retrying": 0, "delivered": 300, "exhausted": 0, "rejected": 0},
    "oldestUndeliveredSeconds": None,
    "stuck": {"count": 0, "oldestSeconds": None},
    "outboxBacklog": 0,
    "unreadable": 0,
    "breaker": {"state": "closed", "since": None, "reason": None, "callsPerSecond": None},
    "control": {"paused": False, "reason": None, "until": None, "since": None},
    "catchingUp": False,
    "redrive": None,
    "throughput": {
        "deliveredPerMinute": 0.0,
        "failedPerMinute": 0.0,
        "failureKinds": {},
        "minutes": [{"at": "2026-11-29T11:59:00.000Z", "delivered": 0, "failed": 0}] * 60,
    },
    "estimatedSecondsToConverge": 0,
    "audit": None,
}
TROUBLED: Json = {
    **CONVERGED,
    "products": {"pending": 3, "retrying": 4, "delivered": 1290, "exhausted": 2, "rejected": 1},
    "oldestUndeliveredSeconds": Decimal("180.5"),
    "stuck": {"count": 3, "oldestSeconds": Decimal(86400)},
    "outboxBacklog": 5,
    "unreadable": 1,
    "breaker": {
        "state": "open",
        "since": "2026-11-29T11:55:00.000Z",
        "reason": "HTTP 503",
        "callsPerSecond": None,
    },
    "control": {
        "paused": True,
        "reason": "their release",
        "until": "2026-11-29T14:00:00.000Z",
        "since": "2026-11-29T11:50:00.000Z",
    },
    "catchingUp": True,
    "redrive": {"startedAt": "2026-11-29T11:50:00.000Z", "count": 1200, "done": 300},
    "throughput": {
        "deliveredPerMinute": Decimal("120.5"),
        "failedPerMinute": Decimal("3.0"),
        "failureKinds": {"http-503": 12, "timeout": 3},
        "minutes": [
            {"at": "2026-11-29T11:00:00.000Z", "delivered": number, "failed": 0}
            for number in range(60)
        ],
    },
    "estimatedSecondsToConverge": None,
    "audit": PROVEN,
}
ATTEMPT: Json = {
    "time": "2026-11-29T11:59:30.000Z",
    "version": 3,
    "statusCode": 503,
    "durationSeconds": Decimal("0.007"),
    "error": "HTTP 503",
}
STATE: Json = {
    "id": ID,
    "name": "Desk lamp",
    "version": 3,
    "deleted": False,
    "status": "retrying",
    "budget": 0,
    "attempts": 1,
    "deliveredVersion": 2,
    "behindSince": "2026-11-29T11:59:00.000Z",
    "firstAttemptAt": "2026-11-29T11:59:30.000Z",
    "nextAttemptAt": "2026-11-29T12:03:00.000Z",
    "syncCompletedAt": "2026-11-28T12:00:00.000Z",
    "failedAt": None,
    "lastError": "HTTP 503",
    "lastErrorKind": "http-503",
    "traceId": "0" * 32,
    "history": [ATTEMPT],
    "held": "paused: their release",
}
PRODUCT: Json = {
    "id": ID,
    "name": "Desk lamp",
    "price": Decimal("19.90"),
    "quantity": 3,
    "attributes": {"color": "black"},
    "version": 3,
    "createdAt": "2026-11-28T12:00:00.000Z",
    "updatedAt": "2026-11-29T11:59:00.000Z",
    "syncCompletedAt": None,
    "syncStatus": "retrying",
}
TIMELINE: Json = {
    "id": ID,
    "name": "Desk lamp",
    "status": "retrying",
    "held": "paused: their release",
    "summary": "waits for its next attempt in 4 min: HTTP 503",
    "traceId": "0" * 32,
    "entries": [
        {
            "at": "2026-11-29T11:59:00.000Z",
            "kind": "write",
            "text": "version 3 was written",
            "failed": False,
            "future": False,
            "details": {},
        },
        {
            "at": "2026-11-29T11:59:30.000Z",
            "kind": "attempt",
            "text": "attempt 1 of 18 failed: HTTP 503",
            "failed": True,
            "future": False,
            "details": {},
        },
        {
            "at": None,
            "kind": "next",
            "text": "tried again when the pause ends",
            "failed": False,
            "future": True,
            "details": {},
        },
    ],
}
LETTER: Json = {
    "productId": ID,
    "name": "Desk lamp",
    "version": 3,
    "deleted": False,
    "reason": "rejected",
    "lastError": "HTTP 422: the price is too high",
    "lastErrorKind": "http-422",
    "attempts": 1,
    "failedAt": "2026-11-29T10:00:00.000Z",
    "behindSince": "2026-11-29T09:59:00.000Z",
    "letterSent": True,
}
POISON: Json = {
    "messageId": "m-1",
    "reason": "not JSON",
    "body": "{",
    "seenAt": "2026-11-29T11:00:00.000Z",
}
ACT: Json = {
    "id": "1",
    "at": "2026-11-29T11:00:00.000Z",
    "who": "alice",
    "what": "redrive",
    "why": "they are back",
    "productId": None,
    "details": {"status": "retrying", "count": 1200, "since": None},
}
EVENT: Json = {
    "specversion": "1.0",
    "id": f"{ID}:3:product:updated",
    "type": "product:updated",
    "subject": ID,
    "time": "2026-11-29T11:59:00.000Z",
    "data": PRODUCT,
}


def page(*items: Json, after: str | None = None, **more: object) -> Json:
    """A page of a list."""
    return {"items": list(items), "nextCursor": after, **more}
