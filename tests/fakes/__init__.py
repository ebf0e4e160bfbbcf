"""The ports in memory, honest enough to fulfil the contract suites, and builders for products.

Each can be switched off: `away` makes every method raise the port's error, `broken` holds the names
of the methods that do. All are safe to use from several threads.
"""

from tests.fakes.builders import (
    BODY,
    GRACE,
    START,
    a_failed_state,
    a_product,
    every_field,
    every_field_changed,
    fields,
)
from tests.fakes.clock import FakeClock
from tests.fakes.pipeline import Pipeline
from tests.fakes.queue import FakeQueue
from tests.fakes.store import FakeStore
from tests.fakes.stream import FakeStream
from tests.fakes.supply_chain import FakeSupplyChain

__all__ = [
    "BODY",
    "GRACE",
    "START",
    "FakeClock",
    "FakeQueue",
    "FakeStore",
    "FakeStream",
    "FakeSupplyChain",
    "Pipeline",
    "a_failed_state",
    "a_product",
    "every_field",
    "every_field_changed",
    "fields",
]
