"""The acts of operators: kept before they take effect, and listed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from chalicelib.domain.acts import Act, ActKind
from chalicelib.domain.exact_json import Json
from chalicelib.usecases.catalog import Origin
from chalicelib.usecases.listing import PAGE_LIMIT
from chalicelib.usecases.ports import Store
from chalicelib.usecases.validation import validated

REASON_LIMIT = 500
"""Characters of a reason."""
NOBODY = Origin()
"""A caller that is not known."""
UNKNOWN = "unknown"
"""Who acts with a token that has no `sub`."""


class ActsRequest(BaseModel):
    """The query parameters of the list of acts."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=20, ge=1, le=PAGE_LIMIT, description="Acts on a page, at most.")
    cursor: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{24}$",
        description="The `nextCursor` of the page before.",
    )


class Acts:
    """Keeps what operators do, for ever. Every method raises StoreUnavailableError."""

    def __init__(
        self, store: Store, *, clock: Callable[[], datetime], new_id: Callable[[], str]
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id

    def record(
        self,
        what: ActKind,
        origin: Origin,
        *,
        why: str | None = None,
        product_id: str | None = None,
        **details: object,
    ) -> None:
        """Keep an act that is about to take effect: if this raises, it must not.

        To be called when nothing but the store can refuse the act any more. `details` are JSON.
        """
        who, now = origin.principal or UNKNOWN, self._clock()
        self._store.add_act(Act(self._new_id(), now, who, what, why, product_id, details))

    def page(self, parameters: object) -> Json:
        """Give a page of acts, newest first: `{items, nextCursor}`. Raises InvalidRequestError."""
        request = validated(ActsRequest, parameters)
        found = self._store.acts(request.limit + 1, before=request.cursor)
        page = found[: request.limit]
        return {
            "items": [act.to_json() for act in page],
            "nextCursor": page[-1].id if len(found) > len(page) else None,
        }
