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


def sign(secret: str, scopes: Iterable[str], subject: str, until: datetime) -> str:
    """Make a token with these scopes for `subject`, whom the acts of operators name."""
    claims = {"sub": subject, "scope": " ".join(scopes), "exp": int(until.timestamp())}
    return jwt.encode(claims, secret, algorithm="HS256")
