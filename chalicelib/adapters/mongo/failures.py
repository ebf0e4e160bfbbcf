"""What an error of MongoDB means, in words for operators."""

from __future__ import annotations

import re

from pymongo.errors import (
    ConfigurationError,
    InvalidURI,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

NOT_USABLE = "MONGODB_URI is not a usable address; user and password must be percent-encoded"
REFUSED = "it refuses the user or the password of MONGODB_URI"

_REFUSALS = frozenset({18, 8000})
"""The code of a refused log-in: MongoDB's, and that of Atlas."""
_NOISE = re.compile(r" \(configured timeouts:[^)]*\)|\[Errno -?\d+\] ")


def told(error: PyMongoError) -> str:
    """Say what is wrong; never with a password."""
    if isinstance(error, InvalidURI):
        # Its text may contain a part of the password.
        return NOT_USABLE
    if isinstance(error, OperationFailure) and error.code in _REFUSALS:
        return REFUSED
    if isinstance(error, ServerSelectionTimeoutError):
        # The rest is the driver's view of the cluster.
        return _servers(str(error).partition(", Timeout: ")[0])
    if isinstance(error, ConfigurationError):
        return str(error).rstrip(".")
    return f"{type(error).__name__}: {error}"


def _servers(text: str) -> str:
    if text.startswith("Got response id"):
        return "what answers there is no MongoDB"
    return _NOISE.sub("", text).replace(",", ", ")
