"""What operators have done: who, when, what and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from chalicelib.domain.exact_json import Json
from chalicelib.domain.times import rfc3339


class ActKind(StrEnum):
    """What an operator can do."""

    REPLAY = "replay"
    REDRIVE = "redrive"
    PAUSE = "pause"
    RESUME = "resume"
    AUDIT = "audit"
    REPUBLISH = "republish"
    DISCARD = "discard"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True)
class Act:
    """One act of an operator. It is kept before it takes effect, so it may have had none.

    `id` grows with time. `who`: the token's `sub`. `what`: an ActKind, or one of a later release.
    `product_id` if it is about one product.
    """

    id: str
    at: datetime
    who: str
    what: str
    why: str | None = None
    product_id: str | None = None
    details: Json = field(default_factory=dict)

    def to_json(self) -> Json:
        """Give the act as operators see it."""
        return {
            "id": self.id,
            "at": rfc3339(self.at),
            "who": self.who,
            "what": str(self.what),
            "why": self.why,
            "productId": self.product_id,
            "details": self.details,
        }
