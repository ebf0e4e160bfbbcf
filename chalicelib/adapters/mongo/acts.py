"""Acts of operators, as documents of the collection `acts`."""

from __future__ import annotations

from pymongo import ASCENDING, DESCENDING, IndexModel

from chalicelib.adapters.mongo.documents import Document
from chalicelib.adapters.mongo.indexes import PRESENT_TEXT
from chalicelib.domain.acts import Act

ACT_INDEXES = [
    IndexModel(
        [("productId", ASCENDING), ("_id", DESCENDING)],
        name="product",
        partialFilterExpression={"productId": PRESENT_TEXT},
    )
]
"""No process waits for these: without them a query is slow, and nothing else."""


def act_to_document(act: Act) -> Document:
    return {
        "_id": act.id,
        "at": act.at,
        "who": act.who,
        "what": str(act.what),
        "why": act.why,
        "productId": act.product_id,
        "details": act.details,
    }


def to_act(document: Document) -> Act:
    return Act(
        id=document["_id"],
        at=document["at"],
        who=document["who"],
        what=document["what"],
        why=document["why"],
        product_id=document["productId"],
        details=document["details"],
    )
