"""Requests to the API, each with the answer that is expected of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from catalogctl import client
from catalogctl.client import BearerAuth
from chalicelib.domain import exact_json
from tools.verify_deployment.steps import FailedError

# Of 429 alone: whatever was asked, nothing was done.
RETRIES = Retry(
    total=10,
    connect=2,
    read=0,
    backoff_factor=1,
    backoff_max=5,
    allowed_methods=None,
    status_forcelist={429},
    raise_on_status=False,
)
PROBLEM = "urn:product-catalog:problem:"


class _NoAuth(requests.auth.AuthBase):
    """No token: without this, requests would take one of ~/.netrc."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `content` is None if it is no JSON object."""

    status: int
    headers: requests.structures.CaseInsensitiveDict[str]
    content: dict[str, Any] | None
    error: str
    """What is wrong with it if it was not the one expected."""

    @property
    def json(self) -> dict[str, Any]:
        """Give the content. Raises FailedError if there is none."""
        if self.content is None:
            raise FailedError(f"{self.error}: that is no JSON object of a catalog")
        return self.content

    @property
    def problem(self) -> str | None:
        """Name the problem of RFC 9457; None if it is none of ours."""
        kind = self.headers.get("Content-Type", "").partition(";")[0]
        name = str((self.content or {}).get("type", ""))
        if kind != "application/problem+json" or not name.startswith(PROBLEM):
            return None
        return name.removeprefix(PROBLEM)


class Web:
    """The API at `base` (with /api), asked with a token or without."""

    def __init__(self, base: str, token: str | None) -> None:
        self.base = base.rstrip("/")
        self._session = requests.Session()
        self._session.auth = BearerAuth(token) if token else _NoAuth()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=RETRIES))

    def with_token(self, token: str | None) -> Web:
        """Give the same API for somebody else."""
        return Web(self.base, token)

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        """Send a request. Raises FailedError if nobody answers."""
        data = None if body is None else exact_json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data is not None else {}
        url = self.base + path
        try:
            answer = self._session.request(
                method,
                url,
                data=data,
                headers=headers,
                timeout=client.TIMEOUTS,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise FailedError(f"{method} {url} is not answered: {error}") from error
        content = client.parsed(answer)
        known = content if isinstance(content, dict) else None
        said = (known or {}).get("detail") or (known or {}).get("title") or answer.text[:200]
        text = f"{method} {path} answered {answer.status_code}" + (f": {said}" if said else "")
        return Answer(answer.status_code, answer.headers, known, text)

    def expect(self, status: int, method: str, path: str, body: object = None) -> Answer:
        """Send a request. Raises FailedError if the answer has another status."""
        answer = self.ask(method, path, body)
        if answer.status != status:
            raise FailedError(f"{answer.error} (expected {status})")
        return answer

    def refused(self, status: int, method: str, path: str, body: object = None) -> str:
        """Send a request that must be refused, with problem details; give the problem's name."""
        answer = self.expect(status, method, path, body)
        if answer.problem is None:
            kind = answer.headers.get("Content-Type", "none")
            raise FailedError(
                f"{method} {path} answered {status}, but as {kind}: no problem details"
            )
        return answer.problem
