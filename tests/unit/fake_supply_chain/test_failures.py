"""How the fake supply chain fails."""

from __future__ import annotations

import time

import pytest
import requests

from embedded.fake_supply_chain import Meter, SupplyChain
from tests.support import eventually
from tests.unit.fake_supply_chain.client import Client


@pytest.mark.parametrize("status", [500, 503, 429, 404])
def test_a_failure_with_a_status_is_answered_and_stores_nothing(
    client: Client, status: int
) -> None:
    client.control(failureRate=1, kinds=[f"http_{status}"])
    assert client.post(version=0).status_code == status
    assert client.held() == []
    assert client.outcomes() == [f"http_{status}"]


def test_a_429_says_when_to_come_back(client: Client) -> None:
    client.control(failureRate=1, kinds=["http_429"])
    assert client.post(version=0).headers["Retry-After"] == "1"


def test_a_timeout_lets_the_client_wait_in_vain(client: Client) -> None:
    client.control(failureRate=1, kinds=["timeout"], timeoutSeconds=30)
    with pytest.raises(requests.ReadTimeout):
        client.post(timeout=0.2, version=0)
    assert client.outcomes() == ["timeout"]
    assert client.calls()[0]["status"] is None


def test_a_timeout_ends_after_the_set_time_without_an_answer(client: Client) -> None:
    client.control(failureRate=1, kinds=["timeout"], timeoutSeconds=0.3)
    began = time.monotonic()
    with pytest.raises(requests.ConnectionError, match="without response"):
        client.post(version=0)
    assert time.monotonic() - began >= 0.3


def test_a_timeout_is_over_when_the_client_leaves(chain: SupplyChain, client: Client) -> None:
    client.control(failureRate=1, kinds=["timeout"], timeoutSeconds=60)
    with pytest.raises(requests.ReadTimeout):
        client.post(timeout=0.1, version=0)
    eventually(lambda: not chain._in_progress)


def test_a_reset_is_a_reset_to_the_client(client: Client) -> None:
    client.control(failureRate=1, kinds=["reset"])
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        client.post(version=0)
    assert client.held() == []


def test_garbage_is_no_http(client: Client) -> None:
    client.control(failureRate=1, kinds=["garbage"])
    with pytest.raises(requests.ConnectionError, match="BadStatusLine"):
        client.post(version=0)
    assert client.held() == []


def test_a_lost_answer_stores_the_product_and_resets_the_connection(client: Client) -> None:
    client.control(failureRate=1, kinds=["lost_answer"])
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        client.post(version=0)
    assert client.held()[0]["id"] == "p1"
    assert client.outcomes() == ["lost_answer"]


def test_a_stale_version_is_stale_even_when_answers_are_lost(client: Client) -> None:
    client.post(version=1)
    client.control(failureRate=1, kinds=["lost_answer"])
    assert client.post(version=0).status_code == 409
    assert client.outcomes() == ["stored", "stale"]


def test_about_the_set_share_of_calls_fails(chain: SupplyChain, client: Client) -> None:
    client.control(failureRate=0.3, kinds=["http_500"], seed=7)
    with requests.Session() as session:
        for _ in range(300):
            session.get(f"{client.url}/supply-chain/none", timeout=10)
    assert 60 <= chain.summary()["failed"] <= 120


def test_every_enabled_kind_has_its_turn(client: Client) -> None:
    kinds = ["http_500", "http_503", "http_404"]
    client.control(failureRate=1, kinds=kinds, seed=1)
    assert {client.post(version=0).status_code for _ in range(40)} == {500, 503, 404}


def test_the_same_seed_throws_the_same_dice(client: Client) -> None:
    def statuses() -> list[int]:
        client.control(failureRate=0.5, kinds=["http_500", "http_503"], seed=42)
        return [client.post(version=0).status_code for _ in range(20)]

    client.post(version=0)
    assert statuses() == statuses()


def test_a_product_in_fail_ids_always_fails_while_others_do_not(client: Client) -> None:
    client.control(failIds=["p1"], kinds=["http_503"])
    assert client.post(id="p1", version=0).status_code == 503
    assert client.post(id="p2", version=0).status_code == 201


def test_a_product_in_reject_ids_is_always_422(client: Client) -> None:
    client.control(rejectIds=["p1"], failureRate=1)
    assert client.post(id="p1", version=0).status_code == 422
    assert client.outcomes() == ["rejected"]


def test_latency_makes_every_call_take_that_long(client: Client) -> None:
    client.control(latencySeconds=0.3)
    began = time.monotonic()
    client.post(version=0)
    assert time.monotonic() - began >= 0.3


def test_while_it_is_down_every_call_is_503(client: Client) -> None:
    client.post(id="p1", version=0)
    client.control(down=True, rejectIds=["p1"])
    statuses = [
        client.post(id="p1", version=1).status_code,
        client.get("/supply-chain/p1").status_code,
        client.delete("/supply-chain/p1").status_code,
    ]
    assert statuses == [503, 503, 503]
    assert client.summary()["failed"] == 3
    client.control(down=False, rejectIds=[])
    assert client.get("/supply-chain/p1").json()["version"] == 0


def test_a_call_above_the_limit_is_429_and_says_when_to_come_back(client: Client) -> None:
    client.control(callsPerSecond=0.01)
    first, second = client.post(id="p1", version=0), client.post(id="p2", version=0)
    assert (first.status_code, second.status_code) == (201, 429)
    assert second.headers["Retry-After"] == "1"
    client.control(callsPerSecond=None)
    assert client.post(id="p2", version=0).status_code == 201


@pytest.mark.parametrize(("rate", "at_once"), [(5.0, 5), (1.0, 1), (0.5, 1)])
def test_a_limit_admits_a_seconds_worth_at_once_and_then_one_after_the_other(
    rate: float, at_once: int
) -> None:
    meter = Meter()
    assert [meter.admits(rate, 100.0) for _ in range(at_once + 1)] == [True] * at_once + [False]
    assert not meter.admits(rate, 100.0 + 0.9 / rate)
    assert meter.admits(rate, 100.0 + 1 / rate)
    admitted = sum(meter.admits(rate, 110.0 + tick / 100) for tick in range(1000))
    assert admitted == pytest.approx(10 * rate + at_once, abs=1)
