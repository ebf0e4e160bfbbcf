"""The HTTP contract: reading products, one by one and in pages."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from chalicelib.domain.sync_state import SyncStatus
from tests.unit.api_support import (
    ANVIL,
    create,
    failed_product,
    stored,
)
from tests.unit.conftest import World

# ---- read ----


def test_a_product_is_answered_with_its_entity_tag(world: World) -> None:
    product = create(world)
    answer = world.client.get(f"/products/{product['id']}")
    assert (answer.status, answer.headers["ETag"]) == (200, '"0"')


@pytest.mark.parametrize("tag", ['"0"', 'W/"0"', '"5", "0"', '"5",W/"0" , "7"', "*", " * "])
def test_a_known_version_is_not_sent_again(world: World, tag: str) -> None:
    answer = world.client.get(f"/products/{create(world)['id']}", If_None_Match=tag)
    assert (answer.status, answer.text, answer.headers["ETag"]) == (304, "", '"0"')


@pytest.mark.parametrize("tag", ['"1"', 'W/"1"', '"00"', '"0 "', '""', '"x"', '"*"', ""])
def test_another_version_is_sent(world: World, tag: str) -> None:
    answer = world.client.get(f"/products/{create(world)['id']}", If_None_Match=tag)
    assert answer.status == 200


@pytest.mark.parametrize("name", ["If-None-Match", "If-Match"])
@pytest.mark.parametrize("tag", ["0", '"0', "0,1", '"0" "1"', 'w/"0"', "W/0", "* , *", "\xff"])
def test_a_malformed_entity_tag_is_named(world: World, name: str, tag: str) -> None:
    path = f"/products/{create(world)['id']}"
    method, body = ("GET", None) if name == "If-None-Match" else ("PUT", ANVIL)
    answer = world.client.request(method, path, body, {name: tag})
    assert (answer.status, [field.lower() for field in answer.fields]) == (422, [name.lower()])


# ---- list ----


def test_an_empty_catalog_is_an_empty_page(world: World) -> None:
    answer = world.client.get("/products")
    assert (answer.status, answer.json()) == (200, {"items": [], "nextCursor": None})


def test_a_list_gives_products_as_they_are_answered_one_by_one(world: World) -> None:
    product = create(world, sku="S", attributes={"a": 1})
    assert world.client.get("/products").json()["items"] == [product]


def test_pages_follow_each_other_until_the_last(world: World) -> None:
    made = sorted(create(world)["id"] for _ in range(7))
    assert pages(world, limit=3) == [made[:3], made[3:6], made[6:]]


def test_a_full_last_page_is_the_last(world: World) -> None:
    made = sorted(create(world)["id"] for _ in range(4))
    assert pages(world, limit=2) == [made[:2], made[2:]]


def pages(world: World, limit: int) -> list[list[str]]:
    """The ids of all pages."""
    found, cursor = [], ""
    while True:
        page = world.client.get(f"/products?limit={limit}{cursor}").json()
        found.append([item["id"] for item in page["items"]])
        if page["nextCursor"] is None:
            return found
        cursor = f"&cursor={page['nextCursor']}"


def test_an_insert_between_two_pages_neither_repeats_nor_drops_a_product(world: World) -> None:
    made = [create(world)["id"] for _ in range(6)]
    first = world.client.get("/products?limit=3").json()
    for product_id in ("0" * 24, "f" * 24):
        stored(world, id=product_id)
    rest = world.client.get(f"/products?limit=100&cursor={first['nextCursor']}").json()
    ids = [item["id"] for item in [*first["items"], *rest["items"]]]
    assert ids == [*sorted(made), "f" * 24]


def test_a_page_has_20_products_unless_asked_otherwise(world: World) -> None:
    for _ in range(21):
        create(world)
    assert len(world.client.get("/products").json()["items"]) == 20


def test_a_list_by_sku_finds_the_one(world: World) -> None:
    create(world)
    product = create(world, sku="Ä & Ö")
    found = world.client.get(f"/products?sku={quote('Ä & Ö')}").json()
    assert [item["id"] for item in found["items"]] == [product["id"]]


def test_a_list_by_status_finds_only_those(world: World) -> None:
    create(world)
    product = failed_product(world, SyncStatus.EXHAUSTED)
    found = world.client.get("/products?syncStatus=exhausted").json()
    assert [item["id"] for item in found["items"]] == [product.id]


def test_deleted_products_are_not_listed(world: World) -> None:
    world.client.delete(f"/products/{create(world)['id']}")
    assert world.client.get("/products").json()["items"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=1.5", "limit"),
        (f"limit={'9' * 5000}", "limit"),
        ("cursor=", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=abc", "cursor"),
        ("cursor=%C3%A9", "cursor"),
        ("cursor=JHttb25nb30", "cursor"),
        ("syncStatus=", "syncStatus"),
        ("syncStatus=Pending", "syncStatus"),
        ("page=2", "page"),
        ("sync_status=pending", "sync_status"),
    ],
)
def test_a_wrong_query_parameter_is_named(world: World, query: str, field: str) -> None:
    answer = world.client.get(f"/products?{query}")
    assert (answer.status, answer.fields) == (422, [field])
