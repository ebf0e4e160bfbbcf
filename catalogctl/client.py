"""The catalog's API over HTTP: answers as exact JSON, failures as errors with their remedy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from catalogctl.errors import CommandError, RefusedError, UnavailableError, UsageError
from chalicelib.domain import exact_json
from chalicelib.domain.exact_json import Json
from chalicelib.domain.times import rfc3339

TIMEOUTS = (5, 35)
"""Seconds to connect and to read: API Gateway gives up after 29 s."""
PAGE = 100
"""What the API gives at once, at most."""
RETRIES = Retry(
    total=3,
    backoff_factor=0.3,
    # Only what changes nothing is repeated.
    allowed_methods={"GET"},
    status_forcelist={429, 502, 503, 504},
    respect_retry_after_header=False,
    raise_on_status=False,
)
REMEDIES = {
    401: "the token is not valid, or no longer: set CATALOG_TOKEN, or run make up again",
    403: "the token lacks a scope: catalogctl token, or your identity provider, makes another",
    429: "too many requests: wait, then try again",
}
_NOT_THE_API = "is CATALOG_API the address of a catalog, with /api at its end?"


class BearerAuth(requests.auth.AuthBase):
    """Sends a token; as an auth object, since requests would let ~/.netrc replace a mere header."""

    def __init__(self, token: str) -> None:
        self._header = f"Bearer {token.strip()}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._header
        return request


def parsed(answer: requests.Response) -> object:
    """Give the JSON of an answer with exact numbers; None if it is none."""
    try:
        return exact_json.loads(answer.content)
    except ValueError:
        return None


class Api:
    """The API at `base` (with `/api`). Every method raises a CommandError that says what to do."""

    def __init__(self, base: str, token: str) -> None:
        self._base = base.rstrip("/")
        self._session = requests.Session()
        self._session.auth = BearerAuth(token)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=RETRIES))

    def get(self, path: str, **query: object) -> Json:
        """GET a path; None leaves a parameter out, a list repeats it."""
        return self._send("GET", path, query, None)

    def find(self, path: str) -> Json | None:
        """GET a path; None if there is nothing (404)."""
        answer = self._request("GET", self._base + path, {}, None)
        return None if answer.status_code == 404 else self._content(answer)

    def post(self, path: str, body: Json) -> Json:
        """POST a body; None leaves a member out."""
        return self._send("POST", path, {}, body)

    def put(self, path: str, body: Json) -> Json:
        """PUT a body; None leaves a member out."""
        return self._send("PUT", path, {}, body)

    def delete(self, path: str) -> Json:
        """DELETE; give what there is then."""
        return self._send("DELETE", path, {}, None)

    def pages(self, path: str, **query: object) -> Iterator[Json]:
        """Give page after page of a list, with as many items as the API gives at once."""
        while True:
            page = self.get(path, **{"limit": PAGE, **query})
            yield page
            if page["nextCursor"] is None:
                return
            query["cursor"] = page["nextCursor"]

    def items(self, path: str, limit: int, **query: object) -> Json:
        """Give the first `limit` items of a list as one page: `nextCursor` is null at its end."""
        items: list[Json] = []
        while True:
            wanted = min(PAGE, limit - len(items))
            page = self.get(path, **{**query, "limit": wanted})
            items += page["items"]
            query["cursor"] = page["nextCursor"]
            if page["nextCursor"] is None or len(items) >= limit:
                return {**page, "items": items}

    def _send(self, method: str, path: str, query: Json, body: Json | None) -> Json:
        return self._content(self._request(method, self._base + path, _present(query), body))

    def _content(self, answer: requests.Response) -> Json:
        content = parsed(answer)
        if answer.ok and isinstance(content, dict):
            return content
        raise failure(answer, content)

    def _request(self, method: str, url: str, query: Json, body: Json | None) -> requests.Response:
        data = None if body is None else exact_json.dumps(_present(body)).encode()
        headers = {"Content-Type": "application/json"} if data is not None else {}
        try:
            return self._session.request(
                method,
                url,
                params=query,
                data=data,
                headers=headers,
                timeout=TIMEOUTS,
                allow_redirects=False,
            )
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
            raise UsageError(f"CATALOG_API: {error}") from error
        except requests.exceptions.MissingSchema as error:
            raise UsageError(f"CATALOG_API must begin with http:// or https://: {url}") from error
        except requests.RequestException as error:
            raise UnavailableError(f"{url} cannot be reached: {_cause(error)}") from error


def _present(values: Json) -> Json:
    return {
        name: rfc3339(value) if isinstance(value, datetime) else value
        for name, value in values.items()
        if value is not None
    }


def _cause(error: Exception) -> str:
    """Say the innermost reason: requests and urllib3 wrap it in what says nothing to a reader."""
    reason: object = error
    while isinstance(reason, Exception) and reason.args:
        inner = getattr(reason, "reason", None) or reason.args[0]
        if not isinstance(inner, Exception):
            break
        reason = inner
    return str(reason)


def failure(answer: requests.Response, content: object) -> CommandError:
    """Make the error of an answer that is not the one that was asked for."""
    method = answer.request.method
    text = f"{method} {answer.url} answered {answer.status_code}{_details(content)}"
    is_problem = isinstance(content, dict) and "title" in content
    if answer.status_code >= 500:
        return UnavailableError(f"{text}: try again later")
    if remedy := REMEDIES.get(answer.status_code):
        return RefusedError(f"{text}\n{remedy}")
    if answer.status_code >= 400:
        return RefusedError(text if is_problem else f"{text}\n{_NOT_THE_API}")
    return UnavailableError(f"{text}, which is not JSON of a catalog\n{_NOT_THE_API}")


def _details(content: object) -> str:
    """Give what problem details say, with each field at fault."""
    if not isinstance(content, dict):
        return ""
    detail = content.get("detail") or content.get("title")
    faults = [
        f"\n  {fault.get('field')}: {fault.get('message')}"
        for fault in content.get("errors") or []
        if isinstance(fault, dict)
    ]
    return (f": {detail}" if detail else "") + "".join(faults)


def product_path(product_id: str, rest: str = "") -> str:
    """Give the path of a product, whatever was typed as its id."""
    return f"/products/{quote(product_id, safe='')}{rest}"
