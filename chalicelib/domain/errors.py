"""What can go wrong in the domain. Nothing here knows HTTP; `http/problems.py` holds the table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field at fault: `field` is its JSON path (`attributes.color`), `message` says why."""

    field: str
    message: str


class CatalogError(Exception):
    """Base of every error that a caller of the catalog can cause or must handle."""


class MalformedRequestError(CatalogError):
    """The request cannot be parsed (not JSON, wrong encoding)."""


class InvalidRequestError(CatalogError):
    """The request can be parsed but breaks a rule; `errors` names the fields at fault."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = errors


class PayloadTooLargeError(CatalogError):
    """The request body, or the product that it would make, exceeds the limit."""


class ProductNotFoundError(CatalogError):
    """No product has this id (any more)."""


class DuplicateSkuError(CatalogError):
    """Another product already has this sku: `product_id`, or None if it is not known (any more)."""

    def __init__(self, product_id: str | None = None) -> None:
        now = f"product {product_id} has this sku" if product_id else None
        super().__init__(now or "another product had this sku when this was to be written")
        self.product_id = product_id


class DuplicateIdempotencyKeyError(CatalogError):
    """A product was already created under this idempotency key."""


class VersionMismatchError(CatalogError):
    """The product is not at the version that the caller requires."""


class IdempotencyKeyReusedError(CatalogError):
    """The idempotency key was used before, with another body."""


class ConcurrentChangeError(CatalogError):
    """Other writers changed the product during every try of this write."""


class RedriveUnderWayError(CatalogError):
    """So many redrives with different filters are under way that another one must wait."""


class ReadOnlyError(CatalogError):
    """No write is accepted while a restored store is made whole."""


class NotRestoringError(CatalogError):
    """A restore needs the catalog to be read-only; the text says how."""


class StoreUnavailableError(CatalogError):
    """The product store cannot be reached; whether a write took place is unknown."""


class StoreNotMigratedError(StoreUnavailableError):
    """The product store lacks what the migration makes; the text says what. Nothing was written."""


class UnreadableDocumentError(CatalogError):
    """A stored document is not one that this version of the code can read; the text says why."""


class QueueUnavailableError(CatalogError):
    """The queue cannot be reached or refused the request as a whole."""


class StreamUnavailableError(CatalogError):
    """The event stream cannot be reached."""


class StreamNotMigratedError(StreamUnavailableError):
    """Stream or consumer is missing, or not as the catalog needs it; the text says what to do."""


class PoisonMessageError(CatalogError):
    """A message that cannot be parsed, however often it is received; the text says why."""


class InvalidTokenError(Exception):
    """The token is not valid; the text says why, for the log only."""
