"""The procedures of docs/disaster.md, on the functions that Terraform has deployed.

What they measure, and what else may happen on such a day, is tested on the embedded stack:
tests/e2e/test_restore.py, tests/e2e/delivery/test_disasters.py.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import requests

from tests.aws.test_delivery import PATIENCE, wait_for
from tests.disasters import (
    Ctl,
    all_products,
    ctl_of,
    dump,
    events_of,
    heard,
    listener_in,
    put_back,
    quarantined,
    write_listener,
)
from tests.support import PRODUCT, Json, eventually, exact_json
from tools.deployment import RELEASED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

    from tests.aws.conftest import DeployedStack


@pytest.fixture
def ctl(aws: DeployedStack, monkeypatch: pytest.MonkeyPatch) -> Ctl:
    return ctl_of(aws, monkeypatch)


def holds(aws: DeployedStack, product: Json) -> bool:
    held = aws.supply_chain.products().get(product["id"], {})
    return bool(held.get("version") == product["version"])


# ---- a flood of poison ----


def flood(aws: DeployedStack) -> int:
    """What is no event for the stream, and what is about no product for each queue; how many.

    In batches: an emulator would start a process of sync for each message that comes alone.
    """
    names = [f"flood {number}" for number in range(10)]
    for name in names:
        aws.publish("product.created", name.encode())
    urls = (aws.info["queueUrl"], aws.info["bulkQueueUrl"], aws.info["dlqUrl"])
    for url in urls:
        entries: list[SendMessageBatchRequestEntryTypeDef] = [
            {"Id": str(number), "MessageBody": json.dumps({"productId": name})}
            for number, name in enumerate(names)
        ]
        assert not aws.sqs.send_message_batch(QueueUrl=url, Entries=entries).get("Failed")
    return len(names) * (1 + len(urls))


def test_a_flood_of_poison_stops_no_delivery_and_is_discarded_when_a_file_has_it(
    aws: DeployedStack, ctl: Ctl, tmp_path: Path
) -> None:
    sent = flood(aws)
    wait_for(aws, aws.create(name="meanwhile")["id"], "delivered")

    def is_quarantined() -> bool:
        aws.run("reconcile")
        return quarantined(aws) >= sent

    eventually(is_quarantined, PATIENCE, "all are in the quarantine")
    export = tmp_path / "poison.ndjson"
    done = ctl("discard", "--poison", "--yes", "--export", str(export), "--why", "a test")

    assert done["count"] == len(export.read_text().splitlines()) >= sent
    assert quarantined(aws) == 0


# ---- the stream is lost, or somebody new listens ----


def test_a_republish_brings_every_product_to_a_listener(
    aws: DeployedStack, ctl: Ctl, tmp_path: Path
) -> None:
    aws.create(name="to be heard")
    ctl("republish", "--start")
    aws.run("reconcile")
    done = ctl("republish", "--wait")
    catalog = {key: item["version"] for key, item in all_products(aws).items()}
    assert (done["state"], done["published"]) == ("done", len(catalog))

    def republished() -> bool:
        return all("product:republished" in it for it in (events_of(tmp_path, i) for i in catalog))

    write_listener(tmp_path)
    with listener_in(tmp_path, aws.info["nats"]):
        eventually(republished, PATIENCE, "the listener has all")
    assert catalog.items() <= heard(tmp_path).items()


# ---- MongoDB is restored ----


@contextmanager
def restore_mode(aws: DeployedStack) -> Iterator[None]:
    """CATALOG_MODE=restore for all functions.

    Not by `terraform apply -var mode=restore`, which would take minutes here, twice: by what that
    does, a new version of each function. The plan of it is tested in terraform/modules/catalog.
    """
    # It deletes a version when its processes have ended.
    client = aws.client("lambda", read_timeout=60)
    names = [aws.info["functions"][role]["name"] for role in RELEASED]
    before = {name: client.get_function_configuration(FunctionName=name) for name in names}
    live = {name: client.get_alias(FunctionName=name, Name="live") for name in names}
    read_only = {}
    try:
        for name in names:
            variables = {**before[name]["Environment"]["Variables"], "CATALOG_MODE": "restore"}
            environment = {"Variables": variables}
            read_only[name] = aws.publish_version(name, Environment=environment)
        yield
    finally:
        for name in names:
            normal = live[name]["FunctionVersion"]
            client.update_alias(FunctionName=name, Name="live", FunctionVersion=normal)
            environment = {"Variables": before[name]["Environment"]["Variables"]}
            client.update_function_configuration(FunctionName=name, Environment=environment)
        for name, version in read_only.items():
            client.delete_function(FunctionName=name, Qualifier=version)


def nothing_waits(aws: DeployedStack) -> bool:
    counts = aws.get("/sync")["products"]
    return not (counts["pending"] or counts["retrying"])


def is_read_only(aws: DeployedStack) -> bool:
    """Whether a write is refused. The first one has to wait for a new process of the API."""
    try:
        answer = aws.api.post("/products", PRODUCT)
    except requests.Timeout:
        return False
    # It is never accepted: the alias has moved.
    assert answer.status_code in {429, 503, 504}, answer.text
    found = (answer.json()["type"], answer.headers.get("Retry-After"))
    return found == ("urn:product-catalog:problem:read-only", "60")


def patched(aws: DeployedStack, product: Json, **fields: object) -> Json:
    answer = aws.api.patch(f"/products/{product['id']}", fields)
    assert answer.status_code == 200, answer.text
    changed: Json = exact_json(answer)
    return changed


def test_a_restored_store_is_made_whole_and_all_is_delivered_and_proved(
    aws: DeployedStack, ctl: Ctl
) -> None:
    # Whatever tests before this one have left: all that waits can be delivered.
    aws.supply_chain.set(failIds=[])
    old = aws.create(name="old")
    eventually(lambda: holds(aws, old) and nothing_waits(aws), PATIENCE, "nothing waits")
    yesterday = dump(aws)
    newer, new = patched(aws, old, name="newer"), aws.create(name="new")
    eventually(lambda: holds(aws, newer) and holds(aws, new), PATIENCE, "both are delivered")

    with restore_mode(aws):
        put_back(aws, yesterday)
        eventually(lambda: is_read_only(aws), PATIENCE, "a write is refused")
        ctl("restore", "--start", "--reason", "a test")
        aws.run("reconcile")
        found = ctl("restore", "--wait")
        assert (found["state"], found["losses"]) == ("lifted", [])
        assert found["replayed"] >= len([newer, new])

    def is_proved() -> bool:
        aws.run("reconcile")
        return bool(ctl("restore")["proved"])

    eventually(is_proved, PATIENCE, "the supply chain holds all")
    assert ctl("restore", "--wait")["state"] == "done"
    catalog, held = all_products(aws), aws.supply_chain.products()
    assert {catalog[it["id"]]["name"] for it in (newer, new)} == {"newer", "new"}
    assert {key: held[key]["version"] for key in catalog} == {
        key: item["version"] for key, item in catalog.items()
    }
    assert catalog[old["id"]]["version"] > 1_000_000
