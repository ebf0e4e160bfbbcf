"""A caller of the fake supply chain, in this process or in one of its own."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import Any

import requests
import simplejson

from embedded.fake_supply_chain import Server, Settings, SupplyChain

RELIABLE = Settings(failure_rate=0)
DEADLINE_SECONDS = 10.0


class Client:
    """A caller that keeps no connection, unless a test asks for one."""

    def __init__(self, url: str) -> None:
        self.url = url

    def post(
        self, timeout: float = 10, headers: dict[str, str] | None = None, **product: object
    ) -> requests.Response:
        body = {"id": "p1", "name": "Lamp", "price": Decimal("9.90"), "quantity": 3, **product}
        data = simplejson.dumps(body, use_decimal=True)
        return requests.post(
            f"{self.url}/supply-chain", data=data, headers=headers, timeout=timeout
        )

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, timeout=10)

    def delete(self, path: str) -> requests.Response:
        return requests.delete(self.url + path, timeout=10)

    def control(self, **changes: object) -> requests.Response:
        return requests.put(f"{self.url}/_control", json=changes, timeout=10)

    def tamper(self, change: object) -> requests.Response:
        return requests.patch(f"{self.url}/_control/products", json=change, timeout=10)

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
