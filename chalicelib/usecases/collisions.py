"""Writers at the same time: each reads, decides and writes, and repeats if another was faster."""

from __future__ import annotations

import random
import time

TRIES = 20
"""How often a change is tried when other writers come first."""


def sleep_a_little(attempt: int, step: float = 0.01) -> None:
    """Wait up to `attempt` steps, 20 at most, so that colliding writers are spread.

    `step` in seconds.
    """
    time.sleep(random.uniform(0, step * min(attempt, 20)))  # noqa: S311 - not a secret
