"""What the fake supply chain holds."""

from __future__ import annotations

import http.client
import socket
from decimal import Decimal
from typing import Any

import pytest
import requests

from tests.unit.fake_supply_chain.client import Client


def address_of(client: Client) -> tuple[str, int]:
    host, _, port = client.url.removeprefix("http://").partition(":")
    return host, int(port)


def test_a_new_product_is_stored(client: Client) -> None:
    assert client.post(version=0).status_code == 201
    assert client.held()[0]["version"] == 0
    assert client.outcomes() == ["stored"]


def test_a_newer_version_replaces_the_older_one(client: Client) -> None:
    client.post(version=0)
    assert client.post(version=1, name="Better lamp").status_code == 200
    assert [item["name"] for item in client.held()] == ["Better lamp"]


def test_an_older_version_is_refused_and_recorded_as_stale(client: Client) -> None:
    client.post(version=2)
    assert client.post(version=1).status_code == 409
    assert client.held()[0]["version"] == 2
    assert client.outcomes() == ["stored", "stale"]
    assert client.summary()["stale"] == 1


def test_the_same_version_again_is_answered_200_and_recorded_as_a_repeat(client: Client) -> None:
    client.post(version=2)
    assert client.post(version=2).status_code == 200
    assert client.outcomes() == ["stored", "repeat"]


def test_other_data_with_the_same_version_is_stored(client: Client) -> None:
    client.post(version=2)
    assert client.post(version=2, name="Better lamp").status_code == 200
    assert client.held()[0]["name"] == "Better lamp"
    assert client.outcomes() == ["stored", "stored"]


# ---- behind the catalog's back ----


def test_a_product_is_changed_and_no_call_is_recorded(client: Client) -> None:
    client.post(version=2)
    answer = client.tamper({"id": "p1", "version": 7, "price": 1})
    assert (answer.status_code, answer.json()["version"]) == (200, 7)
    assert client.get("/supply-chain/p1").json()["price"] == 1
    assert client.outcomes() == ["stored", "read"]


def test_a_product_is_lost(client: Client) -> None:
    client.post(version=2)
    assert client.tamper({"id": "p1", "lose": True}).status_code == 200
    assert client.held() == []


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"id": "p2", "lose": True}, 404),
        ({"lose": True}, 422),
        ([], 422),
        ({"id": "p1", "version": -1}, 422),
        ({"id": "p1", "name": 7}, 422),
    ],
)
def test_what_cannot_be_changed_stays(client: Client, change: object, status: int) -> None:
    client.post(version=2)
    before = client.held()
    assert client.tamper(change).status_code == status
    assert client.held() == before


def test_a_change_that_is_no_json_is_refused(client: Client) -> None:
    url = f"{client.url}/_control/products"
    assert requests.patch(url, data="{", timeout=10).status_code == 400


def test_a_price_is_held_and_answered_exactly(client: Client) -> None:
    client.post(version=0, price=Decimal("1234.50"))
    assert '"price":1234.50' in client.get("/supply-chain/p1").text


def test_fields_it_does_not_know_are_held_too(client: Client) -> None:
    client.post(version=0, attributes={"colour": "grün"})
    assert client.get("/supply-chain/p1").json()["attributes"] == {"colour": "grün"}


def test_an_absent_product_is_404(client: Client) -> None:
    assert client.get("/supply-chain/none").status_code == 404
    assert client.outcomes() == ["absent"]


def test_a_deleted_product_is_gone(client: Client) -> None:
    client.post(version=0)
    assert client.delete("/supply-chain/p1").status_code == 204
    assert client.get("/supply-chain/p1").status_code == 404
    assert client.outcomes() == ["stored", "deleted", "absent"]


def test_deleting_an_absent_product_is_404(client: Client) -> None:
    assert client.delete("/supply-chain/none").status_code == 404


def test_an_escaped_id_in_the_path_names_the_product(client: Client) -> None:
    client.post(id="a/b c", version=0)
    assert client.get("/supply-chain/a%2Fb%20c").json()["id"] == "a/b c"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"id": None, "version": 0}, "id"),
        ({"id": "", "version": 0}, "id"),
        ({}, "version"),
        ({"version": -1}, "version"),
        ({"version": "1"}, "version"),
        ({"version": True}, "version"),
        ({"version": 0, "name": None}, "name"),
    ],
)
def test_a_body_that_is_no_product_is_422_with_the_reason(
    client: Client, wrong: dict[str, Any], reason: str
) -> None:
    answer = client.post(**wrong)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(f"{reason}: must be")
    assert client.outcomes() == ["rejected"]


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[" * 100_000, b""])
def test_a_body_that_is_not_json_is_400_and_recorded(client: Client, data: bytes) -> None:
    answer = requests.post(f"{client.url}/supply-chain", data=data, timeout=10)
    assert answer.status_code == 400
    assert client.calls()[0]["status"] == 400


def test_a_path_that_does_not_exist_is_404_and_recorded(client: Client) -> None:
    assert client.get("/supply-chains").status_code == 404
    assert client.outcomes() == ["rejected"]


@pytest.mark.parametrize("header", ["Transfer-Encoding: chunked", "Content-Length: some"])
def test_a_body_of_unknown_length_is_refused_once_and_closes_the_connection(
    client: Client, header: str
) -> None:
    head = f"POST /supply-chain HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n"
    with socket.create_connection(address_of(client), timeout=10) as connection:
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert client.outcomes() == ["rejected"]


def test_a_connection_is_kept_for_many_calls(client: Client) -> None:
    connection = http.client.HTTPConnection(client.url.removeprefix("http://"), timeout=10)
    connection.connect()
    first = connection.sock
    for _ in range(3):
        connection.request("GET", "/health")
        assert connection.getresponse().read() == b'{"status":"ok"}'
        assert connection.sock is first
    connection.close()
