"""Writers at the same time: each reads, decides and writes, and repeats if another was faster."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TypeVar

from chalicelib.domain.audit import AuditState
from chalicelib.domain.control import Control
from chalicelib.domain.errors import ConcurrentChangeError
from chalicelib.domain.republish import RepublishState
from chalicelib.domain.restore import RestoreState

TRIES = 20
"""How often a change is tried when other writers come first."""


def sleep_a_little(attempt: int, step: float = 0.01) -> None:
    """Wait up to `attempt` steps, 20 at most, so that colliding writers are spread.

    `step` in seconds.
    """
    time.sleep(random.uniform(0, step * min(attempt, 20)))  # noqa: S311 - not a secret


# ---- what all processes share ----

State = TypeVar("State", Control, AuditState, RepublishState, RestoreState)
"""What all processes share as one document, with a revision that grows by one with each change."""
Answer = TypeVar("Answer")
State_contra = TypeVar("State_contra", contravariant=True)


class Write(Protocol[State_contra]):
    """Writes a state, if its stored revision is the expected one; says whether it was."""

    def __call__(self, state: State_contra, /, *, expected_revision: int) -> bool:
        """Write."""


def compare_and_set(
    read: Callable[[], State],
    write: Write[State],
    change: Callable[[State], tuple[Answer, State]],
    pause: Callable[[int], None],
    tries: int,
    what: str,
) -> tuple[Answer, State, State]:
    """Change a shared state; give the answer of `change`, and the state before and afterwards.

    `change` gets the newest state, and may be called several times. Nothing is written if it gives
    an equal state. Raises ConcurrentChangeError, which names `what` it was, and what
    `read` and `write` raise.
    """
    for attempt in range(tries):
        before = read()
        answer, after = change(before)
        if after == before:
            return answer, before, before
        after = replace(after, revision=before.revision + 1)
        if write(after, expected_revision=before.revision):
            return answer, before, after
        pause(attempt)
    raise ConcurrentChangeError(f"others changed {what} each time")
