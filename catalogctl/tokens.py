"""Bearer tokens that are signed with the catalog's own secret."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

import jwt


class Scope(StrEnum):
    """What a token allows."""

    READ = "products:read"
    WRITE = "products:write"
    ADMIN = "sync:admin"


def sign(
    secret: str,
    scopes: Iterable[str],
    subject: str,
    until: datetime,
    issuer: str | None = None,
    audience: str | None = None,
) -> str:
    """Make a token with these scopes for `subject`, whom the acts of operators name.

    `issuer` and `audience`: what the API asks for, if it does.
    """
    claims = {"sub": subject, "scope": " ".join(scopes), "exp": int(until.timestamp())}
    named = {name: text for name, text in (("iss", issuer), ("aud", audience)) if text}
    return jwt.encode(claims | named, secret, algorithm="HS256")
