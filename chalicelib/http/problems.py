"""The one table from errors to HTTP, as RFC 9457 problem details."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from chalice.app import Response

from chalicelib.domain import errors, exact_json
from chalicelib.domain.exact_json import Json
from chalicelib.http.authorizer import ForbiddenError, UnauthorizedError

RETRY_AFTER = {"Retry-After": "5"}
RESTORED_SOON = {"Retry-After": "60"}


class NoSuchRouteError(errors.CatalogError):
    """No operation has this path."""


class MethodNotAllowedError(errors.CatalogError):
    """The path has operations, but none with this method."""


class UriTooLongError(errors.CatalogError):
    """The request line is longer than the web server reads."""


class HeadersTooLargeError(errors.CatalogError):
    """The headers are more, or longer, than the web server reads."""


class ExpectationError(errors.CatalogError):
    """The client expects what the web server does not know."""


class UnknownCodingError(errors.CatalogError):
    """The body has a transfer coding that the web server does not know."""


class Problem(NamedTuple):
    """How a domain error reads in HTTP."""

    status: int
    slug: str
    title: str
    headers: Mapping[str, str] = {}


PROBLEMS: dict[type[Exception], Problem] = {
    errors.MalformedRequestError: Problem(400, "malformed", "The request cannot be read"),
    errors.InvalidRequestError: Problem(422, "invalid", "The request breaks a rule"),
    errors.PayloadTooLargeError: Problem(413, "too-large", "The request is too large"),
    errors.ProductNotFoundError: Problem(404, "no-such-product", "No such product"),
    errors.DuplicateSkuError: Problem(409, "duplicate-sku", "The sku is taken"),
    errors.DuplicateIdempotencyKeyError: Problem(409, "in-progress", "The key is in use"),
    errors.IdempotencyKeyReusedError: Problem(422, "key-reused", "The key was used before"),
    errors.VersionMismatchError: Problem(412, "version-mismatch", "The version is another"),
    errors.ConcurrentChangeError: Problem(503, "contended", "Too many writers", RETRY_AFTER),
    errors.RedriveUnderWayError: Problem(409, "redrive-under-way", "Other redrives come first"),
    errors.NotRestoringError: Problem(409, "not-restoring", "The catalog is not read-only"),
    errors.ReadOnlyError: Problem(503, "read-only", "Read-only for a restore", RESTORED_SOON),
    errors.StoreUnavailableError: Problem(503, "unavailable", "Try again later", RETRY_AFTER),
    NoSuchRouteError: Problem(404, "no-such-route", "No such route"),
    MethodNotAllowedError: Problem(405, "method-not-allowed", "The path has other methods"),
    UriTooLongError: Problem(414, "uri-too-long", "The URI is too long"),
    HeadersTooLargeError: Problem(431, "headers-too-large", "The headers are too large"),
    ExpectationError: Problem(417, "unknown-expectation", "The expectation is unknown"),
    UnknownCodingError: Problem(501, "unknown-coding", "The transfer coding is unknown"),
    UnauthorizedError: Problem(401, "unauthorized", "Unauthorized", {"WWW-Authenticate": "Bearer"}),
    ForbiddenError: Problem(403, "forbidden", "Forbidden"),
    errors.UnreadableDocumentError: Problem(500, "unreadable", "The product cannot be read"),
    Exception: Problem(500, "internal", "Something went wrong here"),
}


def problem_of(error: Exception) -> Problem:
    """Find the row of an error's class, or of its nearest base class in the table."""
    return next(PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS)


def details(slug: str, title: str, status: int, detail: str) -> Json:
    """Build problem details."""
    return {
        "type": f"urn:product-catalog:problem:{slug}",
        "title": title,
        "status": status,
        "detail": detail,
    }


def problem_body(error: Exception) -> Json:
    """Give the problem details of an error; those of an unexpected error reveal nothing."""
    problem = problem_of(error)
    detail = str(error) if problem.status < 500 else problem.title
    body = details(problem.slug, problem.title, problem.status, detail)
    if isinstance(error, errors.InvalidRequestError):
        body["errors"] = [{"field": item.field, "message": item.message} for item in error.errors]
    if isinstance(error, errors.DuplicateSkuError) and error.product_id is not None:
        body["productId"] = error.product_id
    return body


def problem_response(error: Exception) -> Response:
    """Answer with problem details."""
    problem = problem_of(error)
    headers: dict[str, str | list[str]] = {
        "Content-Type": "application/problem+json",
        **problem.headers,
    }
    return Response(exact_json.dumps(problem_body(error)), headers, problem.status)
