"""The indexes are made by an apply, before any function that needs them is used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient

from chalicelib.adapters.mongo.acts import ACT_INDEXES
from chalicelib.adapters.mongo.indexes import INDEXES
from embedded.services import StackError
from tests.aws.test_infrastructure import overridden

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.aws.conftest import DeployedStack
    from tests.support import Json

TWINS = [{"_id": name, "sku": "twin"} for name in ("one", "two")]


@pytest.fixture
def mongodb(aws: DeployedStack) -> Iterator[MongoClient[Json]]:
    with MongoClient[dict[str, Any]](aws.info["mongodb"]) as client:
        yield client


def versions(aws: DeployedStack) -> dict[str, str]:
    """The version that each function's alias points to, without the migration's."""
    client = aws.client("lambda")
    return {
        name: client.get_alias(FunctionName=it["name"], Name="live")["FunctionVersion"]
        for name, it in aws.info["functions"].items()
        if name != "migrate"
    }


def test_the_first_apply_has_made_the_indexes(
    aws: DeployedStack, mongodb: MongoClient[Json]
) -> None:
    names = {index.document["name"] for index in INDEXES}
    of_acts = {index.document["name"] for index in ACT_INDEXES}
    assert set(mongodb["catalog"]["products"].index_information()) >= names
    assert set(mongodb["catalog"]["acts"].index_information()) >= of_acts
    logged = [line for line in aws.logged("migrate") if "made the index" in line]
    assert len(logged) == len(names | of_acts)
    assert [line for line in aws.logged("migrate") if "made the stream PRODUCTS" in line]


def test_aliases_stay_until_the_store_could_be_migrated(
    aws: DeployedStack, mongodb: MongoClient[Json]
) -> None:
    products, before = mongodb["catalog"]["products"], versions(aws)
    products.drop_index("sku_sparse")
    products.insert_many(TWINS)
    # A new version of every function.
    newer = overridden(aws, log_level="DEBUG").terraform()

    with pytest.raises(StackError, match="twin"):
        newer.apply()

    assert versions(aws) == before

    products.delete_many({"_id": {"$in": [it["_id"] for it in TWINS]}})
    newer.apply()

    assert all(int(version) > int(before[name]) for name, version in versions(aws).items())
    assert "sku_sparse" in products.index_information()


def test_the_function_can_be_invoked_by_hand(aws: DeployedStack) -> None:
    name = aws.info["functions"]["migrate"]["name"]
    answer = aws.client("lambda").invoke(FunctionName=name, Qualifier="live")
    assert json.loads(answer["Payload"].read()) == {"changes": []}
