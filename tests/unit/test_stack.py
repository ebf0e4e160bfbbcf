"""The parts of the embedded stack that decide, without starting it."""

from __future__ import annotations

import os
import socket
import stat
import threading
from decimal import Decimal
from pathlib import Path

import jwt
import pytest

from chalicelib.adapters.tokens import JwtVerifier
from chalicelib.settings import SettingsError, read_settings
from embedded import demo, processes, services, stack
from embedded.processes import Process
from embedded.servers import write_private
from embedded.services import StackError
from embedded.stack import Stack

PORTS = {"mongodb": 1, "nats": 2, "sqs": 3, "supplyChain": 4, "api": 8000}


def where(environ: dict[str, str]) -> services.Endpoints:
    ports = {name: PORTS[name] for name in (*services.embedded_servers(environ), "api")}
    return services.endpoints(environ, ports)


def settings(environ: dict[str, str]) -> dict[str, str]:
    return services.role_settings(environ, where(environ), "s" * 32)


def fingerprint(environ: dict[str, str]) -> str:
    wanted = settings(environ)
    return services.role_service("sync", wanted, environ, where(environ)).fingerprint


def test_a_stranger_with_a_recycled_pid_is_not_ours() -> None:
    assert not processes.alive(Process(os.getpid(), "another boot/1", ""))


def test_the_state_in_proc_is_read_behind_a_name_with_brackets_and_spaces() -> None:
    text = "42 (a b) c) S 1 42 42 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 98765 0 0"
    assert processes.parse_stat(text) == ("S", "98765")


def test_the_answer_of_ps_gives_state_and_start() -> None:
    assert processes.parse_ps("Ss   Mon Nov  3 10:11:12 2025\n") == ("S", "Mon Nov 3 10:11:12 2025")


def test_an_empty_answer_of_ps_means_no_such_process() -> None:
    assert processes.parse_ps("\n") is None


def test_a_free_port_lies_below_the_ports_of_outgoing_connections() -> None:
    assert 20_000 <= processes.free_port() < 32_000


def test_one_process_chooses_no_port_twice() -> None:
    assert not processes.reserve_port(processes.free_port())


def test_a_port_on_which_a_server_listens_is_not_reserved() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not processes.reserve_port(server.getsockname()[1])


def test_a_second_holder_of_the_lock_waits_for_the_first(tmp_path: Path) -> None:
    order = []

    def second() -> None:
        with processes.locked(tmp_path / "lock"):
            order.append("second")

    thread = threading.Thread(target=second)
    with processes.locked(tmp_path / "lock"):
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_the_metrics_of_the_roles_have_ports_in_a_row() -> None:
    ports = services.metrics_ports({"METRICS_PORT": "9100"})
    assert ports == {"api": 9100, "bridge": 9101, "sync": 9102, "reconcile": 9103}
    assert services.metrics_ports({"METRICS_PORT": ""}) == {}


@pytest.mark.parametrize("text", ["0", "65533", "http"])
def test_a_port_of_metrics_without_three_others_after_it_is_refused(text: str) -> None:
    with pytest.raises(StackError, match="METRICS_PORT"):
        services.metrics_ports({"METRICS_PORT": text})


def test_every_server_is_embedded_when_the_environment_is_empty() -> None:
    assert services.embedded_servers({}) == services.SERVERS


@pytest.mark.parametrize(
    ("name", "server"),
    [("MONGODB_URI", "mongodb"), ("NATS_URL", "nats"), ("SUPPLY_CHAIN_URL", "supplyChain")],
)
def test_a_server_whose_address_is_given_is_not_embedded(name: str, server: str) -> None:
    assert server not in services.embedded_servers({name: "given://address"})


def test_sqs_is_not_embedded_when_both_queues_are_given() -> None:
    given = {"SYNC_QUEUE_URL": "https://sqs/q", "SYNC_DLQ_URL": "https://sqs/d"}
    assert "sqs" not in services.embedded_servers(given)


def test_a_bulk_queue_belongs_to_the_server_of_the_others() -> None:
    with pytest.raises(StackError, match="SYNC_BULK_QUEUE_URL alone"):
        services.embedded_servers({"SYNC_BULK_QUEUE_URL": "https://sqs/b"})


def test_given_queues_have_a_bulk_queue_only_if_it_is_given_too() -> None:
    given = {"SYNC_QUEUE_URL": "https://sqs/q", "SYNC_DLQ_URL": "https://sqs/d"}
    bulk = {"SYNC_BULK_QUEUE_URL": "https://sqs/b"}
    assert read_settings(settings(given)).sync_bulk_queue_url is None
    assert read_settings(settings(given | bulk)).sync_bulk_queue_url == "https://sqs/b"
    assert read_settings(settings({})).sync_bulk_queue_url is not None


def test_one_queue_without_the_other_is_an_error() -> None:
    with pytest.raises(StackError, match="SYNC_DLQ_URL alone"):
        services.embedded_servers({"SYNC_DLQ_URL": "https://sqs/d"})


@pytest.mark.parametrize("text", ["0", "65536", "http", "-1", "²"])
def test_a_port_that_is_none_is_an_error_naming_the_variable(text: str) -> None:
    with pytest.raises(StackError, match="PORT"):
        services.api_port({"PORT": text})


@pytest.mark.parametrize("text", ["1.5", "-0.1", "often", "nan"])
def test_a_failure_rate_outside_0_and_1_is_an_error_naming_the_variable(text: str) -> None:
    with pytest.raises(StackError, match="SUPPLY_CHAIN_FAILURE_RATE"):
        services.failure_rate({"SUPPLY_CHAIN_FAILURE_RATE": text})


def test_a_given_setting_wins_over_the_default() -> None:
    assert settings({"RECONCILE_GRACE_SECONDS": "7"})["RECONCILE_GRACE_SECONDS"] == "7"


def test_an_empty_setting_counts_as_not_given() -> None:
    assert settings({"RECONCILE_GRACE_SECONDS": ""})["RECONCILE_GRACE_SECONDS"] == "20"


def test_a_misspelt_setting_stops_up_before_anything_is_started(tmp_path: Path) -> None:
    environ = {"PORT": str(processes.free_port()), "SYNC_MAX_ATTEMTPS": "3"}
    with pytest.raises(SettingsError, match=r"SYNC_MAX_ATTEMTPS: .* SYNC_MAX_ATTEMPTS meant"):
        Stack(tmp_path, environ).up()
    assert Stack(tmp_path, {}).status() == {}


def test_the_demo_ignores_a_misspelt_setting_like_every_other() -> None:
    environ = demo.demo_environment({"SYNC_MAX_ATTEMTPS": "3", "HOME": "/"})
    assert ("SYNC_MAX_ATTEMTPS" in environ, environ["HOME"]) == (False, "/")


def test_the_products_own_defaults_are_left_alone() -> None:
    assert "SYNC_HORIZON_SECONDS" not in settings({})


def test_real_aws_credentials_never_reach_the_embedded_queue() -> None:
    mine = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_PROFILE": "company", "AWS_SESSION_TOKEN": "token"}
    assert {"AKIA", "company", "token"}.isdisjoint(settings(mine).values())


def test_real_aws_credentials_are_used_for_a_given_queue() -> None:
    given = {"SYNC_QUEUE_URL": "https://sqs/q", "SYNC_DLQ_URL": "https://sqs/d"}
    assert settings({**given, "AWS_PROFILE": "company"})["AWS_PROFILE"] == "company"


def test_the_roles_accept_the_settings_of_an_empty_environment() -> None:
    assert read_settings(settings({})).sync_max_attempts == 18


def test_a_changed_setting_changes_the_fingerprint_of_a_role() -> None:
    assert fingerprint({}) != fingerprint({"SYNC_CONCURRENCY": "3"})


def test_a_variable_that_is_no_setting_does_not_change_the_fingerprint() -> None:
    assert fingerprint({"TERM": "xterm"}) == fingerprint({"TERM": "dumb"})


def test_the_token_carries_every_scope_and_expires() -> None:
    claims = jwt.decode(stack.sign_token("s" * 32), "s" * 32, algorithms=["HS256"])
    assert claims["sub"] == "developer"
    assert claims["scope"] == "products:read products:write sync:admin"
    assert "exp" in claims


def test_the_token_is_for_the_issuer_and_the_audience_of_the_roles() -> None:
    signed = stack.sign_token("s" * 32, "https://idp", "catalog")
    assert JwtVerifier("s" * 32, None, issuer="https://idp", audience="catalog").verify(
        f"Bearer {signed}"
    )


def test_a_missing_tool_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(StackError, match="no-such-server is not installed"):
        services.tool("no-such-server")


def test_a_secret_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    write_private(tmp_path / "secret", "x")
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_down_with_nothing_running_is_no_error(tmp_path: Path) -> None:
    assert Stack(tmp_path, {}).down() == []


def test_clean_removes_the_folder(tmp_path: Path) -> None:
    own = Stack(tmp_path / "run", {})
    own.down()
    own.clean()
    assert not (tmp_path / "run").exists()


def test_clean_refuses_a_folder_that_is_not_a_stacks(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StackError, match="not removed"):
        Stack(tmp_path, {}).clean()


def test_clean_refuses_the_folder_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "ROOT", tmp_path / "project")
    own = Stack(tmp_path, {})
    own.down()
    with pytest.raises(StackError, match="not removed"):
        own.clean()


def product(**changes: object) -> dict[str, object]:
    return {"id": "a", "version": 1, "name": "n", "price": Decimal("1.10"), "quantity": 2} | changes


def test_the_demo_finds_no_difference_between_equal_products() -> None:
    assert demo.differences([product()], [product(syncStatus="delivered")]) == []


@pytest.mark.parametrize(
    "other", [{"version": 0}, {"price": Decimal("1.11")}, {"quantity": 3}, {"name": "m"}]
)
def test_the_demo_names_the_product_that_differs(other: dict[str, object]) -> None:
    (line,) = demo.differences([product()], [product(**other)])
    assert line.startswith(f"a: {next(iter(other))} is ")


def test_the_demo_finds_a_product_that_never_arrived() -> None:
    assert demo.differences([product()], []) == ["a: the supply chain does not hold it"]


def test_the_demo_finds_a_product_that_nobody_wrote() -> None:
    assert demo.differences([], [product()]) == ["a: the catalog does not hold it"]


def test_the_demo_never_uses_servers_that_are_not_its_own() -> None:
    mine = {"MONGODB_URI": "mongodb://production", "AWS_PROFILE": "company"}
    assert services.embedded_servers(demo.demo_environment(mine)) == services.SERVERS


def test_the_demo_lets_supply_chain_calls_fail_unless_told_otherwise() -> None:
    assert demo.demo_environment({})["SUPPLY_CHAIN_FAILURE_RATE"] == "0.3"
    told = {"SUPPLY_CHAIN_FAILURE_RATE": "0.1"}
    assert demo.demo_environment(told)["SUPPLY_CHAIN_FAILURE_RATE"] == "0.1"
