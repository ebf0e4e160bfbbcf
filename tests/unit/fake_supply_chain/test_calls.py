"""What the fake supply chain tells of the calls that it saw."""

from __future__ import annotations

import threading

import pytest
import requests

from tests.unit.fake_supply_chain.client import Client


def test_a_call_is_recorded_with_its_headers(client: Client) -> None:
    headers = {"Idempotency-Key": "p1:0", "webhook-id": "msg_1", "traceparent": "00-ab-cd-01"}
    body = {"id": "p1", "name": "Lamp", "version": 0}
    requests.post(f"{client.url}/supply-chain", json=body, headers=headers, timeout=10)
    (call,) = client.calls()
    assert (call["method"], call["id"], call["version"], call["status"]) == ("POST", "p1", 0, 201)
    assert call["idempotencyKey"] == "p1:0"
    assert (call["webhookId"], call["traceparent"], call["xAmznTraceId"]) == (
        *("msg_1", "00-ab-cd-01"),
        None,
    )
    assert call["time"].endswith("Z")


def test_calls_can_be_asked_for_one_product(client: Client) -> None:
    client.post(id="p1", version=0)
    client.post(id="p2", version=0)
    assert [call["id"] for call in client.calls("?id=p2")] == ["p2"]


def test_overlapping_calls_for_one_product_are_recorded_as_concurrent(client: Client) -> None:
    client.control(latencySeconds=1)
    threads = [threading.Thread(target=client.post, kwargs={"version": 0}) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(call["concurrent"] for call in client.calls()) == [False, True]
    assert client.summary()["concurrent"] == 1


def test_overlapping_calls_for_two_products_are_not_concurrent(client: Client) -> None:
    client.control(latencySeconds=0.5)
    threads = [
        threading.Thread(target=client.post, kwargs={"id": f"p{n}", "version": 0}) for n in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.summary()["concurrent"] == 0


def test_calls_one_after_the_other_are_not_concurrent(client: Client) -> None:
    with requests.Session() as session:
        for _ in range(50):
            session.get(f"{client.url}/supply-chain/p1", timeout=10)
    assert client.summary()["concurrent"] == 0


def test_a_call_after_the_client_gave_up_on_one_is_not_concurrent(client: Client) -> None:
    client.control(failureRate=1, kinds=["timeout"], timeoutSeconds=30)
    for _ in range(3):
        with pytest.raises(requests.ReadTimeout):
            client.post(timeout=0.1, version=0)
    assert client.summary()["concurrent"] == 0


def test_the_summary_counts_what_happened(client: Client) -> None:
    client.post(version=1)
    client.post(version=0)
    client.control(failureRate=1, kinds=["http_500"])
    client.post(version=2)
    assert client.summary() == {
        "products": 1,
        "calls": 3,
        "failed": 1,
        "stale": 1,
        "concurrent": 0,
        "byOutcome": {"stored": 1, "stale": 1, "http_500": 1},
    }


def test_a_reset_forgets_products_and_calls_but_no_settings(client: Client) -> None:
    client.control(latencySeconds=0.01)
    client.post(version=0)
    assert client.delete("/_control/products").status_code == 204
    assert client.summary()["calls"] == 0
    assert client.held() == client.calls() == []
    assert client.get("/_control").json()["latencySeconds"] == 0.01
