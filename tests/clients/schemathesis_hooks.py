"""What schemathesis cannot know of the API. Each line of the tables says why it is no fault.

A failure that is in no table here is one. Schemathesis loads this module by the name that
schemathesis.toml gives.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.openapi.checks import RejectedPositiveData, UseAfterFree

if TYPE_CHECKING:
    from schemathesis import Case, HookContext, Response
    from schemathesis.core.failures import Failure

UNSTATED = {
    # JSON Schema's word for it is multipleOf. Validators compute it with binary floats, and then
    # 19.99 is no multiple of 0.0001.
    r"(items\.\d+\.)?price: Decimal input should have no more than 4 decimal places",
    r"(items\.\d+\.)?price: Decimal input should have no more than 34 digits in total",
    r"(items\.\d+\.)?attributes\..*: Decimal input should have no more than 20 decimal places",
    r"(items\.\d+\.)?attributes\..*: Decimal input should have no more than 34 digits in total",
    # A cursor is the list's own, and no pattern can tell whether the list gave it out.
    r"cursor: is not one that this list gave out: begin without it",
    # No schema knows what time it is, and only if/then, which generators of clients do not read,
    # can make one field depend on another.
    r"until: (must be in the future|must be within \d+ days|is only for a pause)",
    # Nor can a schema compare two times.
    r"until: must not be before since",
    # A schema describes one parameter, and the query or the body, not two of them together.
    r"sort: cannot be \w+: with \w+ the list is in the order of \w+",
    r"updatedSince: cannot be combined with name",
    r"\w+: is given twice",
}
"""Rules that the document's schemas cannot state; its descriptions do."""


def _breaks_unstated_rules_only(response: Response) -> bool:
    problem = response.json()
    if problem["type"].endswith(":key-reused"):
        # It depends on the requests before: the key came with another body.
        return True
    faults = [f"{fault['field']}: {fault['message']}" for fault in problem["errors"]]
    return all(any(re.fullmatch(rule, fault) for rule in UNSTATED) for fault in faults)


def _expected(failure: Failure, case: Case[Any], response: Response) -> bool:
    status = response.status_code
    name = case.operation.definition.raw["operationId"]
    match failure:
        case RejectedPositiveData() if status == 422:
            return _breaks_unstated_rules_only(response)
        case RejectedPositiveData() | AcceptedNegativeData() if status == 412:
            # A refusal like 404 and 409: it depends on the version that the product has, and comes
            # before the body is judged.
            return True
        case AcceptedNegativeData() if status == 413:
            # A refusal too: the body was too large to be judged.
            return True
        case AcceptedNegativeData():
            # Each item of a batch is judged on its own, and has its own 422 in the answer.
            return name == "createProducts" and status == 207
        case UseAfterFree():
            # The deletion itself is on its way to the supply chain, and this is how far it is.
            return name in {"getProductSync", "getProductTimeline", "replayProduct"}
    return False


@schemathesis.hook
def filter_failure(_: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """Keep the failures that nothing explains."""
    return not _expected(failure, case, response)


@schemathesis.hook
def before_call(_: HookContext, case: Case[Any], __: dict[str, Any]) -> None:
    """Round generated prices: nearly all have more places than a price may have."""
    body: Any = case.body
    given = body["items"] if isinstance(body, dict) and "items" in body else [body]
    for product in given if isinstance(given, list) else []:
        price = product.get("price") if isinstance(product, dict) else None
        if isinstance(price, float) and price >= 0.0001:
            product["price"] = round(price, 4)
