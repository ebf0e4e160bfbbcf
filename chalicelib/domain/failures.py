"""The kinds of failures: what operators filter and count by. Derived from an error's text."""

from __future__ import annotations

import re

_STATUS = re.compile(r"HTTP ([0-9]{3})\b")

NO_ANSWER = "no answer within "
WORKERS_DIED = "every worker that tried it has crashed"
"""The beginnings of errors that no answer of the supply chain has caused."""

TIMEOUT, WORKER, CONNECTION = "timeout", "worker", "connection"

PATTERNS = {TIMEOUT: f"^{NO_ANSWER}", WORKER: f"^{WORKERS_DIED}"}
"""The errors of a kind, as a regular expression; of `http-<status>` see `pattern_of`."""
_NOT_CONNECTION = rf"^(?!HTTP [0-9]{{3}}\b|{NO_ANSWER}|{WORKERS_DIED})"

KIND = r"http-[0-9]{3}|timeout|worker|connection"
"""A kind, as a regular expression."""


def kind_of(error: str | None) -> str | None:
    """Give the kind of an error: `http-<status>`, `timeout`, `worker` or `connection`."""
    if error is None:
        return None
    if answered := _STATUS.match(error):
        return f"http-{answered.group(1)}"
    return next((kind for kind in PATTERNS if re.match(PATTERNS[kind], error)), CONNECTION)


def pattern_of(kind: str) -> str:
    """Give the regular expression that the errors of a kind match, and no others."""
    if kind.startswith("http-"):
        return rf"^HTTP {kind.removeprefix('http-')}\b"
    return PATTERNS.get(kind, _NOT_CONNECTION)
