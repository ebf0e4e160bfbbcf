"""How far a restore is, as one document of the collection `control`."""

from __future__ import annotations

from dataclasses import asdict

from chalicelib.adapters.mongo.controls import known
from chalicelib.adapters.mongo.documents import Document
from chalicelib.domain.restore import Clash, Loss, Phase, Restore, RestoreState, Stray

RESTORE_ID = "restore"


def restore_to_document(state: RestoreState) -> Document:
    """Convert to a document; fields have the names of the dataclasses."""
    document = {"_id": RESTORE_ID, **asdict(state)}
    if state.run is not None:
        document["run"]["phase"] = state.run.phase.value
        # Pairs, since an id of another publisher may contain what a field name must not.
        document["run"]["skus"] = [list(pair) for pair in state.run.skus.items()]
    return document


def to_restore(document: Document) -> RestoreState:
    """Convert a document back. One that cannot be read counts as none: a start replaces it."""
    try:
        run = _to_run(document["run"])
    except (LookupError, TypeError, ValueError, AttributeError):
        run = None
    return RestoreState(run, document["revision"])


def _to_run(document: Document | None) -> Restore | None:
    if document is None:
        return None
    plain = {
        "phase": Phase(document["phase"]),
        "skus": dict(document["skus"]),
        "unreadable": tuple(document["unreadable"]),
        "losses": tuple(Loss(**known(Loss, each)) for each in document["losses"]),
        "clashes": tuple(Clash(**known(Clash, each)) for each in document["clashes"]),
        "strays": tuple(Stray(**known(Stray, each)) for each in document["strays"]),
    }
    return Restore(**{**known(Restore, document), **plain})
