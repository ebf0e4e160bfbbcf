"""The page about NATS: its commands do what the code and the file of permissions do."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from chalicelib.adapters.stream_setup import (
    A_WRONG_STREAM,
    NANOSECONDS,
    StreamPlan,
    consumer_config,
    stream_config,
)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/nats.md").read_text()
PERMISSIONS = (ROOT / "docs/nats-permissions.conf").read_text()
USERS = ["catalog", "migration", "listener", "operator"]
UNITS = {"d": 86_400, "m": 60, "s": 1}


def command(start: str) -> list[str]:
    """The words of the page's command that begins so."""
    found = re.search(rf"^{re.escape(start)}.*?(?<!\\)$", PAGE, re.MULTILINE | re.DOTALL)
    assert found, start
    return shlex.split(found[0].replace("\\\n", " "))


def options(words: list[str], name: str) -> list[str]:
    return [value for option, value in pairwise(words) if option == name]


def permitted(user: str) -> tuple[list[str], list[str]]:
    """The subjects that the file lets a user publish to, and subscribe to."""
    block = PERMISSIONS.partition(f"user: {user},")[2].partition("user:")[0]
    publish, subscribe = re.findall(r"allow: \[(.*?)\]", block, re.DOTALL)
    return re.findall(r'"(.+?)"', publish), re.findall(r'"(.+?)"', subscribe)


def nanoseconds(text: str) -> int:
    return int(text[:-1]) * UNITS[text[-1]] * NANOSECONDS


@pytest.mark.parametrize("user", USERS)
def test_credentials_give_the_same_permissions_as_the_file(user: str) -> None:
    words = command(f"nsc add user --account CATALOG --name {user} ")

    assert (options(words, "--allow-pub"), options(words, "--allow-sub")) == permitted(user)


def test_the_page_has_the_section_that_a_refusal_names() -> None:
    assert f"## {A_WRONG_STREAM}\n" in PAGE


def test_a_stream_that_is_made_by_hand_is_the_one_that_the_migration_makes() -> None:
    words, wanted = command("nats stream add"), stream_config(StreamPlan(replicas=3))

    for name in ("subjects", "storage", "retention", "discard"):
        (value,) = options(words, f"--{name}")
        assert value in (wanted[name], wanted[name][0])
    assert words[3] == wanted["name"]
    assert options(words, "--replicas") == [str(wanted["num_replicas"])]
    assert nanoseconds(options(words, "--max-age")[0]) == wanted["max_age"]
    assert nanoseconds(options(words, "--dupe-window")[0]) == wanted["duplicate_window"]


def test_a_consumer_that_is_made_by_hand_is_the_one_that_the_migration_makes() -> None:
    words, wanted = command("nats consumer add"), consumer_config(StreamPlan())

    assert words[3:5] == ["PRODUCTS", wanted["name"]]
    assert options(words, "--filter") == wanted["filter_subjects"]
    assert options(words, "--ack") == [wanted["ack_policy"]]
    assert options(words, "--deliver") == [wanted["deliver_policy"]]
    assert nanoseconds(options(words, "--wait")[0]) == wanted["ack_wait"]
