"""Faults of the network between each role and each server lose nothing and stop nobody for good.

One stack goes through every fault, at all links at once; the tests look at what has happened.
`make soak` mixes faults, and waits for longer.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from embedded.network import PAIRS, Fault, Links
from embedded.services import ROLES
from embedded.stack import Stack
from tests.e2e.conftest import SETTINGS
from tests.support import (
    PRODUCT,
    Api,
    Json,
    RunningStack,
    eventually,
    stack_environment,
    stopped_for_sure,
)

STORE = ("api", "mongodb")
OTHERS = tuple(pair for pair in PAIRS if pair != STORE)
# Reconcile publishes only what nobody else has.
BUSY = tuple(pair for pair in PAIRS if pair != ("reconcile", "nats"))
SECONDS = 0.7
"""How long each fault lasts."""
ACCEPTED_SECONDS = 5.0
"""A write waits for the stream as long as a publish may take."""
REFUSED_SECONDS = 15.0
"""A write waits for MongoDB as long as a connection may be silent, and for another connection."""


@dataclass(frozen=True)
class Written:
    """One write during a fault: what was answered, after how many seconds."""

    status: int
    retry_after: str | None
    seconds: float
    product: Json


class Experiment:
    """A running stack that goes through every fault; `accepted` and `tried` by fault.

    `accepted`: writes while all links but that from the API to MongoDB suffer; `tried`: while that
    one suffers. `answered`: how much each link had passed on when all faults had ended.
    """

    def __init__(self, stack: RunningStack, links: Links) -> None:
        self.stack, self._links = stack, links
        self.products = [stack.create() for _ in range(3)]
        self.accepted: dict[Fault, list[Written]] = {}
        self.tried: dict[Fault, list[Written]] = {}
        # The half-open connections come last: a reset would end them.
        for fault in Fault:
            self.accepted[fault] = self._suffer(OTHERS, fault)
            self.tried[fault] = self._suffer([STORE], fault)
        self.answered = self.passed()

    def passed(self) -> dict[tuple[str, str], int]:
        """How many bytes each link has passed on to its role."""
        return {pair: proxy.answered for pair, proxy in self._links.proxies.items()}

    def newest(self) -> dict[str, int]:
        """The newest acknowledged version by product id."""
        versions: dict[str, int] = {}
        for written in (*self.accepted.values(), *self.tried.values()):
            for it in written:
                if it.status < 300:
                    product_id, version = it.product["id"], it.product["version"]
                    versions[product_id] = max(versions.get(product_id, 0), version)
        return versions

    def _suffer(self, pairs: Iterable[tuple[str, str]], fault: Fault) -> list[Written]:
        for pair in pairs:
            self._links.proxies[pair].begin(fault)
        timer = threading.Timer(SECONDS, self._links.end)
        timer.start()
        with ThreadPoolExecutor(len(self.products)) as pool:
            parts = list(pool.map(self._write, self.products))
        timer.join()
        return [written for part in parts for written in part]

    def _write(self, product: Json) -> list[Written]:
        """Create products and change one of our own, until the fault ends."""
        api = Api(self.stack.settings["api"], self.stack.settings["token"])
        path, ends, written = f"/products/{product['id']}", time.monotonic() + SECONDS, []
        while time.monotonic() < ends:
            written.append(_timed(api, "POST", "/products"))
            written.append(_timed(api, "PUT", path))
            time.sleep(0.05)
        return written


def _timed(api: Api, method: str, path: str) -> Written:
    began = time.monotonic()
    answer = api.request(method, path, PRODUCT)
    seconds = time.monotonic() - began
    body = answer.json()
    return Written(answer.status_code, answer.headers.get("Retry-After"), seconds, body)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Experiment]:
    environ = stack_environment(os.environ, SETTINGS)
    with contextlib.closing(Links()) as links:
        own = Stack(tmp_path_factory.mktemp("stack"), environ, route=links.route)
        with stopped_for_sure(own):
            yield Experiment(RunningStack(own), links)
            for role in ROLES:
                # In order it would take seconds.
                own.kill(role)


@pytest.mark.parametrize("fault", Fault)
def test_writes_are_accepted_whatever_happens_to_the_other_links(
    experiment: Experiment, fault: Fault
) -> None:
    written = experiment.accepted[fault]
    assert {it.status for it in written} == {200, 201}
    assert max(it.seconds for it in written) < ACCEPTED_SECONDS


@pytest.mark.parametrize("fault", Fault)
def test_without_mongodb_a_write_is_refused_in_time_and_may_be_repeated(
    experiment: Experiment, fault: Fault
) -> None:
    written = experiment.tried[fault]
    assert {it.status for it in written} <= {200, 201, 503}
    assert all(it.retry_after for it in written if it.status == 503)
    assert max(it.seconds for it in written) < REFUSED_SECONDS


def test_what_was_acknowledged_is_delivered_after_the_faults(experiment: Experiment) -> None:
    newest = experiment.newest()

    def delivered() -> bool:
        held = experiment.stack.supply_chain.products()
        return all(held.get(key, {}).get("version", -1) >= it for key, it in newest.items())

    # A lease may have to end first.
    eventually(delivered, 40, "not delivered")


@pytest.mark.parametrize("pair", BUSY, ids="-".join)
def test_a_role_speaks_with_its_server_again(experiment: Experiment, pair: tuple[str, str]) -> None:
    def speaks() -> bool:
        # Gives each role something to do.
        experiment.stack.api.get("/ready")
        experiment.stack.create()
        return experiment.passed()[pair] > experiment.answered[pair]

    eventually(speaks, 20, "silent")


def test_no_old_version_was_sent_and_no_two_calls_were_made_at_once(
    experiment: Experiment,
) -> None:
    summary = experiment.stack.supply_chain.summary()
    assert (summary["stale"], summary["concurrent"]) == (0, 0)
