"""What consumers generate from the OpenAPI document works against the running API.

Every test runs with the clients of two generators. The code is generated anew in each run, from the
document that the app serves.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
import requests
import simplejson

from tests.clients.generated import CLIENTS, GeneratedClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clients.conftest import Served
    from tests.clients.generated import Answer
    from tests.support import Json

LAMP = {"name": "Desk lamp", "price": 19.9, "quantity": 3}
UNKNOWN = "0123456789abcdef01234567"


@pytest.fixture(scope="module", params=CLIENTS, ids=lambda kind: kind.__name__)
def client(
    request: pytest.FixtureRequest, served: Served, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GeneratedClient]:
    """A client that has just been generated."""
    kind: type[GeneratedClient] = request.param
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp(kind.__name__)
        patch.syspath_prepend(kind.generate(served.document, folder))
        yield kind(served)


def create(client: GeneratedClient, **changes: object) -> Answer:
    """Create a product; the answer may be a refusal."""
    fields = client.model("ProductFields", {**LAMP, **changes})
    return client.call("products", "create_product", fields)


def created(client: GeneratedClient, **changes: str) -> str:
    """Create a product and give its id."""
    answer = create(client, **changes)
    assert answer.status == 201, answer
    return str(answer.value.id)


def read(client: GeneratedClient, product_id: str) -> Answer:
    return client.call("products", "get_product", product_id=product_id)


def content(answer: Answer) -> Json:
    """The bytes of an answer, with exact numbers."""
    parsed: Json = simplejson.loads(answer.content, use_decimal=True)
    return parsed


# ---- what is generated ----


@pytest.mark.parametrize(
    ("tag", "names"),
    [
        ("products", "create_product create_products list_products get_product replace_product"),
        ("products", "patch_product delete_product"),
        ("sync", "get_product_sync get_product_timeline replay_product"),
        ("sync", "get_sync redrive_products control_sync"),
        ("sync", "start_audit get_audit stop_audit start_restore get_restore"),
        ("sync", "start_republish get_republish stop_republish list_poison discard_poison"),
        ("service", "get_health get_readiness get_open_api get_docs get_console"),
    ],
)
def test_the_methods_have_the_names_of_the_operations(
    client: GeneratedClient, tag: str, names: str
) -> None:
    assert set(names.split()) <= client.operations(tag)


# ---- products ----


def test_a_product_is_created_and_read(client: GeneratedClient) -> None:
    made = create(client, attributes={"colour": "red", "watts": 5, "dimmable": True})
    assert made.status == 201
    assert made.headers["Location"] == f"/api/products/{made.value.id}"
    found = read(client, made.value.id)
    assert found.value == made.value
    assert (found.value.name, found.value.price, found.value.quantity) == ("Desk lamp", 19.9, 3)
    assert found.value.sync_status == "pending"
    assert found.value.sync_completed_at is None


def test_a_name_may_begin_with_a_blank(client: GeneratedClient) -> None:
    assert create(client, name=" Desk\nlamp ").value.name == " Desk\nlamp "


def test_times_are_times(client: GeneratedClient) -> None:
    product = create(client).value
    assert isinstance(product.created_at, dt.datetime)
    assert product.created_at.utcoffset() == dt.timedelta(0)


def test_attributes_come_back_with_their_types(client: GeneratedClient) -> None:
    attributes = {"colour": "red", "watts": 5, "dimmable": True}
    product = create(client, attributes=attributes).value
    assert product.to_dict()["attributes"] == attributes


def test_the_same_key_gives_the_same_product(client: GeneratedClient) -> None:
    fields, key = client.model("ProductFields", LAMP), f"{type(client).__name__}-1"
    first, again = (
        client.call("products", "create_product", fields, idempotency_key=key) for _ in range(2)
    )
    assert (again.status, again.value.id) == (201, first.value.id)


def test_a_product_is_replaced_at_the_version_of_its_entity_tag(client: GeneratedClient) -> None:
    made = create(client, description="old")
    fields = client.model("ProductFields", {**LAMP, "name": "Floor lamp"})
    answer = client.call(
        "products",
        "replace_product",
        fields,
        product_id=made.value.id,
        if_match=made.headers["ETag"],
    )
    assert (answer.status, answer.value.name, answer.value.version) == (200, "Floor lamp", 1)
    assert "description" not in content(answer)
    assert answer.headers["ETag"] == '"1"'


def test_a_patch_changes_what_it_names_and_removes_what_is_null(client: GeneratedClient) -> None:
    made = create(client, description="old", sku=f"{type(client).__name__}-patched")
    # By its constructor: from_dict of openapi-generator sets what it is not given to null.
    fields = client.made("ProductPatch", quantity=4, description=None)
    answer = client.call("products", "patch_product", fields, product_id=made.value.id)
    expected = {**content(made), "quantity": 4, "version": 1}
    del expected["description"]
    assert content(answer) == expected


def test_the_list_is_read_page_by_page(client: GeneratedClient) -> None:
    ids = [created(client, name=f"Lamp {number}") for number in range(3)]
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.call("products", "list_products", limit=2, **cursor).value
        assert len(page.items) <= 2
        found += [product.id for product in page.items]
        if page.next_cursor is None:
            break
        cursor = {"cursor": page.next_cursor}
    assert len(found) > 2
    assert found[-3:] == ids


def test_a_deleted_product_is_gone(client: GeneratedClient) -> None:
    product_id = created(client)
    answer = client.call("products", "delete_product", product_id=product_id)
    assert (answer.status, answer.value, answer.content) == (204, None, b"")
    assert read(client, product_id).status == 404


def test_a_batch_answers_for_each_product(client: GeneratedClient) -> None:
    batch = client.model("BatchRequest", {"items": [LAMP, {**LAMP, "quantity": 4}]})
    answer = client.call("products", "create_products", batch)
    assert [item.product.quantity for item in answer.value.items] == [3, 4]


# ---- refusals ----


def test_a_refusal_is_a_problem_that_names_the_fields(client: GeneratedClient) -> None:
    answer = client.call("products", "list_products", cursor="bm9uZQ")
    assert answer.status == 422
    assert [error.to_dict()["field"] for error in answer.value.errors] == ["cursor"]


def test_a_taken_sku_is_a_typed_conflict(client: GeneratedClient) -> None:
    sku = f"{type(client).__name__}-taken"
    created(client, sku=sku)
    answer = create(client, sku=sku)
    assert (answer.status, answer.value.status, answer.value.title) == (
        409,
        409,
        "The sku is taken",
    )


def test_another_version_is_a_typed_problem(client: GeneratedClient) -> None:
    product_id = created(client)
    answer = client.call("products", "delete_product", product_id=product_id, if_match='"7"')
    assert (answer.status, answer.value.title) == (412, "The version is another")
    assert read(client, product_id).status == 200


def test_an_unknown_product_is_a_typed_problem(client: GeneratedClient) -> None:
    answer = read(client, UNKNOWN)
    assert (answer.status, answer.value.title) == (404, "No such product")


# ---- exact prices ----


@pytest.mark.parametrize("price", [0.1, 19.99, 1234567890.1235, 99999999999.9999, 0.0001])
def test_a_price_of_up_to_fifteen_digits_is_exact_as_a_float(
    client: GeneratedClient, price: float
) -> None:
    product = create(client, price=price)
    assert product.value.price == price
    assert content(product)["price"] == Decimal(str(price))


def test_the_bytes_of_an_answer_have_more_digits_than_a_float(
    client: GeneratedClient, served: Served
) -> None:
    price = Decimal("1234567890123456789012345678.9012")
    answer = read(client, written_exactly(served, price))
    assert Decimal(answer.value.price) != price
    assert content(answer)["price"] == price


def written_exactly(served: Served, price: Decimal) -> str:
    """Create a product without a generated client, whose floats have too few digits."""
    answer = requests.post(
        f"{served.url}/products",
        data=simplejson.dumps({**LAMP, "price": price}, use_decimal=True),
        headers={"Authorization": f"Bearer {served.token}"},
        timeout=20,
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])
