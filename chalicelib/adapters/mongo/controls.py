"""The state of the sync as a whole, as a document of the collection `control`."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from chalicelib.adapters.mongo.documents import Document
from chalicelib.domain.breaker import Breaker, BreakerState, Tally
from chalicelib.domain.control import CatchUp, Control, Pause, Redrive
from chalicelib.domain.errors import StoreUnavailableError
from chalicelib.domain.selection import Selection
from chalicelib.domain.sync_state import Position, SyncStatus

CONTROL_ID = "sync"
_FILTERED = "filtered_redrive"


def control_to_document(control: Control) -> Document:
    """Convert to a document; fields have the names of the dataclasses."""
    document = {"_id": CONTROL_ID, **asdict(control)}
    breaker = document["breaker"]
    breaker["state"] = control.breaker.state.value
    # As text: BSON cuts off microseconds, and each time that gives permits back.
    if control.breaker.spent_until is not None:
        breaker["spent_until"] = control.breaker.spent_until.isoformat()
    breaker["tallies"] = [
        {**tally, "products": sorted(tally["products"])} for tally in breaker["tallies"]
    ]
    if control.redrive is not None:
        statuses = [status.value for status in control.redrive.statuses]
        document["redrive"]["statuses"] = statuses
        if control.redrive.selections:
            # Under another name: processes of the release before would redrive all of them.
            document[_FILTERED] = document["redrive"]
            document["redrive"] = None
    return document


def to_control(document: Document) -> Control:
    """Convert a document back. Raises StoreUnavailableError if it is not one.

    Nothing is delivered then: it may say that an operator has paused.
    """
    try:
        return Control(
            _to_breaker(document["breaker"]),
            Pause(**known(Pause, document["pause"])) if document["pause"] else None,
            _to_catch_up(document["catch_up"]),
            _to_redrive(document.get(_FILTERED) or document["redrive"]),
            document["revision"],
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise StoreUnavailableError(
            f"the document {CONTROL_ID} of `control` cannot be read: {error!r}"
        ) from error


def known(target: type[Any], document: Document) -> Document:
    """Leave out fields of a later release."""
    names = {field.name for field in fields(target)}
    return {name: value for name, value in document.items() if name in names}


def _to_breaker(document: Document) -> Breaker:
    tallies = tuple(
        Tally(**{**known(Tally, tally), "products": frozenset(tally["products"])})
        for tally in document["tallies"]
    )
    state, spent = BreakerState(document["state"]), document["spent_until"]
    return Breaker(
        **{
            **known(Breaker, document),
            "state": state,
            "spent_until": datetime.fromisoformat(spent) if spent else None,
            "tallies": tallies,
        }
    )


def _to_catch_up(document: Document | None) -> CatchUp | None:
    if document is None:
        return None
    return CatchUp(document["since"], _to_position(document["after"]))


def _to_redrive(document: Document | None) -> Redrive | None:
    if document is None:
        return None
    statuses = tuple(SyncStatus(status) for status in document["statuses"])
    after = _to_position(document["after"])
    # Not in documents of earlier releases.
    asked_at = tuple(document.get("asked_at", ()))
    chosen = document.get("selections", ())
    if any(known(Selection, each) != each for each in chosen):
        # A later release has stored it: what it leaves out by a condition unknown here must stay.
        return None
    selections = tuple(Selection(**each) for each in chosen)
    return Redrive(
        **{
            **known(Redrive, document),
            "statuses": statuses,
            "after": after,
            "asked_at": asked_at,
            "selections": selections,
        }
    )


def _to_position(document: Document | None) -> Position | None:
    return Position(**known(Position, document)) if document else None
