"""The HTTP client of the supply chain: one attempt, in bounded time, that never raises."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from standardwebhooks.webhooks import Webhook
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError
from urllib3.util import make_headers, parse_url

from chalicelib.adapters.http_deadline import deadline, deadline_pools
from chalicelib.adapters.http_failures import reason
from chalicelib.domain import exact_json
from chalicelib.domain.answers import ERROR_LIMIT, Answer, judge
from chalicelib.domain.delivery import Outcome, Verdict
from chalicelib.domain.events import HEADER_VALUE, TRACE_HEADER
from chalicelib.domain.failures import NO_ANSWER
from chalicelib.domain.product import SIZE_LIMIT, Product
from chalicelib.domain.sync_state import Attempt
from chalicelib.domain.times import rfc3339
from chalicelib.domain.trace import TRACEPARENT, to_traceparent

HEADERS = {"User-Agent": "product-catalog", "Accept": "*/*"}
ANSWER_LIMIT = 4 * SIZE_LIMIT
"""Bytes of an answer that are read: enough for the largest product, also with escaped characters.
A longer answer is cut off, so it is not parsed as JSON."""
LONGEST_QUESTION = 10.0
"""Seconds of a question that follows no call: reconcile waits for its answer."""
IDLE = timedelta(seconds=30)
"""Connections that were idle for longer are not used again. A function that was frozen meanwhile
does not see that they are dead, and would lose an attempt to them."""

# urllib3 does not wrap every error of sockets and http.client.
_FAILURES = (HTTPError, OSError, ValueError)


class HttpSupplyChain:
    """Implements `ports.SupplyChain`.

    `timeout` is the timeout in seconds of a whole call, from connecting to the last byte. A longer
    call is cut off, so that it has ended before its lease does. The questions after a call have one
    more timeout, all together. If a kept-alive connection turns out to be closed, the call is
    repeated within the same timeout.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        reject_statuses: Collection[int],
        signing_secrets: Collection[str],
        clock: Callable[[], datetime],
        connections: int,
    ) -> None:
        self._url = url.rstrip("/") + "/supply-chain"
        self._host = _host(url)
        self._headers = HEADERS | _credentials(url)
        self._timeout = timeout
        self._rejects = frozenset(reject_statuses)
        self._webhooks = [Webhook(secret) for secret in signing_secrets]
        self._clock = clock
        self._pools = deadline_pools(connections)
        self._used = clock()

    def deliver(self, product: Product, trace: str | None) -> Outcome:
        started, clock = self._clock(), time.monotonic()
        self._drop_idle(started)
        status: int | None = None
        retry_after: datetime | None = None
        held: int | None = None
        try:
            with deadline(self._timeout):
                answer = self._send(product, trace)
            status = answer.status
            retry_after = parse_retry_after(answer.headers.get("Retry-After"), self._clock())
            with deadline(self._timeout):
                judgement = judge(product, answer, lambda: self._ask(product), self._rejects)
            verdict, error, held = judgement.verdict, judgement.error, judgement.held
        except _FAILURES as failure:
            verdict, error = Verdict.FAILED, self._describe(failure, status)
        duration = time.monotonic() - clock
        attempt = Attempt(started, product.version, status, duration, error)
        return Outcome(attempt, verdict, retry_after, held)

    def ask(self, product: Product) -> Answer | None:
        self._drop_idle(self._clock())
        try:
            with deadline(min(self._timeout, LONGEST_QUESTION)):
                return self._ask(product)
        except _FAILURES:
            return None

    def _describe(self, failure: Exception, status: int | None) -> str:
        """Say what failed: the call, or the question after it was answered with `status`."""
        late = isinstance(failure, TimeoutError)
        why = f"{NO_ANSWER}{self._timeout:g} s" if late else reason(failure, self._host)
        text = why if status is None else f"HTTP {status}, but the GET of the product failed: {why}"
        return text[:ERROR_LIMIT]

    def _drop_idle(self, now: datetime) -> None:
        # By the wall clock: while a function is frozen, the monotonic one may stand still.
        if now - self._used > IDLE:
            self._pools.clear()
        self._used = now

    def _send(self, product: Product, trace: str | None) -> Answer:
        key = product.idempotency_key
        headers = {"Idempotency-Key": key, **self._headers}
        if trace and HEADER_VALUE.fullmatch(trace):
            headers[TRACE_HEADER] = trace
        if traceparent := to_traceparent(trace):
            headers[TRACEPARENT] = traceparent
        if product.deleted_at is not None:
            headers |= self._signature(key, "")
            return self._request("DELETE", f"{self._url}/{product.id}", headers)
        body = exact_json.dumps(_request_body(product))
        headers |= {"Content-Type": "application/json", **self._signature(key, body)}
        return self._request("POST", self._url, headers, body.encode())

    def _signature(self, message_id: str, body: str) -> dict[str, str]:
        """Give the headers of Standard Webhooks, if there is a secret to sign with.

        One signature for each secret: a receiver needs to know only one of them.
        """
        if not self._webhooks:
            return {}
        now = self._clock()
        signatures = [webhook.sign(message_id, now, body) for webhook in self._webhooks]
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }

    def _ask(self, product: Product) -> Answer:
        """Ask which version the supply chain has."""
        # A separate id each time: a receiver may ignore a message whose id it has seen.
        headers = self._headers | self._signature(f"{product.idempotency_key}:{uuid4().hex}", "")
        # The answer of a cache on the way would be older than the call.
        headers["Cache-Control"] = "no-cache"
        return self._request("GET", f"{self._url}/{product.id}", headers)

    def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        response = self._pools.urlopen(
            method,
            url,
            body=body,
            headers=headers,
            timeout=self._timeout,
            redirect=False,
            preload_content=False,
        )
        try:
            return Answer(response.status, _read(response), response.headers)
        finally:
            # Closes the connection only if the answer was not read to its end.
            response.close()
            response.release_conn()


def _host(url: str) -> str:
    """Give the host of the URL, as an error names it; never its credentials."""
    try:
        return parse_url(url).host or ""
    except ValueError:
        return ""


def _credentials(url: str) -> dict[str, str]:
    """Give the header for `https://user:password@host`, which urllib3 does not send by itself."""
    try:
        auth = parse_url(url).auth
        return make_headers(basic_auth=unquote(auth)) if auth else {}
    except ValueError:
        # The URL is not usable: each call will fail with that error.
        return {}


def _read(response: BaseHTTPResponse) -> bytes:
    body = b""
    # A connection can be reused only if the answer was read to its end.
    for part in response.stream(ANSWER_LIMIT, decode_content=True):
        body += part
        if len(body) >= ANSWER_LIMIT:
            break
    return body[:ANSWER_LIMIT]


def _request_body(product: Product) -> dict[str, Any]:
    return {
        "id": product.id,
        **product.fields.to_json(),
        "version": product.version,
        "createdAt": rfc3339(product.created_at),
        "updatedAt": rfc3339(product.updated_at),
    }


def parse_retry_after(value: str | None, now: datetime) -> datetime | None:
    """Parse a Retry-After header (RFC 9110: seconds or a date); None if absent or malformed."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        # Truncated, since int() refuses thousands of digits; the cap is about four months.
        return now + timedelta(seconds=min(int(text.lstrip("0")[:8] or 0), 10**7))
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
