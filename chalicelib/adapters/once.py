"""A value that is made once, at its first use, even if several threads use it at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Made = TypeVar("Made")


class Once(Generic[Made]):
    """Gives the value that `make` makes.

    functools.cached_property has no lock: forty threads that begin together make forty clients of
    boto3, each of which takes a twentieth of a second of CPU.
    """

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: list[Made] = []

    def __call__(self) -> Made:
        """Make the value, or give it again. Raises what `make` raises, and tries anew then."""
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]
