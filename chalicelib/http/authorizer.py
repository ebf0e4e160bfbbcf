"""API Gateway's Lambda authorizer: a bearer token becomes the operations that it allows."""

from __future__ import annotations

import re

from chalice.app import AuthResponse, AuthRoute

from chalicelib import telemetry
from chalicelib.domain.errors import InvalidTokenError
from chalicelib.http.openapi import OPERATIONS
from chalicelib.usecases.ports import TokenVerifier


def policy(tokens: TokenVerifier, authorization: str) -> AuthResponse:
    """Give the policy for an Authorization header's value.

    Raises an exception with the text that makes API Gateway answer 401.
    """
    try:
        caller = tokens.verify(authorization)
    except InvalidTokenError as error:
        telemetry.log.info("token refused", reason=str(error))
        # API Gateway's contract: this very text makes it answer 401.
        raise Exception("Unauthorized") from error  # noqa: TRY002
    allowed: list[str | AuthRoute] = [
        AuthRoute(re.sub(r"{\w+}", "*", operation.path), [operation.method])
        for operation in OPERATIONS
        # The open ones are always in: a policy must name at least one resource.
        if not operation.scopes or operation.scopes & caller.scopes
    ]
    return AuthResponse(routes=allowed, principal_id=caller.principal or "anonymous")
