"""The smoke test of a deployment, on the real API, stream and supply chain."""

from __future__ import annotations

import json

import pytest

from tests.support import RunningStack
from tools.verify_deployment.__main__ import CLOUD_STEPS, main


def test_a_deployment_that_works_passes_and_keeps_nothing_of_the_test(
    stack: RunningStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CATALOG_API", stack.settings["api"])
    monkeypatch.setenv("CATALOG_TOKEN", stack.settings["token"])
    monkeypatch.setenv("CATALOG_JWT_SECRET", stack.settings["jwtSecret"])
    monkeypatch.setenv("NATS_URL", stack.settings["nats"])
    for name in ("NATS_CREDENTIALS", "CATALOG_READER_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    code = main(["--json", "--strict", "--supply-chain-control", stack.settings["supplyChain"]])
    told = json.loads(capsys.readouterr().out)
    missed = {step["step"]: step["said"] for step in told["steps"] if step["result"] != "ok"}
    assert missed == dict.fromkeys(CLOUD_STEPS, "needs --aws, and credentials")
    assert code == 3, "which --strict minds"
    (made,) = (it["said"].split()[0] for it in told["steps"] if it["step"] == "write")
    assert made not in stack.supply_chain.products()
    assert stack.supply_chain.settings()["rejectIds"] == []
