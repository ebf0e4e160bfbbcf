"""Each step over HTTP says what it found; and in a clear sentence what is broken."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from catalogctl.errors import UnavailableError
from catalogctl.events import Wanted
from chalicelib.domain import exact_json
from chalicelib.http import openapi
from tests.unit.deployment.told import ID, Told, answer, patience, problem
from tools.verify_deployment.product import PRICE, Given, Product
from tools.verify_deployment.steps import FailedError, Json, NotCheckedError
from tools.verify_deployment.web import Answer

SYNC = f"GET /products/{ID}/sync"


@pytest.fixture
def api() -> Told:
    """A deployment with which all is well."""
    told = Told()
    told.tell("GET /health", answer(200, {"status": "ok"}))
    told.tell("GET /ready", answer(200, {"dependencies": {"mongodb": "ok", "nats": "ok"}}))
    told.tell("GET /openapi.json", answer(200, exact_json.loads(openapi.document())))
    told.tell("POST /products", answer(201, {"id": ID}))
    told.tell(f"GET /products/{ID}", answer(200, read(), ETag='"0"'))
    told.tell(SYNC, answer(200, sync("pending")), answer(200, sync("delivered")))
    told.tell(f"POST /products/{ID}/sync", answer(202, {}))
    told.tell(f"PATCH /products/{ID}", answer(200, {}))
    told.tell(f"DELETE /products/{ID}", answer(204))
    return told


@pytest.fixture
def product(api: Told) -> Product:
    """Its product, which has been written."""
    made = Product(Given(api, patience(), mark="it"))
    made.write()
    return made


def read(**fields: object) -> Json:
    return {"name": "it", "price": PRICE, "quantity": 1, "version": 0, **fields}


def sync(status: str, **fields: object) -> Json:
    """The state of a delivery."""
    known = {"version": 0, "budget": 0, "attempts": 1, "deleted": False, "syncCompletedAt": "noon"}
    return {**known, "status": status, **fields}


def failure(step: Callable[[], str]) -> str:
    with pytest.raises(FailedError) as failed:
        step()
    return str(failed.value)


def need(step: Callable[[], str]) -> str:
    with pytest.raises(NotCheckedError) as failed:
        step()
    return str(failed.value)


# ---- the service ----


def test_the_service_is_well(product: Product) -> None:
    assert product.health() == "the API at https://it/api answers"
    assert product.ready() == "mongodb, nats can be reached"
    assert "those of this checkout" in product.openapi()


def test_an_api_that_answers_something_else_is_not_well(api: Told, product: Product) -> None:
    api.tell("GET /health", answer(200, {"hello": "world"}))
    assert failure(product.health) == "GET /health says {'hello': 'world'}"


def test_a_dependency_that_is_away_is_named(api: Told, product: Product) -> None:
    states = {"mongodb": "ok", "nats": "no answer within 2 s"}
    api.tell("GET /ready", answer(200, {"dependencies": states}))
    assert failure(product.ready) == "nats: no answer within 2 s"


@pytest.mark.parametrize(("status", "states"), [(503, {"mongodb": "ok"}), (200, {})])
def test_ready_without_a_reason_is_not_believed(
    api: Told, product: Product, status: int, states: Json
) -> None:
    api.tell("GET /ready", answer(status, {"dependencies": states}))
    assert "expected 200, and the state of each dependency" in failure(product.ready)


def test_an_api_of_another_release_is_told_with_what_differs(api: Told, product: Product) -> None:
    document = exact_json.loads(openapi.document())
    del document["paths"]["/sync/audit"]
    api.tell("GET /openapi.json", answer(200, document))
    expected = "version 1.0.0, but not of this checkout: DELETE /sync/audit, GET /sync/audit, "
    assert need(product.openapi).startswith(expected)


def test_a_document_without_a_version_is_none(api: Told, product: Product) -> None:
    api.tell("GET /openapi.json", answer(200, {"paths": {}}))
    assert "no OpenAPI document" in failure(product.openapi)


# ---- access ----


def test_who_may_not_is_refused(api: Told, product: Product) -> None:
    api.tell("GET /products", problem(401, "unauthorized"))
    assert product.no_token() == "GET /products without a token: 401, unauthorized"
    product.given.reader = "reads"
    api.tell("POST /products", problem(403, "forbidden"))
    assert "403, forbidden" in product.no_scope()
    assert product.unknown_route() == "an unknown route: 404, no-such-route"


def test_an_open_door_is_a_failure(api: Told, product: Product) -> None:
    api.tell("GET /products", answer(200, {"items": []}))
    assert failure(product.no_token) == "it answered 200 (expected 401)"
    product.given.reader = "reads"
    api.tell("POST /products", answer(422, {}))
    assert failure(product.no_scope) == "it answered 422 (expected 403)"


def test_an_answer_of_the_gateways_own_is_a_failure(api: Told, product: Product) -> None:
    api.tell("GET /no-such-route-it", answer(404, {"message": "Not Found"}))
    assert "no problem details" in failure(product.unknown_route)


def test_without_a_second_token_scopes_are_not_checked(product: Product) -> None:
    assert "CATALOG_READER_TOKEN" in need(product.no_scope)


# ---- one product ----


def test_a_product_is_written_read_and_delivered(api: Told, product: Product) -> None:
    body = {"name": "it", "price": PRICE, "quantity": 1, "sku": "it"}
    assert api.asked == [("POST /products", body)]
    assert product.read() == "version 0, price 19.9001"
    assert product.delivery() == "delivered at noon, 1 call"


def test_without_the_product_its_steps_say_that_they_need_it(api: Told) -> None:
    api.tell("POST /products", problem(503, "unavailable"))
    product = Product(Given(api, patience(), listen=lambda *_: None, fake=Told()))
    assert failure(product.write) == "it answered 503 (expected 201)"
    for step in (product.read, product.delivery, product.events, product.replay):
        assert need(step) == "needs the product, which could not be written"


def test_a_price_that_lost_a_digit_is_found(api: Told, product: Product) -> None:
    api.tell(f"GET /products/{ID}", answer(200, read(price=19.9), ETag='"0"'))
    assert failure(product.read) == "what was read is not what was written: price 19.9"


def test_a_read_without_its_version_is_found(api: Told, product: Product) -> None:
    api.tell(f"GET /products/{ID}", answer(200, read()))
    assert failure(product.read) == 'ETag is None, not "0", its version'


def test_a_product_that_is_not_delivered_in_time_says_why(api: Told, product: Product) -> None:
    waits = sync("retrying", held="the breaker is open", lastError="HTTP 503", attempts=2)
    api.tell(SYNC, answer(200, waits))
    reason = "retrying, 2 calls, the breaker is open, HTTP 503 (waited 3 s)"
    assert failure(product.delivery) == f"{ID} is not delivered: {reason}"


def test_a_product_that_has_failed_for_good_is_not_waited_for(api: Told, product: Product) -> None:
    api.tell(SYNC, answer(200, sync("rejected", lastError="HTTP 422")))
    assert failure(product.delivery) == f"{ID} is rejected, 1 call, HTTP 422"


# ---- listeners ----


def hear(product: Product, *types: str) -> list[Wanted]:
    """Let the stream have these of its events; what was listened for."""
    wanted: list[Wanted] = []

    def listen(what: Wanted, emit: Callable[[Json], None]) -> None:
        wanted.append(what)
        for kind in types:
            emit({"type": kind})

    product.given.listen = listen
    return wanted


def test_the_stream_has_both_events(product: Product) -> None:
    wanted = hear(product, "product:created", "product:sync-complete")
    assert "product:created, product:sync-complete" in product.events()
    assert (wanted[0].product_id, wanted[0].follow) == (ID, False)


def test_an_event_that_does_not_come_is_named(product: Product) -> None:
    hear(product, "product:created")
    assert failure(product.events) == "not on the stream: product:sync-complete (waited 3 s)"


def test_a_stream_that_cannot_be_heard_says_why(product: Product) -> None:
    def listen(_: Wanted, __: Callable[[Json], None]) -> None:
        raise UnavailableError("NATS does not answer")

    product.given.listen = listen
    assert failure(product.events) == "NATS does not answer"


def test_without_an_address_of_nats_events_are_not_checked(product: Product) -> None:
    assert "needs NATS_URL" in need(product.events)


# ---- operators ----


def test_a_replay_waits_for_the_next_budget(api: Told, product: Product) -> None:
    again = sync("delivered", budget=1, syncCompletedAt="later", attempts=2)
    api.tell(SYNC, answer(200, sync("delivered")), answer(200, again))
    assert product.replay() == "delivered again at later, 2 calls"


def test_a_token_without_the_scope_cannot_replay(api: Told, product: Product) -> None:
    api.tell(f"POST /products/{ID}/sync", problem(403, "forbidden"))
    assert need(product.replay) == "needs a token with sync:admin"
    api.tell(f"POST /products/{ID}/sync", problem(503, "unavailable"))
    assert failure(product.replay) == "it answered 503 (expected 202)"


@pytest.fixture
def fake(product: Product) -> Told:
    """A fake supply chain that rejects another product already."""
    told = Told()
    told.tell("GET /_control", answer(200, {"rejectIds": ["another"]}))
    told.tell("PUT /_control", answer(200, {}))
    product.given.fake = told
    return told


def letters(**sent: bool) -> Answer:
    items = [{"productId": ID, "letterSent": it} for it in sent.values()]
    return answer(200, {"items": items, "poison": []})


def test_a_rejected_product_has_its_letter_and_is_delivered_after_all(
    api: Told, product: Product, fake: Told
) -> None:
    api.tell(SYNC, *(answer(200, sync(it, version=1)) for it in ("rejected", "delivered")))
    api.tell("GET /sync/dead-letters?limit=100", letters(sent=False), letters(sent=True))
    assert "a replay delivers it" in product.dead_letter()
    looks = [request for request, _ in api.asked if "dead-letters" in request]
    assert len(looks) == 2, "the first letter was only owed"
    told = [body for request, body in fake.asked if request.startswith("PUT")]
    assert told == [{"rejectIds": ["another", ID]}, {"rejectIds": ["another"]}]


def test_a_letter_that_does_not_come_is_a_failure_and_the_fake_is_as_before(
    api: Told, product: Product, fake: Told
) -> None:
    api.tell(SYNC, answer(200, sync("rejected", version=1)))
    api.tell("GET /sync/dead-letters?limit=100", letters())
    assert "it was rejected, but has no dead letter" in failure(product.dead_letter)
    assert fake.asked[-1] == ("PUT /_control", {"rejectIds": ["another"]})


def test_poison_is_sent_where_that_is_allowed(product: Product) -> None:
    assert "needs --poison" in need(product.dead_letter)
    product.given.poison = lambda: "a letter"
    assert product.dead_letter() == "a letter"


# ---- and back to nothing ----


@pytest.mark.parametrize("end", [answer(404), answer(200, sync("delivered", deleted=True))])
def test_the_deletion_is_confirmed_by_the_supply_chain(
    api: Told,
    product: Product,
    end: Answer,
) -> None:
    api.tell(SYNC, answer(200, sync("pending", deleted=True)), end)
    assert product.deletion() == f"{ID} is deleted, which the supply chain has confirmed"


def test_a_deletion_that_is_not_confirmed_is_a_failure(api: Told, product: Product) -> None:
    api.tell(SYNC, answer(200, sync("retrying", deleted=True, lastError="HTTP 500")))
    assert "is not confirmed: retrying, 1 call, HTTP 500" in failure(product.deletion)


def test_a_product_that_cannot_be_deleted_is_left_to_a_person(api: Told, product: Product) -> None:
    api.tell(f"DELETE /products/{ID}", problem(503, "unavailable"))
    assert failure(product.deletion) == f"it answered 503: delete {ID} yourself"


def test_a_product_whose_answer_was_lost_is_found_by_its_sku(api: Told) -> None:
    product = Product(Given(api, patience(), mark="lost"))
    api.tell("GET /products?sku=lost", answer(200, {"items": [{"id": ID}]}))
    api.tell(SYNC, answer(404))
    assert ID in product.deletion()


def test_without_a_product_there_is_nothing_to_delete(api: Told) -> None:
    product = Product(Given(api, patience()))
    assert need(product.deletion) == "there is no product to delete"
