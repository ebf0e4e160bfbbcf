"""Who may do what: a bearer token becomes the operations that it allows.

API Gateway's Lambda authorizer asks before the app is invoked, and passes on what it found. The app
checks every request once more, and reads the token itself where nothing was passed on: behind
another gateway, in the container host, or invoked directly.
"""

from __future__ import annotations

import re

from chalice.app import AuthResponse, AuthRoute, Request

from chalicelib import telemetry
from chalicelib.domain.errors import CatalogError, InvalidTokenError
from chalicelib.http.openapi import OPERATIONS, Operation
from chalicelib.usecases.ports import Caller, TokenVerifier


class UnauthorizedError(CatalogError):
    """No token, or one that proves nothing."""


class ForbiddenError(CatalogError):
    """The token is good, but not for this operation."""


def policy(tokens: TokenVerifier, authorization: str) -> AuthResponse:
    """Give the policy for an Authorization header's value.

    Raises an exception with the text that makes API Gateway answer 401.
    """
    try:
        caller = _verified(tokens, authorization)
    except UnauthorizedError as error:
        # API Gateway's contract: this very text makes it answer 401.
        raise Exception("Unauthorized") from error  # noqa: TRY002
    allowed: list[str | AuthRoute] = [
        AuthRoute(re.sub(r"{\w+}", "*", operation.path), [operation.method])
        for operation in OPERATIONS
        # The open ones are always in: a policy must name at least one resource.
        if _may(caller, operation)
    ]
    return AuthResponse(allowed, caller.principal or "anonymous", _context(caller))


def admit(tokens: TokenVerifier, operation: Operation, request: Request) -> None:
    """Let a request pass, and note its caller in its context; see `principal`.

    Raises UnauthorizedError, ForbiddenError.
    """
    caller = _passed_on(request)
    if caller is None:
        caller = _verified(tokens, request.headers.get("authorization", ""))
    if not _may(caller, operation):
        raise ForbiddenError("the token lacks the scope")
    request.context["authorizer"] = _context(caller)


def principal(request: Request) -> str:
    """Say who asks; empty if the token does not name its owner."""
    caller = _passed_on(request)
    return caller.principal if caller else ""


def _verified(tokens: TokenVerifier, authorization: str) -> Caller:
    try:
        return tokens.verify(authorization)
    except InvalidTokenError as error:
        telemetry.log.info("token refused", reason=str(error))
        raise UnauthorizedError("a valid bearer token is required") from error


def _may(caller: Caller, operation: Operation) -> bool:
    return not operation.scopes or bool(operation.scopes & caller.scopes)


def _context(caller: Caller) -> dict[str, str]:
    """Write what the app needs to know; API Gateway passes on text only."""
    return {"scope": " ".join(sorted(caller.scopes)), "sub": caller.principal}


def _passed_on(request: Request) -> Caller | None:
    """Read what `_context` wrote. Any other authorizer's context counts as none at all."""
    match request.context.get("authorizer"):
        case {"scope": str(scope), "sub": str(sub)}:
            return Caller(sub, frozenset(scope.split()))
    return None
