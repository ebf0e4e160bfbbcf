"""What a call without an answer means, in words for operators.

Operators read these words in a product's delivery state. The texts of urllib3 and http.client are
for programmers: they contain class names and addresses in memory.
"""

from __future__ import annotations

import socket
import ssl
from http import client

from urllib3 import exceptions

from chalicelib.adapters.http_deadline import BrokenOffError

_NO_ADDRESS = "SUPPLY_CHAIN_URL is not a usable address"
_NO_HTTP = "the answer is no valid HTTP"
_BROKEN_OFF = "the connection was closed in the middle of the answer"
_BY_CLASS: tuple[tuple[type[BaseException], str], ...] = (
    # A class before those that it is derived from.
    (exceptions.LocationValueError, _NO_ADDRESS),
    (UnicodeError, _NO_ADDRESS),
    (exceptions.DecodeError, "the answer cannot be unpacked as its Content-Encoding says"),
    (exceptions.InvalidChunkLength, _NO_HTTP),
    (BrokenOffError, _BROKEN_OFF),
    (client.IncompleteRead, _BROKEN_OFF),
    (client.RemoteDisconnected, "the connection was closed before an answer came"),
    (client.HTTPException, _NO_HTTP),
    (exceptions.InvalidHeader, _NO_HTTP),
    (exceptions.ProtocolError, _BROKEN_OFF),
    (ConnectionRefusedError, "the connection was refused"),
    (ConnectionResetError, "the connection was reset"),
    (ConnectionError, "the connection was closed while the call was sent"),
    (TimeoutError, "the connection timed out"),
    (ssl.SSLEOFError, "the connection was closed before TLS was agreed on"),
)
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST"})


def reason(failure: BaseException, host: str = "") -> str:
    """Say why a call got no usable answer; `host` is the one that was called."""
    cause = _cause(failure)
    if isinstance(cause, socket.gaierror):
        return f"the name {host} cannot be resolved"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the certificate is not valid: {cause.verify_message}"
    for kind, words in _BY_CLASS:
        if isinstance(cause, kind):
            return words
    if isinstance(cause, ssl.SSLError):
        return _tls(cause)
    if isinstance(cause, OSError) and cause.strerror:
        return f"the connection failed: {cause.strerror}"
    return "the answer is not usable"


def _tls(error: ssl.SSLError) -> str:
    if error.reason in _NO_TLS:
        return "the server does not speak TLS: is its address http://?"
    why = (error.reason or "no reason given").lower().replace("_", " ")
    return f"TLS could not be agreed on: {why}"


def _cause(failure: BaseException) -> BaseException:
    """Give the innermost failure: what urllib3 has wrapped, maybe several times."""
    inner: object = None
    if isinstance(failure, exceptions.MaxRetryError):
        inner = failure.reason
    elif isinstance(failure, exceptions.NewConnectionError):
        inner = failure.__cause__
    elif isinstance(failure, exceptions.ProtocolError | exceptions.SSLError) and failure.args:
        inner = failure.args[-1]
    return _cause(inner) if isinstance(inner, BaseException) else failure
