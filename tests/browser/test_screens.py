"""Each screen: what it shows, what can be done there, for whom it works."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from embedded.services import ROOT
from tests.browser.browsing import OPERATOR, Console
from tests.browser.stub import StubCatalog, a_state, a_summary, ago, an_audit, an_id, problem
from tests.unit.conftest import a_token
from tools import screenshots

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support import Json

SCREENS = {
    "/": "Overview",
    "/behind": "Products behind",
    "/search?q=Desk": "Search: Desk",
    f"/product/{an_id(1)}": "Desk lamp 1",
    "/dead-letters": "Dead letters",
    "/audit": "Audit",
    "/acts": "Acts",
    "/nowhere": "No such screen",
}
"""The heading of each."""


def trouble(catalog: StubCatalog) -> None:
    """Give every part of every screen something to show."""
    statuses = ["exhausted", "rejected", "retrying", "pending"]
    catalog.states = [a_state(number, statuses[number % 4]) for number in range(1, 5)]
    catalog.summary = a_summary(
        products={"pending": 1, "retrying": 1, "delivered": 298, "exhausted": 1, "rejected": 1},
        stuck={"count": 2, "oldestSeconds": 600.0},
        oldestUndeliveredSeconds=412.0,
        estimatedSecondsToConverge=340.0,
        breaker={"state": "open", "since": ago(90), "reason": "HTTP 503", "callsPerSecond": None},
        control={"paused": True, "reason": "their release", "until": ago(-3600), "since": ago(60)},
        catchingUp=True,
        redrive={"startedAt": ago(10), "count": 2, "done": 1},
        outboxBacklog=2,
        unreadable=1,
    )
    throughput = catalog.summary["throughput"]
    throughput["failureKinds"] = {"http-503": 12, "timeout": 3}
    for place, minute in enumerate(throughput["minutes"]):
        minute["failed"] = place % 5
    example = {"id": an_id(3), "difference": "different", "version": 3, "held": 3}
    example |= {"fields": ["price"], "repaired": False, "at": ago(60)}
    but = "at 2026-11-29T12:03:00.000Z the supply chain held the newest version, but for 1"
    catalog.audit = an_audit("done", statement=but, examples=[example], rolling=an_audit("running"))
    catalog.audit["differences"]["different"] = 1
    catalog.summary["audit"] = an_audit("running")
    catalog.poison = [{"messageId": "m-1", "reason": "not JSON", "body": "{oops", "seenAt": ago(9)}]
    catalog.acts = [
        {"id": "1", "at": ago(60), "who": "Ada", "what": "redrive", "why": None, "productId": None}
        | {"details": {"count": 12}},
        {"id": "0", "at": ago(90), "who": "Ada", "what": "replay", "why": "try", "details": {}}
        | {"productId": an_id(1)},
    ]


# ---- for everybody ----


def each_screen(console: Console) -> Iterator[str]:
    """Go to each screen, in trouble, and give its route."""
    for route, heading in SCREENS.items():
        console.go(route)
        expect(console.heading()).to_have_text(heading)
        expect(console.page.locator("main .loading")).to_have_count(0)
        yield route


def violations(console: Console, *rules: str) -> str:
    """What axe-core finds wrong with what is shown; by all of its rules, or by these."""
    loaded = console.page.evaluate("'axe' in window")
    options = {"resultTypes": ["violations"], **({"runOnly": [*rules]} if rules else {})}
    found = (Axe("0") if loaded else Axe()).run(console.page, options=options)
    return found.generate_report() if found.violations_count else ""


def test_axe_finds_nothing_wrong_with_any_screen_in_light_and_dark(
    console: Console, catalog: StubCatalog
) -> None:
    trouble(catalog)
    console.log_in()
    for route in each_screen(console):
        assert violations(console) == "", route
        console.page.emulate_media(color_scheme="dark")
        assert violations(console, "color-contrast") == "", f"{route} in the dark"
        console.page.emulate_media(color_scheme="light")


def test_axe_finds_nothing_wrong_with_the_login_and_the_dialogs(
    console: Console, catalog: StubCatalog
) -> None:
    trouble(catalog)
    console.page.goto(f"{console.api}/console")
    expect(console.button("Log in")).to_be_visible()
    assert violations(console) == ""
    console.log_in()
    for route, name in {"/": "Resume …", "/behind": "Redrive …"}.items():
        console.go(route)
        console.button(name).click()
        expect(console.dialog()).to_be_visible()
        assert violations(console) == "", name
        console.page.keyboard.press("Escape")
        expect(console.dialog()).to_have_count(0)


def test_every_screen_fits_a_small_phone(console: Console, catalog: StubCatalog) -> None:
    trouble(catalog)
    console.page.set_viewport_size({"width": 320, "height": 640})
    console.log_in()
    for route in each_screen(console):
        assert console.page.evaluate("document.documentElement.scrollWidth") <= 320, route
    console.go("/behind")
    console.button("Redrive …").click()
    fits = "dialog => dialog.scrollWidth <= dialog.clientWidth"
    assert console.dialog().evaluate(fits)


def test_a_new_screen_has_the_focus_on_its_heading(console: Console) -> None:
    console.log_in()
    console.link("Acts").click()
    expect(console.heading()).to_have_text("Acts")
    expect(console.heading()).to_be_focused()
    expect(console.page).to_have_title("Acts - Product Catalog")


def test_the_keyboard_can_skip_the_navigation(console: Console) -> None:
    console.log_in()
    console.page.keyboard.press("Tab")
    expect(console.link("Skip to the content")).to_be_focused()
    console.page.keyboard.press("Enter")
    expect(console.page.locator("main")).to_be_focused()
    assert console.page.url.endswith("#/")


def test_a_dialog_gives_the_focus_back(console: Console) -> None:
    console.log_in()
    console.button("Pause …").click()
    expect(console.dialog()).to_be_visible()
    console.page.keyboard.press("Escape")
    expect(console.dialog()).to_have_count(0)
    expect(console.button("Pause …")).to_be_focused()


# ---- overview ----


def test_all_is_well_is_said_where_nothing_is_wrong(console: Console) -> None:
    console.log_in()
    expect(console.region("All is well")).to_contain_text("300 products is delivered")
    expect(console.page.get_by_text("Nothing waits", exact=True)).to_be_visible()


FINDINGS: dict[str, tuple[Json, str]] = {
    "The supply chain is down": (
        {
            "breaker": {
                "state": "open",
                "since": ago(9),
                "reason": "HTTP 503",
                "callsPerSecond": None,
            }
        },
        "HTTP 503. Products wait, and no attempt is spent.",
    ),
    "3 products are stuck": ({"stuck": {"count": 3, "oldestSeconds": 7200.0}}, "oldest for 2 h"),
    "1 document cannot be read": ({"unreadable": 1}, "A newer version"),
    "The sync is paused": (
        {"control": {"paused": True, "reason": "their release", "until": None, "since": ago(9)}},
        "Why: their release.",
    ),
    "A change has been waiting for 10 min": ({"oldestUndeliveredSeconds": 600.0}, "tried again"),
    "1 event is not published yet": ({"outboxBacklog": 1}, "The stream may be away"),
}


def test_what_is_wrong_is_said_at_a_glance(console: Console, catalog: StubCatalog) -> None:
    console.log_in()
    for name, (changes, more) in FINDINGS.items():
        catalog.summary = a_summary(**changes)
        with console.page.expect_response("**/api/sync"):
            console.refresh()
        expect(console.region(name)).to_contain_text(more)


def test_of_several_findings_the_worst_comes_first(console: Console, catalog: StubCatalog) -> None:
    trouble(catalog)
    console.log_in()
    expect(console.page.locator(".verdict h2")).to_have_text("The supply chain is down")
    expect(console.page.locator(".verdict li")).to_have_count(4)


def test_the_chart_can_be_read_without_seeing_it(console: Console, catalog: StubCatalog) -> None:
    trouble(catalog)
    console.log_in()
    told = "1,740 deliveries and 120 failed attempts in the last 60 minutes"
    expect(console.page.get_by_role("img", name=told)).to_be_visible()
    console.page.get_by_text("The numbers").click()
    expect(console.page.get_by_role("table", name="Deliveries and failed attempts")).to_be_visible()


def test_the_sync_is_paused_with_a_reason_and_an_end_and_resumed(
    console: Console, catalog: StubCatalog
) -> None:
    console.log_in()
    console.button("Pause …").click()
    console.page.get_by_label("Reason").fill("their release")
    console.page.get_by_label("Until").fill("2030-01-01T10:00")
    console.button("Pause").click()
    expect(console.page.get_by_role("status").last).to_have_text("The sync is paused")
    expect(console.region("The sync is paused")).to_contain_text("Why: their release.")
    (sent,) = catalog.sent("PUT", "/sync/control")
    assert (sent["paused"], sent["reason"], sent["until"][:4]) == (True, "their release", "2030")
    expect(console.button("Resume …")).to_be_focused()
    console.button("Resume …").click()
    console.button("Resume").click()
    expect(console.region("All is well")).to_be_visible()
    assert catalog.sent("PUT", "/sync/control")[1] == {"paused": False}


def test_an_act_that_is_refused_says_why_and_can_be_tried_again(
    console: Console, catalog: StubCatalog
) -> None:
    console.refusals_expected = True
    console.log_in()
    console.button("Pause …").click()
    catalog.failing = problem(422, "Invalid request", "until must be in the future")
    console.button("Pause").click()
    expect(console.dialog().get_by_role("alert")).to_contain_text("until must be in the future")
    catalog.failing = None
    console.button("Pause").click()
    expect(console.dialog()).to_have_count(0)


# ---- products behind ----


def test_the_filters_are_in_the_address_and_in_the_question(
    console: Console, catalog: StubCatalog
) -> None:
    catalog.states = [a_state(1), a_state(2, "retrying"), a_state(3, "pending")]
    console.log_in()
    console.go("/behind?status=exhausted&status=retrying")
    expect(console.rows()).to_have_count(2)
    console.page.get_by_label("exhausted").uncheck()
    expect(console.rows()).to_have_count(1)
    box = console.page.get_by_label("Text in the last error")
    box.fill("nowhere to be found")
    box.press("Enter")
    expect(console.page.get_by_text("No product matches these filters.")).to_be_visible()
    assert console.page.url.endswith("#/behind?status=retrying&q=nowhere+to+be+found")
    console.link("Clear the filters").click()
    expect(console.rows()).to_have_count(3)


def test_a_list_has_pages(console: Console, catalog: StubCatalog) -> None:
    catalog.states = [a_state(number) for number in range(1, 25)]
    console.log_in()
    console.go("/behind")
    expect(console.rows()).to_have_count(20)
    console.button("Next").click()
    expect(console.rows()).to_have_count(4)
    expect(console.button("Next")).to_be_disabled()
    console.button("Previous").click()
    expect(console.rows()).to_have_count(20)


def test_a_page_without_a_match_says_that_there_are_more(console: Console) -> None:
    more = '{"items": [], "nextCursor": "abc"}'
    console.page.route("**/api/sync/products*", lambda route: route.fulfill(body=more))
    console.log_in()
    console.go("/behind?q=rare")
    expect(console.page.get_by_text("the next page looks at younger ones")).to_be_visible()
    expect(console.button("Next")).to_be_enabled()


def test_a_queue_that_does_not_answer_is_no_reason_to_hide_what_has_failed(
    console: Console, catalog: StubCatalog
) -> None:
    catalog.states, catalog.letters_counted = [a_state(1)], False
    console.log_in()
    console.go("/dead-letters")
    expect(console.page.get_by_text("The dead-letter queue does not answer.")).to_be_visible()
    expect(console.rows()).to_have_count(1)


def test_a_redrive_counts_before_it_replays(console: Console, catalog: StubCatalog) -> None:
    catalog.states = [a_state(1), a_state(2, "rejected"), a_state(3, "retrying")]
    console.log_in()
    console.go("/behind?status=exhausted")
    console.button("Redrive …").click()
    expect(console.button("Replay")).to_be_disabled()
    console.button("Count first").click()
    expect(console.dialog()).to_contain_text("Would replay 1 product.")
    # Another choice must be counted again.
    console.page.get_by_label("Which").select_option("")
    expect(console.button("Replay")).to_be_disabled()
    console.button("Count first").click()
    console.page.get_by_label("Reason").fill("they are back")
    console.button("Replay 2 products").click()
    expect(console.page.get_by_role("status").last).to_have_text("2 products are replayed")
    assert catalog.sent("POST", "/sync/redrive") == [
        {"status": "exhausted", "dryRun": True},
        {"dryRun": True},
        {"reason": "they are back"},
    ]


@pytest.mark.parametrize(
    ("sought", "heading"), [(an_id(1), "Desk lamp 1"), ("Desk", "Search: Desk")]
)
def test_a_product_is_found_by_its_id_or_its_name(
    console: Console, catalog: StubCatalog, sought: str, heading: str
) -> None:
    catalog.states = [a_state(1)]
    console.log_in()
    console.page.get_by_label("Find a product").fill(sought)
    console.button("Find").click()
    expect(console.heading()).to_have_text(heading)
    expect(console.page.get_by_text(an_id(1))).to_be_visible()


def test_a_product_is_found_by_its_sku(console: Console, catalog: StubCatalog) -> None:
    catalog.states = [a_state(1, sku="LAMP-1")]
    console.log_in()
    console.go("/search?q=LAMP-1")
    expect(console.rows()).to_contain_text(["Desk lamp 1"])


# ---- one product ----


def test_a_product_shows_why_it_is_not_delivered_and_its_exact_price(
    console: Console, catalog: StubCatalog
) -> None:
    catalog.states = [a_state(1)]
    console.log_in()
    console.go(f"/product/{an_id(1)}")
    expect(console.page.get_by_text("It is exhausted: 18 attempts")).to_be_visible()
    line = console.region("What happened, and what comes next")
    expect(line.get_by_role("listitem").first).to_contain_text("Version 3 was written.")
    expect(line.get_by_role("listitem").last).to_contain_text("Nothing more is tried: replay it.")
    line.get_by_text("Details of: Attempt 1 failed").click()
    expect(line.get_by_text("duration seconds").first).to_be_visible()
    expect(console.region("State")).to_contain_text("HTTP 503: the warehouse is closed")
    expect(console.region("Data")).to_contain_text("19.90")


def test_a_product_is_replayed_with_a_reason(console: Console, catalog: StubCatalog) -> None:
    catalog.states = [a_state(1)]
    console.log_in()
    console.go(f"/product/{an_id(1)}")
    console.button("Replay …").click()
    console.page.get_by_label("Reason").fill("mended")
    console.button("Replay").click()
    expect(console.page.locator(".subtitle")).to_contain_text("pending")
    assert catalog.sent("POST", f"/products/{an_id(1)}/sync") == [{"reason": "mended"}]


def test_a_deleted_product_still_says_how_far_its_deletion_is(
    console: Console, catalog: StubCatalog
) -> None:
    console.refusals_expected = True
    catalog.states = [a_state(1, deleted=True)]
    console.log_in()
    console.go(f"/product/{an_id(1)}")
    expect(console.region("Data")).to_contain_text("The product is deleted.")
    expect(console.region("State")).to_contain_text("HTTP 503")


def test_an_unknown_product_is_a_problem_with_its_detail(console: Console) -> None:
    console.refusals_expected = True
    console.log_in()
    console.go(f"/product/{an_id(9)}")
    expect(console.page.get_by_role("alert")).to_contain_text(f"no product has the id {an_id(9)}")


# ---- dead letters, audit, acts ----


def test_the_dead_letters_are_listed_with_their_reason_and_the_poison_too(
    console: Console, catalog: StubCatalog
) -> None:
    trouble(catalog)
    console.log_in()
    console.go("/dead-letters")
    expect(console.page.locator("main")).to_contain_text("2 letters are in the dead-letter queue.")
    letters = console.page.get_by_role("table", name="Products with a dead letter")
    expect(letters).to_contain_text("HTTP 503: the warehouse is closed")
    expect(console.page.get_by_role("table", name="Poison messages")).to_contain_text("{oops")


def test_an_audit_is_started_followed_and_ends_with_its_statement(
    console: Console, catalog: StubCatalog
) -> None:
    console.log_in()
    console.go("/audit")
    expect(console.page.get_by_text("No audit has been made yet.")).to_be_visible()
    console.button("Start an audit …").click()
    console.page.get_by_label("Repair what differs").uncheck()
    console.button("Start").click()
    expect(console.region("Running")).to_contain_text("Compared: 120 of 300")
    expect(console.button("Start an audit …")).to_be_disabled()
    assert catalog.sent("POST", "/sync/audit") == [{"repair": False}]
    catalog.audit = an_audit("done")
    console.refresh()
    expect(console.region("Proved")).to_contain_text("the newest version of all 300 products")


def test_what_an_audit_has_found_is_shown_with_its_fields(
    console: Console, catalog: StubCatalog
) -> None:
    trouble(catalog)
    console.log_in()
    console.go("/audit")
    found = console.region("1 difference found")
    expect(found).to_contain_text("the newest version, but for 1")
    expect(found).to_contain_text("1 difference is not repaired.")
    expect(console.region("The audit that runs by itself")).to_contain_text("120 of about 300")
    expect(console.rows()).to_contain_text([an_id(3), "price", "open"][:1])
    expect(console.rows().first).to_contain_text("Same version, other data")


@pytest.mark.parametrize("lacking", ["unanswered", "behind"])
def test_an_audit_that_could_not_compare_all_is_no_proof(
    console: Console, catalog: StubCatalog, lacking: str
) -> None:
    catalog.audit = an_audit("done", **{lacking: 2})
    console.log_in()
    console.go("/audit")
    expect(console.region("Not all could be compared")).to_be_visible()


def test_an_audit_that_was_stopped_is_no_proof(console: Console, catalog: StubCatalog) -> None:
    said = "stopped by another at 2026-11-29T12:03:00.000Z after 120 of 300 products"
    catalog.audit = an_audit("done", checked=120, stoppedBy="another", statement=said)
    console.log_in()
    console.go("/audit")
    expect(console.region("Stopped")).to_contain_text("after 120 of 300 products")


def test_the_acts_say_who_did_what_and_why(console: Console, catalog: StubCatalog) -> None:
    trouble(catalog)
    console.log_in()
    console.go("/acts")
    expect(console.rows().first).to_contain_text("Replayed many products")
    expect(console.rows().first).to_contain_text("no reason given")
    expect(console.rows().last).to_contain_text("try")
    expect(console.rows().last.get_by_role("link")).to_have_attribute(
        "href", f"#/product/{an_id(1)}"
    )


# ---- the documentation ----


def test_the_pictures_are_those_that_the_documentation_shows(
    console: Console, catalog: StubCatalog, tmp_path: Path
) -> None:
    trouble(catalog)
    screenshots.take(console.page, console.api, a_token(*OPERATOR), an_id(1), tmp_path)
    taken = {path.name for path in tmp_path.glob("*.png")}
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = {
        name for page in pages for name in re.findall(r"images/([a-z-]+\.png)", page.read_text())
    }
    assert taken == shown
