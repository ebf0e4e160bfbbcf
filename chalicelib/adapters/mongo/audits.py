"""How far audits are, as one document of the collection `control`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from chalicelib.adapters.mongo.controls import known
from chalicelib.adapters.mongo.documents import Document
from chalicelib.domain.audit import AuditState, Difference, Example, Run

AUDIT_ID = "audit"
_RUNS = ("run", "last", "rolling", "rolled", "stopped")


def audit_to_document(state: AuditState) -> Document:
    """Convert to a document; fields have the names of the dataclasses."""
    runs = {name: _from_run(getattr(state, name)) for name in _RUNS}
    return {"_id": AUDIT_ID, **runs, "revision": state.revision}


def _from_run(run: Run | None) -> Document | None:
    if run is None:
        return None
    examples = [
        {**asdict(item), "difference": item.difference.value, "fields": list(item.fields)}
        for item in run.examples
    ]
    counts = {kind.value: count for kind, count in run.differences.items()}
    # Not asdict of the whole run, which would copy all examples once more.
    return {**_plain(run), "differences": counts, "examples": examples}


def _plain(run: Run) -> dict[str, Any]:
    return {name: getattr(run, name) for name in Run.__slots__}


def to_audit(document: Document) -> AuditState:
    """Convert a document back.

    One that cannot be read counts as new: it holds up no delivery, and the next audit replaces it.
    """
    try:
        runs = {name: _to_run(document.get(name)) for name in _RUNS}
    except (LookupError, TypeError, ValueError, AttributeError):
        runs = {}
    return AuditState(**runs, revision=document["revision"])


def _to_run(document: Document | None) -> Run | None:
    if document is None:
        return None
    counts = {Difference(kind): count for kind, count in document["differences"].items()}
    examples = tuple(_to_example(item) for item in document["examples"])
    return Run(**{**known(Run, document), "differences": counts, "examples": examples})


def _to_example(document: Document) -> Example:
    difference, fields = Difference(document["difference"]), tuple(document["fields"])
    return Example(**{**known(Example, document), "difference": difference, "fields": fields})
