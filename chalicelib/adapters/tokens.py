"""Bearer tokens: JWTs signed with our secret (HS256) or by an identity provider (JWKS)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
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
NOTED_SECONDS = 60.0
"""How often a process says that tokens of the previous secret still come."""
PROVIDER_SECONDS = 5.0
"""How long an identity provider is waited for; and how long nobody asks it again when it fails."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A caller whose token was verified; `until` is a time of the monotonic clock."""

    caller: Caller
    expires: int
    until: float

    def is_good(self) -> bool:
        return time.time() < self.expires and time.monotonic() < self.until


class JwtVerifier:
    """Implements `ports.TokenVerifier`: checks signature, claims and shape of a token.

    `previous_secret` is accepted beside `secret`; `note_previous` is told of it once a minute at
    most, with the subject and the `exp` of such a token. `issuer` and `audience`: what each token
    must have as `iss`, and among its `aud`; None: anything.
    """

    def __init__(
        self,
        secret: str | None,
        jwks_url: str | None,
        *,
        previous_secret: str | None = None,
        issuer: str | None = None,
        audience: str | None = None,
        note_previous: Callable[[str, int], None] = lambda _, __: None,
    ) -> None:
        self._secret = secret
        self._previous_secret = previous_secret
        self._keys = _Keys(jwks_url) if jwks_url else None
        self._issuer = issuer
        self._audience = audience
        self._note_previous = note_previous
        self._note_again = 0.0
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
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if algorithm == "HS256" and self._secret is not None:
            return self._signed_with(self._secret, token)
        if algorithm in ("RS256", "ES256") and self._keys is not None:
            key = self._keys.find(header.get("kid", ""))
            return self._checked(token, key, ["RS256", "ES256"])
        raise jwt.InvalidAlgorithmError(f"the algorithm {algorithm} is not accepted here")

    def _signed_with(self, secret: str, token: str) -> dict[str, Any]:
        try:
            return self._checked(token, secret, ["HS256"])
        except jwt.InvalidSignatureError:
            if self._previous_secret is None:
                raise
        claims = self._checked(token, self._previous_secret, ["HS256"])
        self._note(claims)
        return claims

    def _checked(self, token: str, key: str | jwt.PyJWK, algorithms: list[str]) -> dict[str, Any]:
        options: Options = {"require": ["exp"], "verify_aud": self._audience is not None}
        return jwt.decode(
            token,
            key,
            algorithms,
            options=options,
            audience=self._audience,
            issuer=self._issuer,
            leeway=LEEWAY_SECONDS,
        )

    def _note(self, claims: dict[str, Any]) -> None:
        now = time.monotonic()
        if now >= self._note_again:
            self._note_again = now + NOTED_SECONDS
            self._note_previous(str(claims.get("sub", "")), int(claims["exp"]))


class _Keys:
    """The keys of an identity provider. One that fails is left alone for a while."""

    def __init__(self, url: str) -> None:
        # The client fetches the keys at the first token, and caches the whole set for five minutes.
        # A cache of single keys would keep a withdrawn key for ever.
        self._client = jwt.PyJWKClient(url, cache_keys=False, timeout=PROVIDER_SECONDS)
        self._asking = threading.Lock()
        self._ask_again = 0.0

    def find(self, name: str) -> jwt.PyJWK:
        """Find a key by its `kid`. Raises PyJWKClientError if the provider has none of this name.

        Raises PyJWKClientConnectionError if it does not give its keys.
        """
        return self._held(name) or self._asked(name)

    def _held(self, name: str) -> jwt.PyJWK | None:
        """Look among the keys at hand: a known key waits for nobody who asks for another one."""
        cache = self._client.jwk_set_cache
        if cache is None or cache.get() is None:
            return None
        return self._client.match_kid(self._client.get_signing_keys(), name)

    def _asked(self, name: str) -> jwt.PyJWK:
        # Those that have waited for one that got no answer get none either, and do not ask.
        with self._asking:
            if time.monotonic() < self._ask_again:
                raise jwt.PyJWKClientConnectionError("the provider gave no keys a moment ago")
            try:
                self._client.get_jwk_set()
            except (jwt.PyJWTError, OSError, ValueError) as error:
                raise self._away(error) from error
            try:
                # Fetches the keys again for an unknown name, once in 30 s at most.
                return self._client.get_signing_key(name)
            except (
                jwt.PyJWKClientConnectionError,
                jwt.PyJWKSetError,
                OSError,
                ValueError,
            ) as error:
                raise self._away(error) from error

    def _away(self, error: Exception) -> jwt.PyJWKClientConnectionError:
        """Without keys the token cannot be judged: the provider's fault, not the token's."""
        self._ask_again = time.monotonic() + PROVIDER_SECONDS
        return jwt.PyJWKClientConnectionError(f"no keys from the provider: {error}")
