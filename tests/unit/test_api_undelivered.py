"""The HTTP contract: what is not delivered and why, and the dead letters."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.messages import DeadLetter
from chalicelib.domain.sync_state import Attempt, SyncState, SyncStatus
from chalicelib.usecases.undelivered import Undelivered
from tests.fakes import START, every_field, fields
from tests.unit.api_support import create, stored

if TYPE_CHECKING:
    from tests.support import Json
    from tests.unit.conftest import World

EXHAUSTED, REJECTED = SyncStatus.EXHAUSTED, SyncStatus.REJECTED


def hour(number: int) -> datetime:
    return START + timedelta(hours=number)


def behind(
    world: World,
    name: str,
    hours: int = 0,
    status: SyncStatus = SyncStatus.RETRYING,
    **sync: object,
) -> str:
    """Store a product that is behind since an hour; its id."""
    state = replace(SyncState(status, behind_since=hour(hours)), **sync)  # type: ignore[arg-type]  # any field
    return stored(world, fields=fields(name=name), sync=state).id


def pages(world: World, query: str = "") -> list[list[str]]:
    """The names on the pages of a list."""
    found: list[list[str]] = []
    cursor = ""
    while True:
        answer = world.client.get(f"/sync/products?limit=2{query}{cursor}")
        assert answer.status == 200, answer
        page = answer.json()
        found.append([item["name"] for item in page["items"]])
        if page["nextCursor"] is None:
            return found
        cursor = f"&cursor={page['nextCursor']}"


def refused(world: World, query: str) -> list[str]:
    """The fields at fault of a query."""
    answer = world.client.get(f"/sync/products?{query}")
    assert answer.status == 422, answer
    return answer.fields


# ---- what is not delivered ----


def test_what_is_not_delivered_is_listed_oldest_change_first(world: World) -> None:
    for hours, name in ((3, "D"), (1, "B"), (2, "C"), (0, "A"), (4, "E")):
        behind(world, name, hours)
    stored(world, sync=SyncState(SyncStatus.DELIVERED))

    assert pages(world) == [["A", "B"], ["C", "D"], ["E"]]


def test_an_item_is_as_the_state_of_its_product(world: World) -> None:
    attempt = Attempt(START, 0, 503, 0.5, "HTTP 503")
    product = stored(
        world,
        fields=fields(**every_field()),
        sync=SyncState(
            SyncStatus.RETRYING, behind_since=START, last_error="HTTP 503", history=(attempt,)
        ),
    )
    world.client.put("/sync/control", {"paused": True, "reason": "their release"})

    (item,) = world.client.get("/sync/products").json()["items"]

    assert item == world.client.get(f"/products/{product.id}/sync").json()
    assert item["held"] == "paused: their release"
    assert [each["statusCode"] for each in item["history"]] == [503]


def test_what_has_failed_is_held_by_nothing(world: World) -> None:
    behind(world, "A", status=REJECTED)
    world.client.put("/sync/control", {"paused": True})

    assert world.client.get("/sync/products").json()["items"][0]["held"] is None


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("status=exhausted", ["B"]),
        ("status=exhausted&status=rejected", ["B", "D"]),
        ("behindSince=2026-01-01T02:00:00%2B01:00", ["A", "B"]),
        ("errorKind=http-503", ["A", "D"]),
        ("errorKind=timeout", ["B"]),
        ("q=MAINTENANCE", ["D"]),
        ("status=rejected&errorKind=http-503&q=%3A%20m&behindSince=2026-01-01T03:00:00Z", ["D"]),
        ("q=.*", []),
    ],
)
def test_a_filter_lets_through_what_it_names(world: World, query: str, names: list[str]) -> None:
    behind(world, "A", 0, last_error="HTTP 503")
    behind(world, "B", 1, EXHAUSTED, last_error="no answer within 10 s")
    behind(world, "C", 2, SyncStatus.PENDING)
    behind(world, "D", 3, REJECTED, last_error="HTTP 503: maintenance")

    assert [name for page in pages(world, f"&{query}") for name in page] == names


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=delivered", "status"),
        ("status=lost", "status"),
        ("behindSince=yesterday", "behindSince"),
        ("behindSince=2026-01-01T02:00:00+01:00", "behindSince"),
        ("behindSince=2026-01-01T02:00:00", "behindSince"),
        ("errorKind=http-5", "errorKind"),
        ("errorKind=http-503x", "errorKind"),
        ("q=", "q"),
        (f"q={'x' * 201}", "q"),
        ("limit=101", "limit"),
        ("limit=0", "limit"),
        ("cursor=a", "cursor"),
        ("sku=A", "sku"),
    ],
)
def test_a_query_that_cannot_be_followed_is_refused_by_its_field(
    world: World, query: str, field: str
) -> None:
    assert refused(world, query) == [field]


def test_a_page_that_reads_enough_ends_though_it_is_empty(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Undelivered, "reads", 3)
    for number in range(7):
        behind(world, f"{number}", number, last_error="HTTP 503")
    behind(world, "rare", 8, last_error="HTTP 500")

    assert pages(world, "&errorKind=http-500") == [[], [], ["rare"]]


def test_a_cursor_goes_on_in_no_list_that_it_is_not_in(world: World) -> None:
    for hours in range(4):
        behind(world, "A", hours)
    cursor = world.client.get("/sync/products?limit=3").json()["nextCursor"]

    assert refused(world, f"cursor={cursor}&behindSince=2026-01-01T01:00:00Z") == ["cursor"]


# ---- dead letters ----


def letters(world: World, query: str = "") -> Json:
    answer = world.client.get(f"/sync/dead-letters{query}")
    assert answer.status == 200, answer
    page: Json = answer.json()
    return page


def test_a_dead_letter_says_of_which_product_it_is_and_why(world: World) -> None:
    product_id = behind(
        world,
        "A",
        1,
        REJECTED,
        attempts=3,
        last_error="HTTP 422: bad",
        failed_at=hour(2),
        overdue_at=world.clock() + timedelta(minutes=1),
    )
    behind(world, "waits")
    expected = {
        "productId": product_id,
        "name": "A",
        "version": 0,
        "deleted": False,
        "reason": "rejected",
        "lastError": "HTTP 422: bad",
        "lastErrorKind": "http-422",
        "attempts": 3,
        "failedAt": "2026-01-01T02:00:00.000Z",
        "behindSince": "2026-01-01T01:00:00.000Z",
        "letterSent": False,
    }

    owed = letters(world)
    world.clock.advance(60)
    world.reconcile_once()
    sent = letters(world)

    assert owed == {
        "count": 0,
        "items": [expected],
        "nextCursor": None,
        "poison": [],
        "poisonCount": 0,
    }
    assert sent == {**owed, "count": 1, "items": [{**expected, "letterSent": True}]}


def test_dead_letters_come_page_by_page_oldest_change_first(world: World) -> None:
    for hours, name in ((2, "C"), (0, "A"), (1, "B")):
        behind(world, name, hours, EXHAUSTED)

    first = letters(world, "?limit=2")
    second = letters(world, f"?limit=2&cursor={first['nextCursor']}")

    assert [item["name"] for item in first["items"]] == ["A", "B"]
    assert [item["name"] for item in second["items"]] == ["C"]
    assert second["nextCursor"] is None


def test_without_the_queue_the_letters_are_listed_and_not_counted(world: World) -> None:
    behind(world, "A", status=EXHAUSTED)
    world.queue.away = True

    page = letters(world)

    assert page["count"] is None
    assert [item["name"] for item in page["items"]] == ["A"]


def test_a_letter_that_is_about_no_product_is_shown_with_its_reason(world: World) -> None:
    world.queue.dead_letter([DeadLetter("x" * 600, {"reason": "not JSON"})])
    message_id = world.queue.dead[0].id
    assert letters(world)["poison"] == []

    world.reconcile_once()

    page = letters(world)
    assert (page["count"], page["poisonCount"]) == (0, 1)
    assert page["poison"] == [
        {
            "messageId": message_id,
            "reason": "not JSON",
            "body": "x" * 500,
            "seenAt": "2026-01-01T00:00:00.000Z",
        }
    ]


@pytest.mark.parametrize("query", ["?cursor=a", "?limit=0", "?status=rejected"])
def test_a_query_for_dead_letters_that_cannot_be_followed_is_refused(
    world: World, query: str
) -> None:
    create(world)
    assert world.client.get(f"/sync/dead-letters{query}").status == 422
