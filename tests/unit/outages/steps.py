"""What the tests of outages share."""

from __future__ import annotations

from datetime import timedelta

from chalicelib.domain.breaker import BreakerPolicy, BreakerState
from chalicelib.domain.delivery import Outcome, Verdict
from chalicelib.domain.product import Product
from chalicelib.domain.sync_state import Attempt
from tests.fakes import START, Pipeline

POLICY = BreakerPolicy(failures=4, products=3, successes=2)


def a_pipeline(**changes: object) -> Pipeline:
    """A pipeline whose breaker opens after few failures."""
    return Pipeline(breaker=BreakerPolicy(**{**_fields(POLICY), **changes}))  # type: ignore[arg-type]  # of any field


def _fields(policy: BreakerPolicy) -> dict[str, object]:
    return {name: getattr(policy, name) for name in policy.__slots__}


def an_outage(pipeline: Pipeline, products: int = 4) -> list[str]:
    """Open the breaker by the failures of so many products; their ids."""
    pipeline.supply_chain.away = True
    ids = [pipeline.create() for _ in range(products)]
    pipeline.pass_on()
    assert state(pipeline) is BreakerState.OPEN
    return ids


def end_of_outage(pipeline: Pipeline) -> None:
    """Let the supply chain answer again, and time pass until the breaker has closed."""
    pipeline.supply_chain.away = False
    for _ in range(20):
        pipeline.clock.advance(3)
        pipeline.reconcile_once(seconds=0)
        pipeline.sync_once()
        if state(pipeline) is BreakerState.CLOSED:
            return
    raise AssertionError("the breaker does not close")


def converge(pipeline: Pipeline, seconds: int = 60) -> None:
    """Let reconcile and sync work for so long."""
    end = pipeline.clock() + timedelta(seconds=seconds)
    while pipeline.clock() < end:
        begun = pipeline.clock()
        pipeline.reconcile_once(seconds=1)
        while pipeline.sync_once():
            pass
        if pipeline.clock() == begun:
            pipeline.clock.advance(1)


def state(pipeline: Pipeline) -> BreakerState:
    """The state of the breaker that all share."""
    return pipeline.store.stored_control.breaker.state


def calls(pipeline: Pipeline) -> int:
    """The number of calls so far."""
    return len(pipeline.supply_chain.calls)


def is_parked(product: Product) -> bool:
    """Say whether no message carries the schedule of a product that waits."""
    sync = product.sync
    idle = sync.message_id is None and sync.lease is None and sync.claim is None
    return sync.parked and idle and sync.overdue_at is not None


def an_outcome(status: int | None, verdict: Verdict = Verdict.FAILED, after: float = 0) -> Outcome:
    """An outcome with this status; `after`: seconds of a Retry-After, 0 for none."""
    attempt = Attempt(START, 0, status, 0.1, f"HTTP {status}")
    return Outcome(attempt, verdict, START + timedelta(seconds=after) if after else None)
