"""The embedded stack keeps its promises: idempotent, durable, no process left behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pymongo import MongoClient

from embedded import processes
from embedded.services import ROLES, ROOT, SERVERS
from embedded.stack import Stack, sign_token
from tests.e2e.delivery.steps import wait_for
from tests.support import (
    PRODUCT,
    Api,
    Json,
    RunningStack,
    eventually,
    stack_environment,
    stopped_for_sure,
)

if TYPE_CHECKING:
    from pathlib import Path


def group_is_gone(leader: int) -> bool:
    """Tell whether no process of a group is left, workers included."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return True
    return False


def run_up(environ: dict[str, str], run_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "embedded.stack", "up"],
        cwd=ROOT,
        env={**environ, "RUN_DIR": str(run_dir)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_up_starts_every_process(stack: RunningStack) -> None:
    assert set(stack.settings["processes"]) == {*ROLES, *SERVERS}


def test_stack_json_is_what_up_returned(stack: RunningStack) -> None:
    assert json.loads((stack.run_dir / "stack.json").read_text()) == stack.settings


def test_up_again_starts_nothing_twice(whole: RunningStack) -> None:
    before = whole.settings["processes"]
    assert whole.up()["processes"] == before


def test_up_makes_the_indexes_that_a_role_needs(whole: RunningStack) -> None:
    with MongoClient[Json](whole.settings["mongodb"]) as client:
        products = client["catalog"]["products"]
        whole.stop("api")
        products.drop_index("sku_sparse")
        whole.up()
        assert "sku_sparse" in products.index_information()


def test_a_rotation_restarts_only_the_roles_and_refuses_nobody_until_it_ends(
    whole: RunningStack,
) -> None:
    """Also that a changed setting restarts the roles: each restart takes seconds."""
    before, old = whole.settings["processes"], Api(whole.settings["api"], sign_token("o" * 32))
    assert old.get("/products").status_code == 401

    after = whole.up(
        CATALOG_JWT_SECRET_PREVIOUS="o" * 32,
        SUPPLY_CHAIN_SIGNING_SECRET="bmV3",
        SUPPLY_CHAIN_SIGNING_SECRET_PREVIOUS="b2xk",
    )["processes"]
    assert {name for name in before if before[name] != after[name]} == set(ROLES)
    # A token of each secret, and a supply chain that knows only one of its two.
    for api, known in ((old, "b2xk"), (whole.api, "bmV3")):
        whole.supply_chain.set(signingSecrets=[known])
        answer = api.post("/products", PRODUCT)
        assert answer.status_code == 201, answer.text
        assert wait_for(whole, answer.json()["id"], "delivered")["attempts"] == 1

    whole.up()
    assert old.get("/products").status_code == 401
    assert whole.api.get("/products").status_code == 200


def test_a_given_failure_rate_reaches_the_running_supply_chain(whole: RunningStack) -> None:
    whole.up(SUPPLY_CHAIN_FAILURE_RATE="0.25")
    found = float(whole.supply_chain.settings()["failureRate"])
    whole.supply_chain.set(failureRate=0)
    assert found == 0.25


def test_a_failure_rate_set_by_a_test_outlives_up(whole: RunningStack) -> None:
    whole.supply_chain.set(failureRate=0.5)
    whole.kill("supplyChain")
    whole.up()
    found = float(whole.supply_chain.settings()["failureRate"])
    whole.supply_chain.set(failureRate=0)
    assert found == 0.5


def test_a_server_given_by_the_environment_is_not_started(whole: RunningStack) -> None:
    info = whole.up(SUPPLY_CHAIN_URL="http://127.0.0.1:9")
    assert "supplyChain" not in info["processes"]
    assert info["supplyChain"] == "http://127.0.0.1:9"


def test_a_taken_api_port_is_a_clear_error_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        answer = run_up(stack_environment(os.environ, {"PORT": port}), tmp_path / "run")
    assert answer.returncode == 1
    assert answer.stderr.startswith(f"error: port {port} is taken by another program: PORT=")
    assert answer.stderr.count("\n") == 1


def test_a_wrong_setting_is_an_error_that_names_it_before_anything_starts(tmp_path: Path) -> None:
    wrong = stack_environment(os.environ, {"SYNC_CONCURRENCY": "many"})
    answer = run_up(wrong, tmp_path)
    assert answer.returncode == 1
    assert answer.stderr.startswith("error: SYNC_CONCURRENCY: ")
    assert Stack(tmp_path, {}).status() == {}


def test_a_remembered_port_that_was_taken_meanwhile_is_replaced(whole: RunningStack) -> None:
    port = urlsplit(whole.settings["supplyChain"]).port
    assert port is not None
    whole.stop("supplyChain")
    eventually(lambda: processes.port_is_free(port), 5, "the port is not free")
    with socket.create_server(("127.0.0.1", port)):
        assert urlsplit(whole.up()["supplyChain"]).port != port


def test_down_leaves_no_process_even_after_a_kill(tmp_path: Path) -> None:
    own = Stack(tmp_path / "run", stack_environment(os.environ, {}))
    with stopped_for_sure(own):
        started = own.up()["processes"]
        # Its workers outlive it.
        own.kill("api")
        own.down()
        eventually(lambda: all(map(group_is_gone, started.values())), 5, "processes are left")
    assert not (own.run_dir / "stack.json").exists()


def test_two_ups_at_once_start_one_stack(tmp_path: Path) -> None:
    environ = {**stack_environment(os.environ, {}), "RUN_DIR": str(tmp_path / "run")}
    command = [sys.executable, "-m", "embedded.stack", "up"]
    with stopped_for_sure(Stack(tmp_path / "run", environ)):
        both = [subprocess.Popen(command, cwd=ROOT, env=environ) for _ in range(2)]
        assert [process.wait(120) for process in both] == [0, 0]
        log = (tmp_path / "run" / "logs" / "supplyChain.log").read_text()
    assert log.count("supply chain at") == 1
