"""The fake supply chain over real sockets: what it holds, how it fails, what it tells."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import requests
import simplejson

from embedded.fake_supply_chain import FAILURE_KINDS, Server, Settings, SupplyChain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RELIABLE = Settings(failure_rate=0)
DEADLINE_SECONDS = 10.0


class Client:
    """A caller that keeps no connection, unless a test asks for one."""

    def __init__(self, url: str) -> None:
        self.url = url

    def post(self, timeout: float = 10, **product: object) -> requests.Response:
        body = {"id": "p1", "name": "Lamp", "price": Decimal("9.90"), "quantity": 3, **product}
        data = simplejson.dumps(body, use_decimal=True)
        return requests.post(f"{self.url}/supply-chain", data=data, timeout=timeout)

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, timeout=10)

    def delete(self, path: str) -> requests.Response:
        return requests.delete(self.url + path, timeout=10)

    def control(self, **changes: object) -> requests.Response:
        return requests.put(f"{self.url}/_control", json=changes, timeout=10)

    def held(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.get("/_control/products").json()["items"]
        return items

    def calls(self, query: str = "") -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.get(f"/_control/calls{query}").json()["items"]
        return items

    def outcomes(self) -> list[str]:
        return [call["outcome"] for call in self.calls()]

    def summary(self) -> dict[str, Any]:
        counts: dict[str, Any] = self.get("/_control/summary").json()
        return counts


def address_of(client: Client) -> tuple[str, int]:
    host, _, port = client.url.removeprefix("http://").partition(":")
    return host, int(port)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def chain() -> SupplyChain:
    return SupplyChain(RELIABLE)


@pytest.fixture
def client(chain: SupplyChain) -> Iterator[Client]:
    with Server("127.0.0.1", 0, chain) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield Client(server.url)
        server.shutdown()


# ---------------------------------------------------------------- what it holds


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


# ---------------------------------------------------------------- how it fails


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
    until(lambda: not chain._in_progress)


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


# ---------------------------------------------------------------- what it saw


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


# ---------------------------------------------------------------- settings


def test_the_settings_can_be_read(client: Client) -> None:
    assert client.get("/_control").json() == {
        "failureRate": 0,
        "kinds": list(FAILURE_KINDS),
        "timeoutSeconds": 3,
        "rejectIds": [],
        "failIds": [],
        "latencySeconds": 0,
        "seed": None,
    }


def test_a_partial_change_leaves_the_other_settings(client: Client) -> None:
    client.control(kinds=["reset"])
    settings = client.control(failureRate=0.5).json()
    assert (settings["failureRate"], settings["kinds"]) == (0.5, ["reset"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("failureRate", 1.1),
        ("failureRate", "0.5"),
        ("failureRate", True),
        ("kinds", []),
        ("kinds", ["http_418"]),
        ("kinds", "reset"),
        ("timeoutSeconds", -1),
        ("rejectIds", [1]),
        ("failIds", None),
        ("latencySeconds", None),
        ("seed", 1.5),
        ("failurerate", 0.5),
    ],
)
def test_a_wrong_setting_is_422_and_names_the_field(
    client: Client, name: str, value: object
) -> None:
    answer = client.control(**{name: value})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [name]


def test_a_wrong_setting_changes_nothing(client: Client) -> None:
    before = client.get("/_control").json()
    client.control(failureRate=0.5, seed="x")
    assert client.get("/_control").json() == before


def test_settings_that_are_no_object_are_422(client: Client) -> None:
    assert requests.put(f"{client.url}/_control", json=[], timeout=10).status_code == 422


def test_settings_that_are_not_json_are_400(client: Client) -> None:
    assert requests.put(f"{client.url}/_control", data="{", timeout=10).status_code == 400


# ---------------------------------------------------------------- the state file


def post_body(product_id: str, version: int) -> dict[str, object]:
    return {"id": product_id, "name": "Lamp", "version": version, "price": Decimal("0.10")}


def test_products_and_settings_are_reloaded(tmp_path: Path) -> None:
    state = tmp_path / "deeper" / "state.jsonl"
    with serving(SupplyChain(RELIABLE, state)) as first:
        first.post(id="p1", version=1, price=Decimal("0.10"))
        first.post(id="p2", version=1)
        first.delete("/supply-chain/p2")
        first.control(latencySeconds=0.01)
    again = SupplyChain(Settings(failure_rate=1), state)
    assert [(item["id"], str(item["price"])) for item in again.products()] == [("p1", "0.10")]
    assert again.settings == Settings(failure_rate=0, latency_seconds=0.01)


def test_a_reset_is_reloaded_too(tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    with serving(SupplyChain(RELIABLE, state)) as first:
        first.post(version=1)
        first.delete("/_control/products")
    assert SupplyChain(RELIABLE, state).products() == []


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    whole = simplejson.dumps({"stored": post_body("p1", 1)}, use_decimal=True)
    state.write_text(f'{whole}\n{{"stored": {{"id": "p')
    with serving(SupplyChain(RELIABLE, state)) as client:
        client.post(id="p2", version=1)
    assert [item["id"] for item in SupplyChain(RELIABLE, state).products()] == ["p1", "p2"]


def test_a_damaged_line_before_the_last_one_is_named(tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    state.write_text('{"reset": true}\n{"stor\n{"reset": true}\n')
    with pytest.raises(ValueError, match=r"state\.jsonl:2: damaged"):
        SupplyChain(RELIABLE, state)


# ---------------------------------------------------------------- the process


class serving:  # noqa: N801 - a context manager reads like a function
    """Serve `chain` in this process for the length of a with statement."""

    def __init__(self, chain: SupplyChain) -> None:
        self._server = Server("127.0.0.1", 0, chain)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Client:
        self._thread.start()
        return Client(self._server.url)

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(*flags: str, port: int) -> tuple[subprocess.Popen[bytes], Client]:
    command = [sys.executable, "-m", "embedded.fake_supply_chain", "--port", str(port), *flags]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    client = Client(f"http://127.0.0.1:{port}")
    until(lambda: process.poll() is not None or is_up(client))
    return process, client


def is_up(client: Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except requests.ConnectionError:
        return False


def test_a_stored_product_survives_sigkill(tmp_path: Path) -> None:
    flags = ("--state", str(tmp_path / "state"), "--failure-rate", "0")
    port = free_port()
    process, client = start(*flags, port=port)
    client.post(version=4)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(DEADLINE_SECONDS)
    process, client = start(*flags, port=port)
    assert client.held()[0]["version"] == 4
    process.terminate()
    process.wait(DEADLINE_SECONDS)


def test_sigterm_stops_it_at_once_with_exit_code_0_while_a_call_is_held() -> None:
    flags = ("--failure-rate", "1", "--kinds", "timeout")
    process, client = start(*flags, port=free_port())
    client.control(timeoutSeconds=60)
    with pytest.raises(requests.ReadTimeout):
        client.post(timeout=0.2, version=0)
    process.terminate()
    assert process.wait(2) == 0


@pytest.mark.parametrize("flags", [("--failure-rate", "2"), ("--kinds", "http_500,nonsense")])
def test_wrong_flags_are_a_usage_error(flags: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "embedded.fake_supply_chain", "--port", "0", *flags]
    done = subprocess.run(command, capture_output=True, timeout=DEADLINE_SECONDS, check=False)
    assert done.returncode == 2
    assert b"must be" in done.stderr
