"""The HTTP client of the supply chain: one attempt, in bounded time, that never raises."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from socket import SHUT_RDWR
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from standardwebhooks.webhooks import Webhook
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from chalicelib import exact_json
from chalicelib.delivery import Outcome, Verdict, judge
from chalicelib.models import Attempt, Product, rfc3339

ANSWER_LIMIT = 65_536
"""Bytes of an answer that are read; more is no use to anybody."""
ERROR_LIMIT = 300
"""Characters of an answer that go into the history of a product."""

# requests lets some of what urllib3 and http.client raise through as it is.
_FAILURES = (requests.RequestException, HTTPError, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, headers and the beginning of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpSupplyChain:
    """Implements `ports.SupplyChain`.

    `timeout` is the whole of a call in seconds, from the connection to the last byte; a call that
    takes longer is cut off, so that it cannot still be running when its lease has ended.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        reject_statuses: Collection[int],
        signing_secret: str | None,
        clock: Callable[[], datetime],
        connections: int,
    ) -> None:
        self._url = url.rstrip("/") + "/supply-chain"
        self._timeout = timeout
        self._reject_statuses = frozenset(reject_statuses)
        self._webhook = Webhook(signing_secret) if signing_secret else None
        self._clock = clock
        self._session = _session(connections)

    def deliver(self, product: Product, trace: str | None) -> Outcome:
        started, clock = self._clock(), time.monotonic()
        status: int | None = None
        retry_after: datetime | None = None
        try:
            answer = self._send(product, trace)
            status = answer.status
            retry_after = parse_retry_after(answer.headers.get("Retry-After"), self._clock())
            verdict, error = self._judge(product, answer)
        except _FAILURES as failure:
            verdict, error = Verdict.FAILED, _describe(failure)
        duration = time.monotonic() - clock
        attempt = Attempt(started, product.version, status, duration, error)
        return Outcome(attempt, verdict, retry_after)

    def _send(self, product: Product, trace: str | None) -> Answer:
        key = f"{product.id}:{product.version}"
        headers = {"Idempotency-Key": key}
        if trace:
            headers["X-Amzn-Trace-Id"] = trace
        if product.deleted_at is not None:
            headers |= self._signature(key, "")
            return self._request("DELETE", f"{self._url}/{product.id}", headers)
        body = exact_json.dumps(_request_body(product))
        headers |= {"Content-Type": "application/json", **self._signature(key, body)}
        return self._request("POST", self._url, headers, body.encode())

    def _signature(self, message_id: str, body: str) -> dict[str, str]:
        """Give the headers of Standard Webhooks, if there is a secret to sign with."""
        if self._webhook is None:
            return {}
        now = self._clock()
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(message_id, now, body),
        }

    def _judge(self, product: Product, answer: Answer) -> tuple[Verdict, str | None]:
        deleting = product.deleted_at is not None
        if answer.status == 409 and not deleting and self._holds(product):
            return Verdict.DELIVERED, None
        verdict = judge(answer.status, deleting=deleting, reject_statuses=self._reject_statuses)
        if verdict is Verdict.DELIVERED:
            return verdict, None
        text = answer.body.decode("utf-8", "replace").strip()[:ERROR_LIMIT]
        return verdict, f"HTTP {answer.status}: {text}" if text else f"HTTP {answer.status}"

    def _holds(self, product: Product) -> bool:
        """Ask after a conflict: does the supply chain hold this version, or a newer one?"""
        answer = self._request("GET", f"{self._url}/{product.id}", {})
        try:
            held = exact_json.loads(answer.body)
        except ValueError:
            return False
        version = held.get("version") if isinstance(held, dict) else None
        return answer.status == 200 and isinstance(version, int) and version >= product.version

    def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        with (
            _cut_off_after(self._timeout),
            self._session.request(
                method,
                url,
                data=body,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            ) as response,
        ):
            return Answer(response.status_code, response.headers, _read(response))


def _read(response: requests.Response) -> bytes:
    # Through iter_content, so that what goes wrong becomes a RequestException.
    return next(response.iter_content(ANSWER_LIMIT), b"")


def _request_body(product: Product) -> dict[str, Any]:
    return {
        "id": product.id,
        **product.fields.to_json(),
        "version": product.version,
        "createdAt": rfc3339(product.created_at),
        "updatedAt": rfc3339(product.updated_at),
    }


def _describe(failure: Exception) -> str:
    kind = "no answer in time" if isinstance(failure, requests.Timeout) else "no usable answer"
    return f"{kind}: {failure}"[:ERROR_LIMIT]


def parse_retry_after(value: str | None, now: datetime) -> datetime | None:
    """Read a Retry-After header (RFC 9110: seconds or a date); None where it says nothing."""
    if value is None:
        return None
    if value.strip().isdigit():
        return now + timedelta(seconds=min(int(value), 10**7))
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


# ---- a deadline for the whole call ----
#
# requests' time-out starts anew with each byte: a server that trickles keeps a call alive for
# ever. So a timer cuts the connection of the call that runs in this thread.


class _Call:
    """The call that runs in a thread, and the connection that it has got."""

    def __init__(self) -> None:
        self.connection: HTTPConnection | None = None
        self.expired = False

    def cut(self) -> None:
        self.expired = True
        sock = self.connection.sock if self.connection else None
        if sock is not None:
            # It may have been closed a moment ago, which is as good.
            with suppress(OSError):
                sock.shutdown(SHUT_RDWR)


class _Running(threading.local):
    call: _Call | None = None


_running = _Running()


class _Noted:
    """Notes with the thread's call which connection it uses."""

    def request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on as it is
        if _running.call is not None and isinstance(self, HTTPConnection):
            _running.call.connection = self
        super().request(*args, **kwargs)  # type: ignore[misc]  # of the class it is mixed into


class _Connection(_Noted, HTTPConnection):
    pass


class _TlsConnection(_Noted, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


def _session(connections: int) -> requests.Session:
    session = requests.Session()
    # No surprises from the environment (proxies, .netrc), and no cookies from call to call.
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers["User-Agent"] = "product-catalog"
    adapter = _Adapter(pool_connections=1, pool_maxsize=connections)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


@contextmanager
def _cut_off_after(seconds: float) -> Iterator[None]:
    """Cut this thread's call off when the time is up; raises requests.Timeout then."""
    call = _running.call = _Call()
    timer = threading.Timer(seconds, call.cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except _FAILURES as error:
        if call.expired:
            raise requests.Timeout(f"cut off after {seconds:g} s") from error
        raise
    finally:
        timer.cancel()
        _running.call = None
