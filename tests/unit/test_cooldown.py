"""What is put off for a while."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from chalicelib.usecases.pace import Cooldown

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
TIME = timedelta(seconds=10)


class Clock:
    now = START

    def __call__(self) -> datetime:
        return self.now


def test_nothing_is_put_off_at_first() -> None:
    assert not Cooldown(Clock(), TIME).is_on


def test_it_is_put_off_for_its_time_and_no_longer() -> None:
    cooldown = Cooldown(clock := Clock(), TIME)
    cooldown.begin()
    clock.now += TIME - timedelta(milliseconds=1)
    assert cooldown.is_on
    clock.now += timedelta(milliseconds=1)
    assert not cooldown.is_on


def test_a_clock_that_is_set_back_does_not_put_it_off_for_longer() -> None:
    cooldown = Cooldown(clock := Clock(), TIME)
    cooldown.begin()
    clock.now -= timedelta(days=1)
    assert not cooldown.is_on
