"""What the tests of redrives share: what is seen of one, and how it is carried out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from chalicelib.domain.breaker import Breaker, BreakerState
from chalicelib.domain.control import Control
from chalicelib.domain.exact_json import Json
from tests.fakes import START, Pipeline


def progress(pipeline: Pipeline) -> Json | None:
    """The redrive as `GET /sync` shows it."""
    shown: Json | None = pipeline.operations.summary()["redrive"]
    return shown


def restarted(pipeline: Pipeline) -> int:
    return sum(item.sync.budget > 0 for item in pipeline.store.products.values())


def messages(pipeline: Pipeline) -> Counter[str]:
    """How often a message was enqueued for each product; as bulk, all of them."""
    assert len(pipeline.queue.bulk) == len(pipeline.queue.messages)
    return Counter(pipeline.queue.bulk)


def deliver(pipeline: Pipeline) -> None:
    """Let sync handle what is in the queue."""
    while pipeline.sync_once():
        pass


def finish(pipeline: Pipeline) -> None:
    """Let reconcile run until the redrive is done."""
    for _ in range(1000):
        if pipeline.store.stored_control.redrive is None:
            return
        pipeline.reconcile_once()
    raise AssertionError("the redrive does not come to an end")


class CrashError(BaseException):
    """The process was killed at this point."""


def killed(pipeline: Pipeline, part: str, method: str, *, after: bool) -> None:
    """Let the process die at the next call of a method of the fakes, before or after it."""
    fake = getattr(pipeline, part)
    original = getattr(fake, method)

    def die(*args: object, **options: object) -> None:
        setattr(fake, method, original)
        if after:
            original(*args, **options)
        raise CrashError

    setattr(fake, method, die)


def pause(pipeline: Pipeline) -> None:
    pipeline.operations.control({"paused": True})


def resume(pipeline: Pipeline) -> None:
    pipeline.operations.control({"paused": False})


def open_breaker(pipeline: Pipeline) -> None:
    opened = Breaker(BreakerState.OPEN, START, "HTTP 503", probe_at=pipeline.clock())
    pipeline.store.stored_control = Control(opened, revision=1)


HELD: dict[str, tuple[Callable[[Pipeline], None], Callable[[Pipeline], None]]] = {
    "paused": (pause, resume),
    "breaker open": (open_breaker, deliver),
}
"""How calls are held, and how they are allowed again."""
