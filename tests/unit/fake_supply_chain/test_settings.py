"""The settings of the fake supply chain."""

from __future__ import annotations

import pytest
import requests

from embedded.fake_supply_chain import FAILURE_KINDS
from tests.unit.fake_supply_chain.client import Client


def test_the_settings_can_be_read(client: Client) -> None:
    assert client.get("/_control").json() == {
        "failureRate": 0,
        "kinds": list(FAILURE_KINDS),
        "timeoutSeconds": 3,
        "rejectIds": [],
        "failIds": [],
        "latencySeconds": 0,
        "down": False,
        "callsPerSecond": None,
        "signingSecrets": [],
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
        ("down", 1),
        ("callsPerSecond", 0),
        ("callsPerSecond", True),
        ("signingSecrets", "c2VjcmV0"),
        ("signingSecrets", [""]),
        ("signingSecrets", ["x"]),
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
