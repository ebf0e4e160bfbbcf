"""The words that break the fake supply chain of a running stack, and mend it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from embedded import supply_chain
from embedded.fake_supply_chain import Settings, SupplyChain
from tests.http import ScriptedServer, refused_port, reply
from tests.unit.fake_supply_chain.client import RELIABLE, Client, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def write_info(run_dir: Path, url: str, **processes: int) -> None:
    run_dir.mkdir(exist_ok=True)
    content = {"supplyChain": url, "processes": processes}
    (run_dir / "stack.json").write_text(json.dumps(content))


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUN_DIR", str(tmp_path / "run"))
    return tmp_path / "run"


@pytest.fixture
def chain(run_dir: Path) -> Iterator[Client]:
    """The fake supply chain of a stack."""
    with serving(SupplyChain(RELIABLE)) as client:
        write_info(run_dir, client.url, supplyChain=1)
        yield client


def settings(chain: Client) -> dict[str, Any]:
    content: dict[str, Any] = chain.get("/_control").json()
    return content


@pytest.mark.parametrize(
    ("command", "changed", "told"),
    [
        ("down", {"down": True}, "it is down: every call is answered 503"),
        ("fail 0.3", {"failureRate": 0.3}, "fails 30% of the calls (http_500, "),
        ("delay 2", {"latencySeconds": 2}, "answers after 2 s"),
        ("limit 2.5", {"callsPerSecond": 2.5}, "answers 429 above 2.5 calls per second"),
        ("fail-product a b", {"failIds": ["a", "b"]}, "fails always: a"),
        ("reject a", {"rejectIds": ["a"]}, "rejects: a"),
    ],
)
def test_a_word_changes_one_setting_and_says_so_and_reset_takes_it_back(
    chain: Client,
    capsys: pytest.CaptureFixture[str],
    command: str,
    changed: dict[str, Any],
    told: str,
) -> None:
    before = settings(chain)
    assert supply_chain.main(command.split()) == 0
    assert settings(chain) == before | changed
    assert capsys.readouterr().out.startswith(told)
    assert supply_chain.main(["reset"]) == 0
    assert settings(chain) == before
    assert capsys.readouterr().out == "it works\nholds 0 products, 0 calls, 0 failed\n"


def test_up_ends_what_down_began_and_nothing_else(chain: Client) -> None:
    chain.control(down=True, failureRate=0.5)
    assert supply_chain.main(["up"]) == 0
    assert (settings(chain)["down"], settings(chain)["failureRate"]) == (False, 0.5)


def test_a_reset_leaves_who_signs(chain: Client) -> None:
    chain.control(signingSecrets=["c2VjcmV0"])
    assert supply_chain.main(["reset"]) == 0
    assert settings(chain)["signingSecrets"] == ["c2VjcmV0"]


def test_a_limit_can_be_taken_away(chain: Client) -> None:
    chain.control(callsPerSecond=5)
    assert supply_chain.main(["limit", "none"]) == 0
    assert settings(chain)["callsPerSecond"] is None


def test_products_are_added_to_those_that_are_named_already(chain: Client) -> None:
    for ids in (["a", "b"], ["b", "c"]):
        supply_chain.main(["reject", *ids])
    assert settings(chain)["rejectIds"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("word", "held"),
    [("lose", []), ("change", [("Lamp (changed)", 3)]), ("raise", [("Lamp", 8)])],
)
def test_a_product_is_changed_behind_the_catalogs_back(
    chain: Client, capsys: pytest.CaptureFixture[str], word: str, held: list[tuple[str, int]]
) -> None:
    chain.post(version=3)
    assert supply_chain.main([word, "p1"]) == 0
    assert [(item["name"], item["version"]) for item in chain.held()] == held
    assert capsys.readouterr().out == f"{word}: p1\n"


def test_a_product_that_is_not_there_cannot_be_changed(
    chain: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    chain.post(version=3)
    assert supply_chain.main(["lose", "p1", "p2"]) == 1
    assert capsys.readouterr().err == "error: the supply chain does not hold p2\n"
    assert len(chain.held()) == 1


def test_show_changes_nothing(chain: Client, capsys: pytest.CaptureFixture[str]) -> None:
    chain.post(version=0)
    before = settings(chain)
    assert supply_chain.main(["show"]) == 0
    assert settings(chain) == before
    assert capsys.readouterr().out == "it works\nholds 1 products, 1 calls, 0 failed\n"


def test_reset_is_the_fake_without_any_failure() -> None:
    reliable = Settings(failure_rate=0).to_json()
    assert reliable == {**supply_chain.RELIABLE, "signingSecrets": ()}


@pytest.mark.usefixtures("chain")
def test_a_wrong_number_is_refused_with_the_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert supply_chain.main(["fail", "3"]) == 1
    told = "error: the supply chain refuses it: failureRate: must be a number from 0 to 1\n"
    assert capsys.readouterr().err == told


@pytest.mark.parametrize(
    "command", ["", "explode", "fail", "fail often", "delay nan", "limit much", "reject"]
)
def test_a_command_that_is_none_is_an_error_with_the_usage(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    with pytest.raises(SystemExit):
        supply_chain.main(command.split())
    assert "usage: python -m embedded.supply_chain" in capsys.readouterr().err


def test_without_a_stack_it_says_how_to_start_one(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert supply_chain.main(["down"]) == 1
    told = f"error: no stack runs in {run_dir}: make up starts one\n"
    assert capsys.readouterr().err == told


def test_a_supply_chain_that_is_not_the_fake_one_is_left_alone(
    run_dir: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    write_info(run_dir, server.url, api=1)
    assert supply_chain.main(["down"]) == 1
    assert "is the one of SUPPLY_CHAIN_URL, not the fake one" in capsys.readouterr().err
    assert server.seen == []


def test_a_supply_chain_that_has_ended_is_told(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_info(run_dir, f"http://127.0.0.1:{refused_port()}", supplyChain=1)
    assert supply_chain.main(["show"]) == 1
    assert "does not run: make up starts it again" in capsys.readouterr().err


def test_an_answer_that_is_no_json_is_told(
    run_dir: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    write_info(run_dir, server.url, supplyChain=1)
    server.answers.append(reply(200, "<html>"))
    assert supply_chain.main(["show"]) == 1
    assert "error: the supply chain does not answer: " in capsys.readouterr().err
