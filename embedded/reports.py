"""What the embedded stack's commands say: what was started, and which given server does not answer.

A server is given if the environment has an address for it. Without MongoDB nothing works, so it is
an error if that one does not answer. Without the others writes are accepted: a warning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import requests
from pymongo.errors import PyMongoError
from urllib3.exceptions import HTTPError
from urllib3.util import parse_url

from chalicelib.adapters.http_deadline import deadline, deadline_pools
from chalicelib.adapters.http_failures import reason
from chalicelib.adapters.mongo.client import Pool, make_client
from chalicelib.adapters.mongo.failures import told
from embedded.services import SERVERS, StackError, local_session

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from embedded.services import Endpoints

PATIENCE_SECONDS = 3
READY_SECONDS = 10
"""Longer than the API waits for its dependencies."""
_UNTIL_IT_ANSWERS = {
    "nats": "writes are accepted; their events wait in the outbox, and deliveries for reconcile",
    "sqs": "writes are accepted; their events wait in the stream, and nothing is delivered",
    "supplyChain": "writes are accepted; deliveries are tried again until it answers",
}


def address_of(url: str) -> str:
    """Give an address without user, password, and options, which can be secrets too."""
    # From the last @ of an address on: a password may contain one.
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def console_link(api: str, token: str) -> str:
    """Give a link to the console. A token in its fragment is sent to nobody: the page reads it."""
    return f"{api}/console#token={token}" if token else f"{api}/console"


def need_mongodb(uri: str) -> None:
    """Raise StackError if the MongoDB of MONGODB_URI does not answer."""
    try:
        with make_client(uri, PATIENCE_SECONDS, PATIENCE_SECONDS, Pool(1, 60)) as client:
            client.admin.command("ping")
    except PyMongoError as error:
        text = f"MONGODB_URI: {address_of(uri)} cannot be used: {told(error)}"
        raise StackError(f"{text}. Without MongoDB nothing works, so nothing was started") from None


def warnings(embedded: Collection[str], where: Endpoints) -> list[str]:
    """Say which of the given servers do not answer, and what that means meanwhile."""
    given = [name for name in SERVERS if name not in embedded]
    found: dict[str, str | None] = {}
    if {"nats", "sqs"} & {*given}:
        states = api_state(where.api)[1]
        found = {name: states.get(name, "not asked") for name in ("nats", "sqs") if name in given}
        found = {name: None if state == "ok" else state for name, state in found.items()}
    if "supplyChain" in given:
        found["supplyChain"] = supply_chain_missing(where.supply_chain)
    addresses = {
        "nats": f"NATS_URL: {address_of(where.nats)}",
        "sqs": f"SYNC_QUEUE_URL: {address_of(where.queue)}",
        "supplyChain": f"SUPPLY_CHAIN_URL: {address_of(where.supply_chain)}",
    }
    return [
        f"{addresses[name]} does not answer ({why}): {_UNTIL_IT_ANSWERS[name]}"
        for name, why in found.items()
        if why
    ]


def supply_chain_missing(url: str) -> str | None:
    """Say why nobody answers at the supply chain's address; any answer is one."""
    try:
        with deadline(PATIENCE_SECONDS):
            deadline_pools(1).urlopen("HEAD", url, redirect=False, preload_content=False).close()
    except TimeoutError:
        return f"no answer within {PATIENCE_SECONDS} s"
    except (HTTPError, OSError, ValueError) as error:
        return reason(error, parse_url(url).host or "")
    return None


def api_state(api: str) -> tuple[str, dict[str, str]]:
    """Ask the API whether it is ready: its status, or why there is none; its dependencies."""
    try:
        with local_session() as session:
            content = session.get(f"{api}/ready", timeout=READY_SECONDS).json()
        return str(content["status"]), dict(content["dependencies"])
    except (requests.RequestException, ValueError, LookupError, TypeError):
        return f"nothing usable answers at {api}/ready", {}


def changes(before: Mapping[str, int | None], after: Mapping[str, int]) -> list[str]:
    """Say what `up` did, from the pids before it and after it; None before: it had ended."""
    groups: dict[str, list[str]] = {}
    for name, pid in after.items():
        groups.setdefault(_happened(name, pid, before), []).append(name)
    if gone := [name for name, pid in before.items() if pid and name not in after]:
        groups["stopped"] = gone
    order = ("running already", "started", ENDED, CHANGED, "stopped")
    return [f"{words}: {', '.join(groups[words])}" for words in order if words in groups]


ENDED = "started again, since it had ended"
CHANGED = "started again, since its settings have changed"


def _happened(name: str, pid: int, before: Mapping[str, int | None]) -> str:
    if name not in before:
        return "started"
    if before[name] is None:
        return ENDED
    return "running already" if before[name] == pid else CHANGED
