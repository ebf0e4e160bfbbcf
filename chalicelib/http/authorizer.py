"""Authorization: which operations a bearer token allows.

API Gateway calls the Lambda authorizer before it invokes the app, and passes the authorizer's
context to the app. The app checks every request again. Without such a context (behind another
gateway, in the container host, or invoked directly) it verifies the token itself.
"""

from __future__ import annotations

import re

from chalice.app import AuthResponse, AuthRoute, Request

from chalicelib import telemetry
from chalicelib.domain.errors import CatalogError, InvalidTokenError
from chalicelib.http.contract import OPERATIONS, Operation
from chalicelib.usecases.ports import Caller, TokenVerifier

UNAUTHORIZED = "`Authorization: Bearer` needs a token that is valid and has not expired"
"""Why a token is refused is in the log only."""


class UnauthorizedError(CatalogError):
    """The token is missing or not valid."""


class ForbiddenError(CatalogError):
    """The token is valid, but lacks the scope of this operation."""


def policy(tokens: TokenVerifier, authorization: str) -> AuthResponse:
    """Give the policy for an Authorization header's value.

    Raises an exception with the text that makes API Gateway answer 401.
    """
    try:
        caller = _verified(tokens, authorization)
    except UnauthorizedError as error:
        # API Gateway answers 401 only for exactly this text.
        raise Exception("Unauthorized") from error  # noqa: TRY002
    except Exception:
        # Lambda counts a refused token as an error of the function, so its count wakes nobody.
        telemetry.count(authorizer_failed=1)
        raise
    allowed: list[str | AuthRoute] = [
        AuthRoute(re.sub(r"{\w+}", "*", operation.path), [operation.method])
        for operation in OPERATIONS
        # Always with the open operations: a policy must have at least one resource.
        if _may(caller, operation)
    ]
    return AuthResponse(allowed, caller.principal or "anonymous", _context(caller))


def admit(tokens: TokenVerifier, operation: Operation, request: Request) -> None:
    """Return if the request is allowed, and store its caller in its context; see `principal`.

    Raises UnauthorizedError, ForbiddenError.
    """
    caller = _passed_on(request)
    if caller is None:
        caller = _verified(tokens, request.headers.get("authorization", ""))
    if not _may(caller, operation):
        needed = " or ".join(sorted(operation.scopes))
        raise ForbiddenError(f"the token lacks the scope {needed}")
    request.context["authorizer"] = _context(caller)


def principal(request: Request) -> str:
    """Give the token's `sub`; empty if it has none."""
    caller = _passed_on(request)
    return caller.principal if caller else ""


def _verified(tokens: TokenVerifier, authorization: str) -> Caller:
    try:
        return tokens.verify(authorization)
    except InvalidTokenError as error:
        telemetry.log.info("token refused", reason=str(error))
        raise UnauthorizedError(UNAUTHORIZED) from error


def _may(caller: Caller, operation: Operation) -> bool:
    return not operation.scopes or bool(operation.scopes & caller.scopes)


def _context(caller: Caller) -> dict[str, str]:
    """Build the context for the app; API Gateway passes on text only."""
    return {"scope": " ".join(sorted(caller.scopes)), "sub": caller.principal}


def _passed_on(request: Request) -> Caller | None:
    """Parse what `_context` built. A context of another authorizer is ignored."""
    match request.context.get("authorizer"):
        case {"scope": str(scope), "sub": str(sub)}:
            return Caller(sub, frozenset(scope.split()))
    return None
