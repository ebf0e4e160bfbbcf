"""Poison letters, as documents of the collection `poison`; the message's id is theirs."""

from __future__ import annotations

import re

from chalicelib.adapters.mongo.documents import Document
from chalicelib.domain.poison import PoisonLetter, PoisonSelection


def letter_to_document(letter: PoisonLetter) -> Document:
    return {
        "_id": letter.message_id,
        "reason": letter.reason,
        "body": letter.body,
        "seenAt": letter.seen_at,
    }


def to_letter(document: Document) -> PoisonLetter:
    return PoisonLetter(document["_id"], document["reason"], document["body"], document["seenAt"])


def condition_of(selection: PoisonSelection, after: str | None = None) -> Document:
    """Say which documents are selected; `after` this message id."""
    wanted: Document = {}
    names = {} if selection.message_ids is None else {"$in": sorted(selection.message_ids)}
    if place := names | ({} if after is None else {"$gt": after}):
        wanted["_id"] = place
    if selection.reason is not None:
        wanted["reason"] = {"$regex": re.escape(selection.reason), "$options": "i"}
    times = {"$gte": selection.since, "$lte": selection.until}
    if bounds := {name: time for name, time in times.items() if time is not None}:
        wanted["seenAt"] = bounds
    return wanted
