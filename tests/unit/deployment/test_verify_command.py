"""The command: what it is given, its exit codes, and that nothing stays behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.http import ScriptedServer, reply
from tools.verify_deployment import __main__ as command
from tools.verify_deployment import web
from tools.verify_deployment.product import Product

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "a secret of at least thirty-two characters"


@pytest.fixture(autouse=True)
def deployed(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A deployment that answers 500 to everything, and nothing else in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("NATS_URL", "CATALOG_READER_TOKEN", "CATALOG_JWT_SECRET", "NAME_SUFFIX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(web, "RETRIES", web.RETRIES.new(backoff_factor=0))
    monkeypatch.setenv("CATALOG_API", f"{server.url}/api")
    monkeypatch.setenv("CATALOG_TOKEN", "a-token")
    server.default = reply(500, "{}")


def test_a_broken_deployment_ends_with_1_and_names_each_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(["--seconds=0"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("failed       health ")
    assert lines[0].endswith("GET /health answered 500: {} (expected 200)")
    assert lines[-1].startswith("not checked  deletion ")
    assert sum("needs --aws" in line for line in lines) == len(command.CLOUD_STEPS)


def test_programs_get_one_document(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--seconds=0", "--json", "--strict"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["api"], told["ok"]) == (f"{server.url}/api", False)
    assert told["steps"][0]["step"] == "health"


@pytest.mark.parametrize("option", ["--poison", "--test-alarms"])
def test_what_needs_aws_is_refused_without(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([option]) == 2
    assert capsys.readouterr().err == "error: --poison and --test-alarms belong to --aws\n"


def test_without_a_token_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CATALOG_TOKEN", "")
    assert command.main([]) == 2
    assert "set CATALOG_TOKEN" in capsys.readouterr().err


def test_who_interrupts_it_leaves_no_product(
    monkeypatch: pytest.MonkeyPatch, server: ScriptedServer
) -> None:
    def interrupted(_: Product) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(Product, "read", interrupted)
    assert command.main(["--seconds=0"]) == 130
    assert server.seen[-1].path.startswith("/api/products?sku=verify-deployment-")


def test_a_reader_is_given_or_signed(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATALOG_JWT_SECRET", SECRET)
    command.main(["--seconds=0"])
    monkeypatch.setenv("CATALOG_READER_TOKEN", "given")
    command.main(["--seconds=0"])
    sent = [seen.headers["Authorization"] for seen in server.seen if seen.body == b"{}"]
    assert sent[0].startswith("Bearer ey")
    assert sent[1] == "Bearer given"


def test_the_addresses_of_a_stack_are_used_for_that_stack_alone(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stack = {"api": f"{server.url}/stack", "token": "t", "nats": "nats://it", "jwtSecret": SECRET}
    (tmp_path / ".run").mkdir()
    (tmp_path / ".run" / "stack.json").write_text(json.dumps(stack))
    given = command._steps(command._parser().parse_args([]), {"CATALOG_API": "there"})[0].given
    assert (given.listen, given.reader) == (None, None)
    monkeypatch.delenv("CATALOG_API")
    given = command._steps(command._parser().parse_args([]), {})[0].given
    assert given.web.base == f"{server.url}/stack"
    assert given.listen is not None
    assert given.reader is not None


def test_aws_is_asked_with_the_names_of_the_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    arguments = command._parser().parse_args(["--aws", "--poison", "--name-suffix=-staging"])
    product, steps = command._steps(arguments, {"CATALOG_API": "there"})
    assert tuple(step.name for step in steps[-len(command.CLOUD_STEPS) :]) == command.CLOUD_STEPS
    assert product.given.poison is not None
