"""Letters in the dead-letter queue that were never about a product: a person must look at them.

Why they are kept in the store: docs/adr/0032-poison-is-kept-in-the-store.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from chalicelib.domain.exact_json import Json
from chalicelib.domain.times import rfc3339

POISON_SHOWN = 100
"""Letters that are shown with the dead letters; a list of its own has all."""
EXCERPT = 500
"""Characters of a body that are shown there."""
QUARANTINE_BYTES = 2**30
"""What the quarantine holds, about: more stays in the dead-letter queue, so that nobody can fill
the store with it."""


@dataclass(frozen=True, slots=True)
class PoisonLetter:
    """A letter as it was. `reason`: of who has sent it; None if the queue has.

    `seen_at`: when it was moved into the quarantine.
    """

    message_id: str
    reason: str | None
    body: str
    seen_at: datetime

    def to_json(self, *, whole: bool = False) -> Json:
        """Give the letter as operators see it."""
        return {
            "messageId": self.message_id,
            "reason": self.reason,
            "body": self.body if whole else self.body[:EXCERPT],
            "seenAt": rfc3339(self.seen_at),
        }


@dataclass(frozen=True, slots=True)
class PoisonSelection:
    """Some of the letters. `reason`: a text in it, in upper or lower case.

    The times are of the clock of the copy of reconcile that has moved a letter. So one that is
    written later may have an earlier time: only `message_ids` select what somebody has seen.
    """

    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    message_ids: frozenset[str] | None = None

    def selects(self, letter: PoisonLetter) -> bool:
        """Say whether it is one of them."""
        if self.message_ids is not None and letter.message_id not in self.message_ids:
            return False
        wanted, reason = self.reason, letter.reason or ""
        if wanted is not None and wanted.casefold() not in reason.casefold():
            return False
        early = self.since is not None and letter.seen_at < self.since
        return not early and not (self.until is not None and letter.seen_at > self.until)


ALL_POISON = PoisonSelection()
