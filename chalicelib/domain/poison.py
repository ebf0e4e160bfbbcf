"""Letters in the dead-letter queue that were never about a product: a person must look at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chalicelib.domain.exact_json import Json
from chalicelib.domain.times import rfc3339

POISON_KEPT = 100
"""Letters that are remembered; the queue keeps all of them."""
EXCERPT = 500
"""Characters of a body that are remembered."""


@dataclass(frozen=True, slots=True)
class PoisonLetter:
    """A letter as it was first seen. `reason`: of who has sent it; None if the queue has."""

    message_id: str
    reason: str | None
    body: str
    seen_at: datetime

    def to_json(self) -> Json:
        """Give the letter as operators see it."""
        return {
            "messageId": self.message_id,
            "reason": self.reason,
            "body": self.body,
            "seenAt": rfc3339(self.seen_at),
        }


def remembered(
    known: Sequence[PoisonLetter], seen: Sequence[PoisonLetter], *, complete: bool
) -> tuple[PoisonLetter, ...]:
    """Give what is remembered after a sweep; those that a complete one has not seen are gone."""
    ids = {letter.message_id for letter in seen}
    kept = [letter for letter in known if letter.message_id in ids or not complete]
    old = {letter.message_id for letter in kept}
    fresh = [letter for letter in seen if letter.message_id not in old]
    return tuple([*kept, *sorted(fresh, key=lambda letter: letter.message_id)][:POISON_KEPT])
