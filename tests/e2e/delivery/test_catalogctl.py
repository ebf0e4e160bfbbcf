"""The command line against the real API and the real stream."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import simplejson
from typer.testing import CliRunner

from catalogctl.main import app
from tests.e2e.delivery.steps import AUDITED, PATIENCE, wait_for
from tests.support import Json, RunningStack, eventually

if TYPE_CHECKING:
    from typer.testing import Result

    Run = Callable[..., Result]

PRICE = Decimal("123456789012345678901234567.1200")


@pytest.fixture
def run(stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command on the stack, and hold it to its exit code."""
    monkeypatch.setenv("CATALOG_API", stack.settings["api"])
    monkeypatch.setenv("CATALOG_TOKEN", stack.settings["token"])
    monkeypatch.setenv("CATALOG_JWT_SECRET", stack.settings["jwtSecret"])
    monkeypatch.setenv("NATS_URL", stack.settings["nats"])
    monkeypatch.delenv("NATS_CREDENTIALS", raising=False)

    def invoke(*arguments: str, code: int = 0) -> Result:
        ended = CliRunner().invoke(app, arguments)
        assert ended.exit_code == code, ended.output
        return ended

    return invoke


def json_of(ended: Result) -> Json:
    document: Json = simplejson.loads(ended.stdout, use_decimal=True)
    return document


def lines_of(text: str) -> list[Json]:
    return [simplejson.loads(line, use_decimal=True) for line in text.splitlines()]


def imported(run: Run, path: Path, *products: Json) -> None:
    path.write_text("".join(f"{simplejson.dumps(it, use_decimal=True)}\n" for it in products))
    assert json_of(run("import", str(path), "--json"))["loaded"] == len(products)


def product(sku: str) -> Json:
    return {"name": "Desk lamp", "price": PRICE, "quantity": 3, "sku": sku}


def test_what_is_imported_comes_out_again_with_its_exact_price(run: Run, tmp_path: Path) -> None:
    imported(run, tmp_path / "in.ndjson", product("ctl-1"))
    out = tmp_path / "out.ndjson"

    run("export", str(out))
    imported(run, tmp_path / "more.ndjson", product("ctl-2"))
    run("export", str(out))

    exported = lines_of(out.read_text())
    ids = [line["id"] for line in exported]
    assert ids == sorted(set(ids))
    found = {line.get("sku"): str(line["price"]) for line in exported}
    # Trailing zeros are as the catalog keeps them.
    assert Decimal(found["ctl-1"]) == Decimal(found["ctl-2"]) == PRICE
    ours = [line for line in exported if line.get("sku", "").startswith("ctl-")]
    again = tmp_path / "again.ndjson"
    again.write_text("".join(f"{simplejson.dumps(it, use_decimal=True)}\n" for it in ours))
    assert json_of(run("import", str(again), "--json"))["alreadyThere"] == 2


def test_the_events_of_a_product_are_heard_from_the_beginning(
    run: Run, stack: RunningStack
) -> None:
    made = stack.create()
    wait_for(stack, made["id"], "delivered")
    chosen = ("events", "--no-follow", "--id", made["id"], "--json")

    def types() -> list[str]:
        return [event["type"] for event in lines_of(run(*chosen).stdout)]

    def both() -> bool:
        return set(types()) == {"product:created", "product:sync-complete"}

    eventually(both, PATIENCE, "both events are heard")
    (created,) = lines_of(run(*chosen, "--type", "product:created").stdout)
    assert created["data"]["price"] == made["price"]
    assert lines_of(run(*chosen, "--limit", "1").stdout)[0]["subject"] == made["id"]


def test_a_quiet_stream_ends_when_nothing_is_to_follow(run: Run) -> None:
    assert run("events", "--no-follow", "--since", "0s").stdout == ""


def test_show_tells_the_state_of_a_delivery(run: Run, stack: RunningStack) -> None:
    made = stack.create()
    wait_for(stack, made["id"], "delivered")
    shown = json_of(run("show", made["id"], "--json"))
    assert shown["product"]["price"] == made["price"]
    assert shown["sync"]["deliveredVersion"] == 0
    assert "delivered  version 0, " in " ".join(run("show", made["id"]).stdout.split(" " * 3))


def test_a_token_of_one_scope_does_no_more(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    token = run("token", "--scope", "products:read").stdout.strip()
    monkeypatch.setenv("CATALOG_TOKEN", token)
    assert lines_of(run("export").stdout)
    assert "sync:admin" in run("resume", code=3).stderr


def a_product_that_waits(run: Run, stack: RunningStack) -> Json | None:
    """A new product that is not delivered, once each worker knows of the pause."""
    made = stack.create()
    behind = json_of(run("behind", "--status", "pending", "--limit", "1000", "--json"))
    return made if made["id"] in [item["id"] for item in behind["items"]] else None


@pytest.mark.timeout(400)
def test_an_operator_sees_why_and_what_next_and_proves_the_result(
    run: Run, stack: RunningStack
) -> None:
    # First: after a pause an audit waits until the rate of the calls is no longer limited.
    run("audit", "--start", "--reason", "a proof")
    eventually(
        lambda: json_of(run("audit", "--json"))["state"] == "done", AUDITED, "the audit is done"
    )
    run("audit")

    run("pause", "--reason", "a test", "--until", "1h")
    try:
        made = eventually(lambda: a_product_that_waits(run, stack), PATIENCE, "nothing waits")
        told = json_of(run("why", made["id"], "--json"))
        assert "a test" in told["held"]
        assert {entry["kind"] for entry in told["entries"]} >= {"write", "held"}
        run("status", "--check", code=1)
        assert json_of(run("redrive", "--status", "retrying", "--dry-run", "--json"))["dryRun"]
        run("dead-letters")
    finally:
        run("resume")
    wait_for(stack, made["id"], "delivered")
    run("replay", made["id"], "--reason", "once more")
    wait_for(stack, made["id"], "delivered")

    acts = json_of(run("acts", "--json"))["items"]
    mine = {(act["what"], act["why"]) for act in acts}
    assert mine >= {("pause", "a test"), ("replay", "once more"), ("audit", "a proof")}
    assert "resume" in {act["what"] for act in acts}
