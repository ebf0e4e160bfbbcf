"""Bearer tokens: JWTs signed with our secret (HS256) or by an identity provider (JWKS)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import jwt
from jwt.types import Options

from chalicelib.domain.errors import InvalidTokenError
from chalicelib.usecases.ports import Caller

LEEWAY_SECONDS = 5
"""Allowed difference between our clock and the identity provider's."""
KNOWN_SECONDS = 60.0
"""How long a verified token counts as verified, at most until its `exp`. A key that the identity
provider has withdrawn is accepted for so much longer."""
KNOWN_LIMIT = 256
# The scopes say which API a token is for, so `aud` is not checked.
_OPTIONS: Options = {"require": ["exp"], "verify_aud": False}


@dataclass(frozen=True, slots=True)
class _Known:
    """A caller whose token was verified; `until` is a time of the monotonic clock."""

    caller: Caller
    expires: int
    until: float

    def is_good(self) -> bool:
        return time.time() < self.expires and time.monotonic() < self.until


class JwtVerifier:
    """Implements `ports.TokenVerifier`: checks signature, `exp` and shape of a token."""

    def __init__(self, secret: str | None, jwks_url: str | None) -> None:
        self._secret = secret
        # The client fetches the keys at the first token, and caches the whole set for five minutes.
        # A cache of single keys would keep a withdrawn key for ever.
        self._jwks = jwt.PyJWKClient(jwks_url, cache_keys=False, timeout=5) if jwks_url else None
        self._known: dict[str, _Known] = {}

    def verify(self, authorization: str) -> Caller:
        """Verify an Authorization header's value. Raises InvalidTokenError.

        Raises jwt.PyJWKClientConnectionError if the identity provider's keys cannot be fetched.
        """
        known = self._known.get(authorization)
        if known is None or not known.is_good():
            known = self._verified(authorization)
            if len(self._known) >= KNOWN_LIMIT:
                self._known.clear()
            self._known[authorization] = known
        return known.caller

    def _verified(self, authorization: str) -> _Known:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise InvalidTokenError("not a bearer token")
        try:
            claims = self._decode(token.strip())
        except jwt.PyJWKClientConnectionError:
            # The token may be valid: not the caller's fault.
            raise
        # RecursionError: the token's JSON is nested too deeply for the library's parser.
        except (jwt.PyJWTError, RecursionError) as error:
            raise InvalidTokenError(str(error)) from error
        scope = claims.get("scope", "")
        if not isinstance(scope, str):
            raise InvalidTokenError("the scope claim is not a string")
        caller = Caller(str(claims.get("sub", "")), frozenset(scope.split()))
        return _Known(caller, int(claims["exp"]), time.monotonic() + KNOWN_SECONDS)

    def _decode(self, token: str) -> dict[str, Any]:
        # The kind of key decides the algorithm, not the token: otherwise a token signed HS256 with
        # a public key as its secret would be accepted.
        algorithm = jwt.get_unverified_header(token).get("alg")
        if algorithm == "HS256" and self._secret is not None:
            return _checked(token, self._secret, ["HS256"])
        if algorithm in ("RS256", "ES256") and self._jwks is not None:
            return _checked(token, _signing_key(self._jwks, token), ["RS256", "ES256"])
        raise jwt.InvalidAlgorithmError(f"the algorithm {algorithm} is not accepted here")


def _checked(token: str, key: str | jwt.PyJWK, algorithms: list[str]) -> dict[str, Any]:
    return jwt.decode(token, key, algorithms, options=_OPTIONS, leeway=LEEWAY_SECONDS)


def _signing_key(keys: jwt.PyJWKClient, token: str) -> jwt.PyJWK:
    try:
        keys.get_jwk_set()
    except (jwt.PyJWTError, OSError, ValueError) as error:
        # Without keys the token cannot be judged: the provider's fault, not the token's.
        raise jwt.PyJWKClientConnectionError(f"no keys from the provider: {error}") from error
    return keys.get_signing_key_from_jwt(token)
