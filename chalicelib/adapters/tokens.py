"""Bearer tokens: JWTs signed with our secret (HS256) or by an identity provider (JWKS)."""

from __future__ import annotations

import jwt
from jwt.types import Options

from chalicelib.domain.errors import InvalidTokenError
from chalicelib.usecases.ports import Caller

LEEWAY_SECONDS = 5
"""What our clock and the identity provider's may differ."""
# Which API a token is for, its scopes say; an `aud` claim is the provider's own affair.
_OPTIONS: Options = {"require": ["exp"], "verify_aud": False}


class JwtVerifier:
    """Implements `ports.TokenVerifier`: checks signature, `exp` and shape of a token."""

    def __init__(self, secret: str | None, jwks_url: str | None) -> None:
        self._secret = secret
        # The client fetches at the first token, and keeps the set of keys for five minutes; a
        # cache of single keys would keep one that was withdrawn for ever.
        self._jwks = jwt.PyJWKClient(jwks_url, cache_keys=False, timeout=5) if jwks_url else None

    def verify(self, authorization: str) -> Caller:
        """Read an Authorization header's value. Raises InvalidTokenError.

        Raises jwt.PyJWKClientConnectionError if the identity provider cannot be asked for keys.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise InvalidTokenError("not a bearer token")
        try:
            claims = self._decode(token.strip())
        except jwt.PyJWKClientConnectionError:
            # That says nothing about the token: not the caller's fault.
            raise
        # A RecursionError: its JSON is nested deeper than the library's parser goes.
        except (jwt.PyJWTError, RecursionError) as error:
            raise InvalidTokenError(str(error)) from error
        scope = claims.get("scope", "")
        if not isinstance(scope, str):
            raise InvalidTokenError("the scope claim is not a string")
        return Caller(str(claims.get("sub", "")), frozenset(scope.split()))

    def _decode(self, token: str) -> dict[str, object]:
        # The algorithm follows from the kind of key, never from the token alone: a token signed
        # HS256 with a public key as its secret must not pass.
        algorithm = jwt.get_unverified_header(token).get("alg")
        if algorithm == "HS256" and self._secret is not None:
            return _checked(token, self._secret, ["HS256"])
        if algorithm in ("RS256", "ES256") and self._jwks is not None:
            return _checked(token, _signing_key(self._jwks, token), ["RS256", "ES256"])
        raise jwt.InvalidAlgorithmError(f"the algorithm {algorithm} is not accepted here")


def _checked(token: str, key: str | jwt.PyJWK, algorithms: list[str]) -> dict[str, object]:
    return jwt.decode(token, key, algorithms, options=_OPTIONS, leeway=LEEWAY_SECONDS)


def _signing_key(keys: jwt.PyJWKClient, token: str) -> jwt.PyJWK:
    try:
        keys.get_jwk_set()
    except (jwt.PyJWTError, OSError, ValueError) as error:
        # No keys, whatever the reason: that is the provider's fault, not the token's.
        raise jwt.PyJWKClientConnectionError(f"no keys from the provider: {error}") from error
    return keys.get_signing_key_from_jwt(token)
