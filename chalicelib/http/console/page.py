"""Puts the console together: one HTML page with all that it needs inside, so that it works offline.

`index.html` names its scripts and its style sheet as a page does; here they take the place of their
elements. The Content-Security-Policy allows exactly these texts, and requests to the own API.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
_SCRIPT = re.compile(r'<script src="([a-z/.-]+)"></script>')
_STYLE = re.compile(r'<link rel="stylesheet" href="([a-z/.-]+)">')
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)
_SOURCE_MAP = re.compile(r"\n//# sourceMappingURL=.*")


@cache
def page() -> str:
    """Give the page."""
    text = (FOLDER / "index.html").read_text(encoding="utf-8")
    text = _STYLE.sub(lambda found: f"<style>{_read(found[1])}</style>", text)
    return _SCRIPT.sub(lambda found: f"<script>{_read(found[1])}</script>", text)


@cache
def headers() -> dict[str, str]:
    """Give the headers that go with the page."""
    return {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": _policy(page()),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }


def _read(name: str) -> str:
    # A source map is not served: a browser's tools would ask for it in vain.
    return _SOURCE_MAP.sub("", (FOLDER / name).read_text(encoding="utf-8"))


def _policy(text: str) -> str:
    """Allow the texts of this page's scripts and styles, and no others."""
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, content in _INLINE.findall(text):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        hashes[kind].append(f"'sha256-{digest}'")
    directives = (
        "default-src 'none'",
        f"script-src {' '.join(hashes['script'])}",
        f"style-src {' '.join(hashes['style'])}",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return "; ".join(directives)
