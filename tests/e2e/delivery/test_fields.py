"""Each field of the model arrives unchanged, whatever way it takes: one that is added later too."""

from __future__ import annotations

import asyncio
import csv
from pathlib import Path
from typing import TYPE_CHECKING

import nats
import simplejson
from nats.js.api import DeliverPolicy

from catalogctl.importing import import_file
from chalicelib.domain.events import StreamNames
from chalicelib.domain.product import FIELD_TYPES
from tests.e2e.delivery.steps import wait_until_held
from tests.fakes import every_field
from tests.support import Json, RunningStack

if TYPE_CHECKING:
    from collections.abc import Callable

    Way = Callable[[RunningStack, Json, Path], str]


def create(stack: RunningStack, body: Json, _: Path) -> str:
    return str(stack.api.post("/products", body).json()["id"])


def replace(stack: RunningStack, body: Json, _: Path) -> str:
    product_id = stack.create()["id"]
    assert stack.api.put(f"/products/{product_id}", body).status_code == 200
    return str(product_id)


def merge(stack: RunningStack, body: Json, _: Path) -> str:
    product_id = stack.create()["id"]
    assert stack.api.patch(f"/products/{product_id}", body).status_code == 200
    return str(product_id)


def batch(stack: RunningStack, body: Json, _: Path) -> str:
    (item,) = stack.api.post("/products/batch", {"items": [body]}).json()["items"]
    return str(item["product"]["id"])


def import_ndjson(stack: RunningStack, body: Json, folder: Path) -> str:
    return imported(stack, body, folder / "products.ndjson", simplejson.dumps(body) + "\n")


def import_csv(stack: RunningStack, body: Json, folder: Path) -> str:
    path = folder / "products.csv"
    cells = {
        f"{name}.{key}" if key else name: value
        for name, given in body.items()
        for key, value in (given.items() if isinstance(given, dict) else [("", given)])
    }
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([cells.keys(), cells.values()])
    return imported(stack, body, path, path.read_text())


def imported(stack: RunningStack, body: Json, path: Path, text: str) -> str:
    path.write_text(text)
    assert import_file(path, stack.settings["api"], stack.settings["token"]).loaded == 1
    return str(stack.get(f"/products?sku={body['sku']}")["items"][0]["id"])


WAYS: dict[str, Way] = {
    "create": create,
    "replace": replace,
    "merge": merge,
    "batch": batch,
    "import-ndjson": import_ndjson,
    "import-csv": import_csv,
}


def test_every_field_arrives_unchanged_whatever_way_it_takes(
    stack: RunningStack, tmp_path: Path
) -> None:
    bodies = {way: {**every_field(), "sku": way} for way in WAYS}
    # The cells of a map are text.
    for name in (name for name, kind in FIELD_TYPES.items() if kind is dict):
        texts = {key: str(value) for key, value in bodies["import-csv"][name].items()}
        bodies["import-csv"][name] = texts

    ids = {way: take(stack, bodies[way], tmp_path) for way, take in WAYS.items()}

    products = {way: stack.get(f"/products/{product_id}") for way, product_id in ids.items()}
    wait_until_held(stack, list(products.values()))
    held, told = stack.supply_chain.products(), asyncio.run(newest_events(stack.settings["nats"]))
    for place in (products, by_way(ids, held), by_way(ids, told)):
        assert {way: fields_of(product) for way, product in place.items()} == bodies


def by_way(ids: dict[str, str], products: dict[str, Json]) -> dict[str, Json]:
    return {way: products[product_id] for way, product_id in ids.items()}


def fields_of(product: Json) -> Json:
    return {name: value for name, value in product.items() if name in FIELD_TYPES}


async def newest_events(url: str) -> dict[str, Json]:
    """The data of the newest event of each product, as a listener of its own hears them."""
    newest: dict[str, Json] = {}
    stream = StreamNames().stream
    async with await nats.connect(url) as connection:
        subscription = await connection.jetstream().subscribe(
            "product.*",
            stream=stream,
            ordered_consumer=True,
            deliver_policy=DeliverPolicy.ALL,
        )
        last = (await connection.jetstream().stream_info(stream)).state.last_seq
        message = await subscription.next_msg(timeout=10)
        while True:
            if b'"specversion"' in message.data:
                event = simplejson.loads(message.data, use_decimal=True)
                newest[event["subject"]] = event["data"]
            if message.metadata.sequence.stream >= last:
                return newest
            message = await subscription.next_msg(timeout=10)
