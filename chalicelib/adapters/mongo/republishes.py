"""How far a republish is, as one document of the collection `control`."""

from __future__ import annotations

from dataclasses import asdict

from chalicelib.adapters.mongo.controls import known
from chalicelib.adapters.mongo.documents import Document
from chalicelib.domain.republish import RepublishState, Run

REPUBLISH_ID = "republish"


def republish_to_document(state: RepublishState) -> Document:
    """Convert to a document; fields have the names of the dataclasses."""
    return {"_id": REPUBLISH_ID, **asdict(state)}


def to_republish(document: Document) -> RepublishState:
    """Convert a document back.

    One that cannot be read counts as new: it holds up no delivery, and the next run replaces it.
    """
    try:
        runs = {name: _to_run(document.get(name)) for name in ("run", "last")}
    except (TypeError, AttributeError):
        runs = {}
    return RepublishState(**runs, revision=document["revision"])


def _to_run(document: Document | None) -> Run | None:
    return None if document is None else Run(**known(Run, document))
