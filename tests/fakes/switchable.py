"""A port that can be switched off."""

from __future__ import annotations

import threading

from chalicelib.domain.errors import CatalogError


class Switchable:
    """What the fakes share: `away`, `broken`, and the error of their port."""

    error: type[CatalogError]

    def __init__(self) -> None:
        self.away = False
        self.broken: set[str] = set()
        self._lock = threading.RLock()

    def _reach(self, method: str) -> None:
        if self.away or method in self.broken:
            raise self.error(f"{method}: away")
