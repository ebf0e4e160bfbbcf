"""The quarantine: messages that are about no product; operators list, export and discard them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StringConstraints

from chalicelib.domain.acts import ActKind
from chalicelib.domain.errors import FieldError, InvalidRequestError
from chalicelib.domain.exact_json import Json
from chalicelib.domain.poison import PoisonLetter, PoisonSelection
from chalicelib.domain.times import rfc3339
from chalicelib.usecases.acts import NOBODY, REASON_LIMIT, Acts
from chalicelib.usecases.catalog import Origin
from chalicelib.usecases.listing import PAGE_LIMIT
from chalicelib.usecases.ports import Store
from chalicelib.usecases.validation import OptionalTime, true_or_false, validated

PAGE_CHARACTERS = 1_000_000
"""Of the bodies on a page, about: Lambda answers 6 MB at most."""
AT_ONCE = 100
"""Letters that are discarded with one statement."""
NAMED = 1_000
"""Letters that a request may name: each request is an act, and a million makes a thousand."""
DISCARD_WITHIN = timedelta(seconds=8)
"""How long a request goes on discarding: it must be answered in time."""

ReasonText = Annotated[str, StringConstraints(min_length=1, max_length=200)] | None
MessageId = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class _Selected(BaseModel):
    """Which letters."""

    model_config = ConfigDict(extra="forbid")

    reason: ReasonText = Field(
        default=None, description="Only with this text in the reason, in upper or lower case."
    )
    since: OptionalTime = Field(
        default=None, description="Only what was moved into the quarantine at this time or later."
    )
    until: OptionalTime = Field(
        default=None, description="Only what was moved there at this time or earlier."
    )

    def selection(self) -> PoisonSelection:
        """Give what is asked for. Raises InvalidRequestError."""
        if self.since and self.until and self.until < self.since:
            raise InvalidRequestError([FieldError("until", "must not be before since")])
        return PoisonSelection(self.reason, self.since, self.until)


class PoisonRequest(_Selected):
    """The query parameters of the list of poison letters."""

    limit: int = Field(default=20, ge=1, le=PAGE_LIMIT, description="Letters on a page, at most.")
    cursor: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="The `nextCursor` of the page before.",
    )


class DiscardRequest(_Selected):
    """Which poison letters are removed for good; without a filter all of them."""

    dry_run: Annotated[StrictBool, BeforeValidator(true_or_false)] = Field(
        default=False, alias="dryRun", description="Only count them: nothing is discarded."
    )
    message_ids: list[MessageId] | None = Field(
        default=None,
        alias="messageIds",
        min_length=1,
        max_length=NAMED,
        description="Only these, such as those of an export: the times of letters are of another "
        "machine's clock, so `until` alone may select one that came after the export.",
    )
    why: str | None = Field(
        default=None, max_length=REASON_LIMIT, description="Kept with the act: GET /sync/acts."
    )


class Quarantine:
    """What operators do with poison. Every method raises StoreUnavailableError.

    Only poison is in it, so nothing here can remove a dead letter of a product.
    """

    at_once = AT_ONCE

    def __init__(self, store: Store, acts: Acts, *, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._acts = acts
        self._clock = clock

    def page(self, parameters: object) -> Json:
        """Give a page, in the order of the messages' ids: `{items, nextCursor}`.

        With whole bodies, so that a walk through all pages is an export. Raises
        InvalidRequestError.
        """
        request = validated(PoisonRequest, parameters)
        found = self._store.quarantined(
            request.selection(), request.limit + 1, after=request.cursor
        )
        page = _as_much_as_fits(found[: request.limit])
        return {
            "items": [letter.to_json(whole=True) for letter in page],
            "nextCursor": page[-1].message_id if len(page) < len(found) else None,
        }

    def discard(self, body: object, origin: Origin = NOBODY) -> Json:
        """Remove what is selected: `{count, left, dryRun, until}`.

        `left`: what there was no time for; a repeated request goes on. `until`: the latest time at
        which a letter may have come to be discarded. Raises InvalidRequestError.
        """
        request = validated(DiscardRequest, body)
        now, selection = self._clock(), request.selection()
        until = min(selection.until or now, now)
        if request.message_ids is None:
            selection = replace(selection, until=until)
        else:
            # One that is named is meant, also if its clock is ahead of this one.
            selection = replace(selection, message_ids=frozenset(request.message_ids))
        count = self._store.count_quarantined(selection)
        told = {"dryRun": request.dry_run, "until": rfc3339(until)}
        if request.dry_run or not count:
            return {"count": count if request.dry_run else 0, "left": count, **told}
        self._record(request, selection, count, origin)
        done = self._discard(selection, now + DISCARD_WITHIN)
        return {"count": done, "left": max(0, count - done), **told}

    def _record(
        self, request: DiscardRequest, selection: PoisonSelection, count: int, origin: Origin
    ) -> None:
        since, until = selection.since, selection.until
        filters = {
            "reason": selection.reason,
            "since": rfc3339(since) if since else None,
            "until": rfc3339(until) if until else None,
            "named": None if request.message_ids is None else len(request.message_ids),
        }
        given: Json = {name: value for name, value in filters.items() if value is not None}
        self._acts.record(ActKind.DISCARD, origin, why=request.why, **given, count=count)

    def _discard(self, selection: PoisonSelection, end: datetime) -> int:
        total, after = 0, None
        while True:
            page = self._store.quarantined(selection, self.at_once, after=after)
            names = [letter.message_id for letter in page]
            total += self._store.discard(names) if names else 0
            if len(page) < self.at_once or self._clock() >= end:
                return total
            after = names[-1]


def _as_much_as_fits(letters: list[PoisonLetter]) -> list[PoisonLetter]:
    """Cut a page off where it would be too long; it has one letter at least."""
    size = 0
    for index, letter in enumerate(letters):
        size += len(letter.body)
        if size > PAGE_CHARACTERS and index:
            return letters[:index]
    return letters
