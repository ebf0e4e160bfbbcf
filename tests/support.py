"""What several tests need: wait for something, and a running embedded stack with its clients."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import nats
import requests
import simplejson

from embedded.processes import free_port, parse_stat
from embedded.services import local_session, sqs_client, without_settings
from embedded.stack import Stack, StackInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from mypy_boto3_sqs.type_defs import MessageTypeDef

    from chalicelib.domain.messages import SyncMessage

Json = dict[str, Any]
_T = TypeVar("_T")
PRODUCT: Json = {"name": "Desk lamp", "price": Decimal("19.90"), "quantity": 3}


def eventually(condition: Callable[[], _T | None], timeout: float = 20.0, message: str = "") -> _T:
    """Ask until `condition()` is true, and return what it gave; at most `timeout` seconds.

    Raises AssertionError with `message` and what was given last.
    """
    deadline = time.monotonic() + timeout
    while not (given := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{message or 'never true'}: {given!r} after {timeout} s")
        time.sleep(0.05)
    return given


def code_block(page: Path, language: str) -> str:
    """The one block of code in this language on a page of the documentation."""
    (block,) = re.findall(
        rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE
    )
    return str(block)


def exact_json(answer: requests.Response) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Parse an answer with every fraction as an exact Decimal."""
    return simplejson.loads(answer.text, use_decimal=True)


def stack_environment(environ: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """The environment for a stack of a test: these settings, none of the developer's, a free port.

    The API's port is among the settings, so that it stays the same over several `up`s.
    """
    return {**without_settings(environ), "PORT": str(free_port()), **settings}


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Let a process neither answer nor end for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        # The signal is only on its way: until each thread has stopped, one may still answer.
        # Without /proc (macOS) that cannot be seen.
        if Path("/proc/self/task").exists():
            eventually(lambda: _states(pid) == {"T"}, message=f"all threads of {pid} are stopped")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _states(pid: int) -> set[str]:
    """The states of its threads, as proc(5) names them."""
    return {parse_stat(path.read_text())[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")}


class Stoppable(Protocol):
    """What runs until told to stop."""

    def down(self) -> object:
        """Stop it."""


@contextlib.contextmanager
def stopped_for_sure(stack: Stoppable) -> Iterator[None]:
    """Stop it at the end of the block; after SIGTERM too, see tests/conftest.py."""
    try:
        yield
    finally:
        stack.down()


class Api:
    """The API with a token: paths are relative to /api. Decimals go out and come back exact.

    The methods give the answer as it is, whatever its status.
    """

    def __init__(self, base: str, token: str) -> None:
        self.base = base
        self.session = local_session()
        self.session.headers["Authorization"] = f"Bearer {token}"

    def request(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """Send one request; `body` becomes JSON, None sends none."""
        data = None if body is None else simplejson.dumps(body, use_decimal=True)
        sent = {**({"Content-Type": "application/json"} if data else {}), **(headers or {})}
        return self.session.request(method, self.base + path, data=data, headers=sent, timeout=30)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> requests.Response:
        """GET a path."""
        return self.request("GET", path, headers=headers)

    def post(
        self, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """POST a body."""
        return self.request("POST", path, body, headers)

    def put(
        self, path: str, body: object, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """PUT a body."""
        return self.request("PUT", path, body, headers)

    def patch(
        self, path: str, body: object, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """PATCH with a merge patch."""
        merge = {"Content-Type": "application/merge-patch+json"}
        return self.request("PATCH", path, body, {**merge, **(headers or {})})

    def delete(self, path: str, headers: Mapping[str, str] | None = None) -> requests.Response:
        """DELETE a path."""
        return self.request("DELETE", path, headers=headers)


class SupplyChainControl:
    """The control plane of the fake supply chain."""

    def __init__(self, base: str) -> None:
        self._upsert = f"{base}/supply-chain"
        self._base = f"{base}/_control"
        self._session = local_session()

    def set(self, **settings: object) -> Json:
        """Change some settings, for example `failureRate=0.3`; returns all of them."""
        return self._json(self._session.put(self._base, json=settings, timeout=10))

    def settings(self) -> Json:
        """All settings."""
        return self._json(self._session.get(self._base, timeout=10))

    def deliver(self, product: Json) -> None:
        """Hand it a product as the catalog does, but past the catalog."""
        self._session.post(self._upsert, json=product, timeout=10).raise_for_status()

    def tamper(self, product_id: str, **changes: object) -> None:
        """Change a product that it holds, behind the catalog's back; `lose=True` loses it."""
        body = {"id": product_id, **changes}
        self._json(self._session.patch(f"{self._base}/products", json=body, timeout=10))

    def products(self) -> dict[str, Json]:
        """What it holds, by id."""
        answer = self._json(self._session.get(f"{self._base}/products", timeout=10))
        return {item["id"]: item for item in answer["items"]}

    def calls(self, product_id: str | None = None) -> list[Json]:
        """The calls it saw, oldest first; of one product or of all."""
        query = {"id": product_id} if product_id else {}
        answer = self._session.get(f"{self._base}/calls", params=query, timeout=10)
        return list(self._json(answer)["items"])

    def summary(self) -> Json:
        """Counts: products, calls, failed, stale, concurrent, byOutcome."""
        return self._json(self._session.get(f"{self._base}/summary", timeout=10))

    def forget(self) -> None:
        """Let it forget its products and calls."""
        self._session.delete(f"{self._base}/products", timeout=10).raise_for_status()

    @staticmethod
    def _json(answer: requests.Response) -> Json:
        answer.raise_for_status()
        content: Json = exact_json(answer)
        return content


class RunningStack:
    """An embedded stack that is up, with clients for its API, its supply chain and its queues."""

    def __init__(self, stack: Stack, **environment: str) -> None:
        self.run_dir, self.environ, self._route = stack.run_dir, stack.environ, stack.route
        self.up(**environment)

    # ---- its processes ----

    def up(self, **environment: str) -> StackInfo:
        """Start what is not running; returns when all is ready.

        `environment` wins over the usual one until the next `up`, which restarts what it changes.
        """
        self.stack = Stack(self.run_dir, {**self.environ, **environment}, route=self._route)
        self.settings: StackInfo = self.stack.up()
        self.api = Api(self.settings["api"], self.settings["token"])
        self.supply_chain = SupplyChainControl(self.settings["supplyChain"])
        self.sqs = sqs_client(self.settings["sqs"])
        return self.settings

    def kill(self, name: str) -> None:
        """SIGKILL one process: api, bridge, sync, reconcile, mongodb, nats, sqs, supplyChain."""
        self.stack.kill(name)

    def stop(self, name: str) -> None:
        """SIGTERM one process and wait for its end."""
        self.stack.stop(name)

    # ---- its products ----

    def get(self, path: str) -> Json:
        """The JSON that the API answers to a GET; anything but 200 fails the test."""
        return _body(self.api.get(path), 200)

    def create(self, **fields: object) -> Json:
        """A new product, as the API answers; `fields` win over those of `PRODUCT`."""
        return _body(self.api.post("/products", PRODUCT | fields), 201)

    def try_to_create(self, **fields: object) -> Json | None:
        """The same; None where the API did not acknowledge it."""
        try:
            return self.create(**fields)
        except (AssertionError, requests.RequestException):
            return None

    # ---- its stream and its queues ----

    def publish(self, subject: str, data: bytes) -> None:
        """Publish to the stream, past the catalog."""

        async def send() -> None:
            async with await nats.connect(self.settings["nats"]) as connection:
                await connection.jetstream().publish(subject, data)

        asyncio.run(send())

    def enqueue(self, sync_messages: Iterable[SyncMessage]) -> None:
        """Send messages to the sync queue, past the bridge."""
        for sync_message in sync_messages:
            self.sqs.send_message(
                QueueUrl=self.settings["queueUrl"], MessageBody=sync_message.to_json()
            )

    def queued(self) -> int:
        """How many messages wait visibly in the sync queue."""
        answer = self.sqs.get_queue_attributes(
            QueueUrl=self.settings["queueUrl"], AttributeNames=["ApproximateNumberOfMessages"]
        )
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])

    def purge_queue(self) -> None:
        """Remove every message from the sync queue, those in flight too."""
        self.sqs.purge_queue(QueueUrl=self.settings["queueUrl"])

    def dead_letters(self) -> list[Json]:
        """What is in the dead-letter queue, left there: `{"body": JSON, "reason": text}` each."""
        url, found = self.settings["dlqUrl"], []
        # Invisible while looking, or the same would come again.
        while messages := self.sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=10,
            WaitTimeSeconds=0,
            MessageAttributeNames=["reason"],
        ).get("Messages"):
            found += messages
        for message in found:
            self.sqs.change_message_visibility(
                QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )
        return [_dead_letter(message) for message in found]

    def dead_letter(self, product_id: str) -> Json | None:
        """The first dead letter of a product, None if it has none."""
        letters = self.dead_letters()
        return next((it for it in letters if it["body"].get("productId") == product_id), None)


def _body(answer: requests.Response, status: int) -> Json:
    assert answer.status_code == status, answer.text
    content: Json = exact_json(answer)
    return content


def _dead_letter(message: MessageTypeDef) -> Json:
    reason = message.get("MessageAttributes", {}).get("reason")
    return {
        "body": simplejson.loads(message["Body"], use_decimal=True),
        "reason": reason["StringValue"] if reason else "",
    }
