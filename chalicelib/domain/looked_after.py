"""Work of reconcile over hours, which goes on by itself only while it is looked after. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime, timedelta

LEFT_AFTER = timedelta(hours=1)
"""An audit, or a restore, that was looked after last longer ago does not go on by itself: a store
that was restored to an earlier time remembers one in its middle, and not what was written since."""
LOOKED_AT_EVERY = timedelta(minutes=10)
"""How often it is noted that one that waits for something is looked after."""


class LookedAfter(ABC):
    """An audit, or a restore: its repairs would put versions of then over what is newer."""

    __slots__ = ()

    def is_left(self, now: datetime) -> bool:
        """Say whether nobody has looked after it for so long that it must be started again."""
        return self._unseen_for(now) > LEFT_AFTER

    def is_unseen(self, now: datetime) -> bool:
        """Say whether it must be noted that it is looked after."""
        return LEFT_AFTER >= self._unseen_for(now) > LOOKED_AT_EVERY

    @abstractmethod
    def _unseen_for(self, now: datetime) -> timedelta:
        """Say how long ago somebody looked after it last; no time if that does not matter."""
