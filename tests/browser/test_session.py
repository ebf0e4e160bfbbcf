"""Who uses the console: its token, its scopes, and what a refusal looks like."""

from __future__ import annotations

from playwright.sync_api import expect

from chalicelib.http.contract import ADMIN, READ
from tests.browser.browsing import Console
from tests.browser.stub import StubCatalog, a_state, a_summary, an_id, problem
from tests.unit.conftest import a_token


def test_a_token_can_be_typed_in(console: Console) -> None:
    console.page.goto(f"{console.api}/console")
    console.page.get_by_label("Token").fill(a_token(READ, sub="Ada"))
    console.button("Log in").click()
    expect(console.heading()).to_have_text("Overview")
    expect(console.page.get_by_text("Ada", exact=True)).to_be_visible()


def test_what_is_no_token_is_refused_before_it_is_sent(
    console: Console, catalog: StubCatalog
) -> None:
    console.page.goto(f"{console.api}/console")
    console.page.get_by_label("Token").fill("hunter2")
    console.button("Log in").click()
    expect(console.page.get_by_role("alert")).to_contain_text("This is not a token")
    assert catalog.asked == []


def test_the_address_does_not_keep_the_token_of_a_link(console: Console) -> None:
    console.log_in()
    assert console.page.url == f"{console.api}/console#/"
    console.link("Acts").click()
    console.page.go_back()
    assert console.page.url == f"{console.api}/console#/"


def test_the_token_is_kept_for_this_tab_alone(console: Console) -> None:
    console.log_in()
    assert console.page.evaluate("[sessionStorage.length, localStorage.length]") == [1, 0]
    assert console.page.evaluate("document.cookie") == ""
    console.page.reload()
    expect(console.heading()).to_have_text("Overview")


def test_a_link_with_a_token_works_in_an_open_console(console: Console) -> None:
    console.log_in()
    console.go(f"token={a_token(READ, sub='Grace')}")
    expect(console.page.get_by_text("Grace", exact=True)).to_be_visible()
    assert console.page.url.endswith("/console#/")


def test_who_logs_out_leaves_no_token(console: Console) -> None:
    console.log_in()
    console.button("Log out").click()
    expect(console.button("Log in")).to_be_visible()
    assert console.page.evaluate("sessionStorage.length") == 0


def test_a_token_that_the_api_refuses_is_asked_for_again_where_one_was(
    console: Console, catalog: StubCatalog
) -> None:
    console.refusals_expected = True
    console.log_in()
    catalog.failing = problem(401, "Unauthorized", "the token has expired")
    console.go("/acts")
    expect(console.page.get_by_role("alert")).to_contain_text("the token has expired")
    catalog.failing = None
    console.page.get_by_label("Token").fill(a_token(READ))
    console.button("Log in").click()
    expect(console.heading()).to_have_text("Acts")


def test_without_the_scope_nothing_can_be_changed_and_the_reason_is_said(
    console: Console, catalog: StubCatalog
) -> None:
    catalog.states = [a_state(1)]
    console.log_in(READ)
    expect(console.page.get_by_text("Read only: the token lacks the scope")).to_be_visible()
    expect(console.button("Pause …")).to_be_disabled()
    for route, name in {
        "/behind": "Redrive …",
        f"/product/{an_id(1)}": "Replay …",
        "/audit": "Start an audit …",
    }.items():
        console.go(route)
        expect(console.button(name)).to_be_disabled()
        assert console.button(name).get_attribute("title") == f"The token lacks the scope {ADMIN}"


def test_an_operator_without_read_sees_the_state_but_not_the_data(
    console: Console, catalog: StubCatalog
) -> None:
    catalog.states = [a_state(1)]
    console.log_in(ADMIN)
    console.go(f"/product/{an_id(1)}")
    expect(console.region("Data")).to_contain_text(f"needs the scope {READ}")
    assert ("GET", f"/products/{an_id(1)}") not in {call[:2] for call in catalog.asked}


def test_a_problem_is_shown_with_title_and_detail_and_goes_by_itself(
    console: Console, catalog: StubCatalog
) -> None:
    console.refusals_expected = True
    console.log_in()
    catalog.failing = problem(503, "Store unavailable", "the store does not answer")
    console.refresh()
    alert = console.page.get_by_role("alert")
    expect(alert).to_contain_text("Store unavailable")
    expect(alert).to_contain_text("the store does not answer")
    # What was known stays on the screen.
    expect(console.region("All is well")).to_be_visible()
    catalog.failing = None
    console.page.clock.run_for(10_000)
    expect(alert).to_have_count(0)


def test_an_api_that_is_away_is_no_empty_screen(console: Console) -> None:
    console.refusals_expected = True
    console.log_in()
    console.page.route("**/api/sync/acts*", lambda route: route.abort())
    console.go("/acts")
    expect(console.page.get_by_role("alert")).to_contain_text("The API does not answer")


# ---- refreshing ----


def test_the_screen_follows_what_happens(console: Console, catalog: StubCatalog) -> None:
    console.log_in()
    expect(console.region("All is well")).to_be_visible()
    catalog.summary = a_summary(stuck={"count": 1, "oldestSeconds": 60.0})
    console.refresh()
    expect(console.region("1 product is stuck")).to_be_visible()
    # Said to those who do not see it, and in the tab's title.
    expect(console.page.get_by_role("status").first).to_have_text("1 product is stuck")
    expect(console.page).to_have_title("1 product is stuck - Product Catalog")


HIDE = """hidden => {
  Object.defineProperty(document, "hidden", { value: Boolean(hidden), configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_hidden_tab_asks_for_nothing(console: Console, catalog: StubCatalog) -> None:
    console.log_in()
    expect(console.region("All is well")).to_be_visible()
    catalog.gate.clear()
    console.refresh()
    catalog.arrived.wait(10)
    console.page.evaluate(HIDE, "true")
    with console.page.expect_response("**/api/sync"):
        catalog.gate.set()
    before = len(catalog.asked)
    console.page.clock.run_for(60_000)
    assert len(catalog.asked) == before
    with console.page.expect_response("**/api/sync"):
        console.page.evaluate(HIDE, "")


def test_live_refresh_can_be_switched_off(console: Console, catalog: StubCatalog) -> None:
    console.log_in()
    expect(console.region("All is well")).to_be_visible()
    console.button("Live").click()
    expect(console.button("Live")).to_have_attribute("aria-pressed", "false")
    before = len(catalog.asked)
    console.page.clock.run_for(60_000)
    assert len(catalog.asked) == before


COUNT = """() => {
  const real = window.fetch;
  window.asked = 0;
  window.fetch = (...all) => { window.asked += 1; return real(...all); };
}"""


def test_a_slow_answer_is_waited_for_not_asked_for_twice(
    console: Console, catalog: StubCatalog
) -> None:
    console.log_in()
    expect(console.region("All is well")).to_be_visible()
    catalog.gate.clear()
    console.refresh()
    catalog.arrived.wait(10)
    console.page.evaluate(COUNT)
    console.page.clock.run_for(60_000)
    # Who comes back to the tab meanwhile would like to see something new.
    console.page.evaluate(HIDE, "")
    assert console.page.evaluate("asked") == 0
    with console.page.expect_response("**/api/sync"):
        catalog.gate.set()


def test_a_refresh_leaves_focus_scroll_and_what_is_being_typed(
    console: Console, catalog: StubCatalog
) -> None:
    catalog.states = [a_state(number) for number in range(1, 21)]
    console.log_in()
    console.go("/behind")
    expect(console.rows()).to_have_count(20)
    box = console.page.get_by_label("Text in the last error")
    box.press_sequentially("wareh")
    console.page.evaluate("window.scrollTo(0, 300)")
    with console.page.expect_response("**/api/sync/products*"):
        console.refresh()
    expect(box).to_have_value("wareh")
    expect(box).to_be_focused()
    assert console.page.evaluate("window.scrollY") == 300
