"""The trace of a request, as X-Ray and as W3C Trace Context write it.

Inside, a trace is the text of X-Ray's header: `Root=1-<8 digits>-<24 digits>;Parent=…;Sampled=…`.
"""

from __future__ import annotations

import hashlib
import re

TRACEPARENT = "traceparent"
"""The header of W3C Trace Context, and the attribute of a CloudEvent."""
PATTERN = "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"
"""A traceparent as we write it, as a regular expression."""

_ROOT = re.compile(r"1-([0-9a-f]{8})-([0-9a-f]{24})")
_PARENT = re.compile(r"[0-9a-f]{16}")
# A later version may have more parts after these.
_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<id>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    r"(?P<more>-.*)?"
)
_SAMPLED = 1
_NO_ID, _NO_PARENT = "0" * 32, "0" * 16


def from_traceparent(value: str | None) -> str | None:
    """Give the trace of a `traceparent`; None if it is not one that W3C's specification allows."""
    found = _TRACEPARENT.fullmatch(value.strip()) if value else None
    if found is None or found["version"] == "ff" or (found["version"] == "00" and found["more"]):
        return None
    if found["id"] == _NO_ID or found["parent"] == _NO_PARENT:
        return None
    root, sampled = found["id"], int(found["flags"], 16) & _SAMPLED
    return f"Root=1-{root[:8]}-{root[8:]};Parent={found['parent']};Sampled={sampled}"


def to_traceparent(trace: str | None) -> str | None:
    """Give the `traceparent` of a trace; None if X-Ray would not know it either.

    The parent is that of the trace, since the catalog records no span of its own: one that nobody
    recorded would be a hole in the picture. Where there is none, the trace makes one, always the
    same, so that an event that is published again is the same event.
    """
    parts, trace_id = _parts(trace), id_of(trace)
    if trace_id is None:
        return None
    parent = parts.get("Parent", "")
    if not _PARENT.fullmatch(parent) or parent == _NO_PARENT:
        parent = hashlib.sha256(trace_id.encode()).hexdigest()[:16]
    # Without a decision it counts as recorded: the logs have every request.
    flags = "00" if parts.get("Sampled") == "0" else "01"
    return f"00-{trace_id}-{parent}-{flags}"


def id_of(trace: str | None) -> str | None:
    """Give the id of a trace: 32 hexadecimal digits, by which other tools find it."""
    root = _ROOT.fullmatch(_parts(trace).get("Root", ""))
    found = "".join(root.groups()) if root else _NO_ID
    return None if found == _NO_ID else found


def _parts(trace: str | None) -> dict[str, str]:
    fields = (part.strip().partition("=") for part in (trace or "").split(";"))
    return {name: value for name, _, value in fields}
