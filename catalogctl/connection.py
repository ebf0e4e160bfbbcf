"""Where the catalog is, and who asks: from options, else the environment, else the embedded stack.

The only part of the command line that reads the environment.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from catalogctl.client import Api
from catalogctl.errors import UsageError
from catalogctl.events import Source
from chalicelib.domain import exact_json
from chalicelib.domain.events import StreamNames
from chalicelib.domain.exact_json import Json

STACK_FILE = Path(".run", "stack.json")
SECRET_BYTES = 32
"""What the API asks of CATALOG_JWT_SECRET too."""


def stack_file(folder: Path) -> Path | None:
    """Find the file of the nearest embedded stack, in this folder or above."""
    found = (above / STACK_FILE for above in (folder, *folder.parents))
    return next((path for path in found if path.is_file()), None)


def _read(path: Path | None) -> Json:
    if path is None:
        return {}
    try:
        content = exact_json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}): make up writes it again") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} has no addresses: make up writes it again")
    return content


@dataclass(frozen=True, slots=True)
class Connection:
    """The addresses and secrets of one run of the command; what is missing is a UsageError."""

    given_api: str | None = None
    given_token: str | None = None
    folder: Path = field(default_factory=Path.cwd)

    def api(self) -> Api:
        """Give the API. The token of the embedded stack goes to no other API."""
        address, token = self.address_and_token()
        return Api(address, token)

    def address_and_token(self) -> tuple[str, str]:
        """Give the API's address and the token for it."""
        address = self.given_api or os.environ.get("CATALOG_API")
        token = self.given_token or os.environ.get("CATALOG_TOKEN")
        if address and not token:
            raise UsageError(f"there is no token for {address}: set CATALOG_TOKEN")
        stack = {} if address else self._stack()
        address, token = address or stack.get("api"), token or stack.get("token")
        if not address:
            raise UsageError("there is no API: set CATALOG_API, or start a stack with make up")
        if not token:
            raise UsageError("the stack has no token of its own: set CATALOG_TOKEN")
        return address, token

    def nats(self) -> Source:
        """Give the address of NATS, the credentials, and the names of the stream."""
        if url := os.environ.get("NATS_URL"):
            names = StreamNames.of(os.environ.get("NATS_PREFIX"))
            return Source(url, os.environ.get("NATS_CREDENTIALS") or None, names)
        stack = self._stack()
        if url := stack.get("nats"):
            return Source(str(url), names=StreamNames.of(stack.get("natsPrefix")))
        raise UsageError("there is no NATS: set NATS_URL, or start a stack with make up")

    def secret(self) -> str:
        """Give the secret that tokens are signed with."""
        secret = os.environ.get("CATALOG_JWT_SECRET") or self._stack().get("jwtSecret")
        if not secret:
            raise UsageError(
                "there is no secret to sign with: set CATALOG_JWT_SECRET to that of the API. "
                "With CATALOG_JWKS_URL the identity provider makes the tokens."
            )
        if len(secret.encode()) < SECRET_BYTES:
            raise UsageError(f"CATALOG_JWT_SECRET must have {SECRET_BYTES} bytes or more")
        return str(secret)

    def issuer_and_audience(self) -> tuple[str | None, str | None]:
        """Give `iss` and `aud` that the API asks of tokens, None for one that it does not check."""
        names = ("CATALOG_JWT_ISSUER", "CATALOG_JWT_AUDIENCE")
        issuer, audience = (os.environ.get(name) or None for name in names)
        return issuer, audience

    def _stack(self) -> Json:
        return _read(stack_file(self.folder))
