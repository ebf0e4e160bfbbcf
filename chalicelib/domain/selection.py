"""Which of the products that are not delivered an operator means. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from chalicelib.domain.failures import kind_of
from chalicelib.domain.sync_state import FAILED_STATUSES, SyncState, SyncStatus


@dataclass(frozen=True, slots=True)
class Selection:
    """Conditions on a product's sync, all of which hold; times are inclusive.

    `since`, `until`: when it failed; of a product that has not failed, since when it is behind.
    `behind_by`: it is behind since then or longer. `error_kind`, `error_text`: of the last error;
    upper and lower case of the text are alike.
    """

    since: datetime | None = None
    until: datetime | None = None
    behind_by: datetime | None = None
    error_kind: str | None = None
    error_text: str | None = None

    @property
    def reads_documents(self) -> bool:
        """Say whether an index alone cannot decide it."""
        return bool(self.since or self.until or self.error_kind or self.error_text)

    def matches(self, sync: SyncState) -> bool:
        """Say whether a product is meant. A failure without a time may have been at any time."""
        moment = sync.failed_at if sync.status in FAILED_STATUSES else sync.behind_since
        return (
            _is_within(self.since, moment, self.until)
            and _is_within(None, sync.behind_since, self.behind_by)
            and self.error_kind in {None, kind_of(sync.last_error)}
            and (self.error_text is None or _contains(sync.last_error, self.error_text))
        )


ALL = Selection()
"""Leaves nothing out."""


class Portion(NamedTuple):
    """Of the products with this status, those that are selected."""

    status: SyncStatus
    selection: Selection = ALL


def _is_within(first: datetime | None, moment: datetime | None, last: datetime | None) -> bool:
    if moment is None:
        return True
    return (first is None or moment >= first) and (last is None or moment <= last)


def _contains(error: str | None, text: str) -> bool:
    return error is not None and re.search(re.escape(text), error, re.IGNORECASE) is not None
