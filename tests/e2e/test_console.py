"""The console in a real browser on the whole stack: sign in, watch, limit, kill, verify, trace."""

import re
import time
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, Route, expect
from pyotp.totp import TOTP
from support import console_people
from support.browser import TIMEOUT_S, Visit, visit
from support.console_people import PASSWORD, api, decide, emit, newcomer, unique
from support.stack import StackFixture
from support.waiting import eventually

from hookbus.contracts.people import Role

LIVE_S_MAX = 2.0
LIVE_TRIES = 5
WAIT_S = 60
pytestmark = pytest.mark.timeout(TIMEOUT_S)


async def test_the_first_sign_in_asks_for_a_password_of_ones_own_and_a_reload_stays_in(
    browser: Browser, stack: StackFixture
) -> None:
    new = await newcomer(stack, Role.OPERATOR)
    async with visit(browser, stack.url) as seen:
        page = seen.page
        await seen.sign_in(new.username, "not the password")
        await expect(page.get_by_role("alert")).to_contain_text("username or password is not valid")
        await seen.sign_in(new.username, new.password)
        await seen.heading("Choose a password")
        await page.get_by_label("New password").fill(PASSWORD)
        await page.get_by_label("The same again").fill("another long phrase 42")
        await page.get_by_role("button", name="Change the password").click()
        await expect(page.get_by_role("alert")).to_contain_text("differ")
        await page.get_by_label("The same again").fill(PASSWORD)
        await page.get_by_role("button", name="Change the password").click()
        await seen.heading("Now")
        await page.reload()
        await seen.heading("Now")
        await expect(page.get_by_role("link", name=new.username)).to_be_visible()
        await page.get_by_role("button", name="Sign out").click()
        await seen.heading("Sign in to hookbus")
        await page.reload()
        await seen.heading("Sign in to hookbus")


async def test_a_second_factor_is_asked_for_only_of_those_who_have_one(browser: Browser, stack: StackFixture) -> None:
    login, token = await console_people.settled(stack, Role.VIEWER)
    secret = TOTP((await api(stack, "POST", "session/totp", token=token))["secret"])
    await api(stack, "POST", "session/totp/confirm", {"code": secret.now()}, token)
    async with visit(browser, stack.url) as seen:
        await seen.open()
        await expect(seen.page.get_by_label("One-time code")).to_be_hidden()
        await seen.sign_in(login.username, login.password)
        code = seen.page.get_by_label("One-time code")
        await expect(code).to_be_visible()
        # A code counts once: the one that confirmed the device is spent, the next one is good already.
        await code.fill(secret.at(int(time.time()) + secret.interval))
        await seen.page.get_by_role("button", name="Sign in").click()
        await seen.heading("Now")


async def test_an_event_arrives_within_two_seconds(at_desk: Visit, stack: StackFixture) -> None:
    """The best of a few tries: a busy machine may be late once, a page that polls slowly always is."""
    page = at_desk.page
    await expect(page.locator("#live")).to_have_text("live")
    took: list[float] = []
    for _ in range(LIVE_TRIES):
        agent = unique("live")
        began = time.perf_counter()
        await decide(stack, agent, unique("s"), "make build")
        row = page.get_by_role("row").filter(has_text=agent).filter(has_text="make build")
        await expect(row).to_be_visible()
        took.append(time.perf_counter() - began)
        await expect(row).to_contain_text("allow")
        if took[-1] < LIVE_S_MAX:
            break
    assert min(took) < LIVE_S_MAX, took
    thief = unique("thief")
    await decide(stack, thief, unique("s"), "cat /etc/shadow")
    denied = page.get_by_role("row").filter(has_text=thief).filter(has_text="deny")
    await expect(denied).to_be_visible()
    await page.get_by_role("button", name="Only denials").click()
    await expect(page.get_by_role("row").filter(has_text="make build")).to_have_count(0)
    await expect(denied).to_be_visible()
    print("an event was seen after s:", [round(one, 2) for one in took])  # noqa: T201 - a measurement


async def test_a_limit_set_in_the_console_denies_the_next_hook(at_desk: Visit, stack: StackFixture) -> None:
    """Set, met, reset, taken away; each is in the ledger under the person's name."""
    agent, session, page = unique("spender"), unique("s"), at_desk.page
    assert (await decide(stack, agent, session))["decision"] == "allow"
    await at_desk.open(f"budgets/agent/{agent}")
    await page.get_by_label("At most").fill("1")
    await page.get_by_role("button", name="Set the limit").click()
    await expect(page.get_by_text("of 1 tokens an hour")).to_be_visible()
    denied = await decide(stack, agent, session)
    assert (denied["decision"], denied["code"]) == ("deny", "tokens_exhausted")
    await expect(page.get_by_role("row").filter(has_text=re.compile("user:console-")).first).to_be_visible()
    await page.get_by_role("button", name="Start all windows afresh").click()
    await page.get_by_role("dialog").get_by_role("button", name="Start afresh").click()
    await expect(page.get_by_role("row").filter(has_text="reset").first).to_be_visible()
    await page.get_by_role("button", name="Take away 1 tokens an hour").click()
    await page.get_by_role("dialog").get_by_role("button", name="Take it away").click()
    await expect(page.get_by_text("of 1 tokens an hour")).to_have_count(0)
    assert (await decide(stack, agent, session))["decision"] == "allow"


async def test_a_session_is_killed_and_revived(at_desk: Visit, stack: StackFixture) -> None:
    agent, session, page = unique("runaway"), unique("s"), at_desk.page
    await decide(stack, agent, session)
    await eventually(lambda: _known(stack, session), WAIT_S)
    await at_desk.open(f"sessions?agent={agent}")
    await page.get_by_role("link", name=session, exact=True).click()
    await page.get_by_role("button", name="Kill the session").click()
    dialog = page.get_by_role("dialog")
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    assert (await decide(stack, agent, session))["decision"] == "allow", "a question that was closed does nothing"
    await page.get_by_role("button", name="Kill the session").click()
    await dialog.get_by_label("Why").fill("enough for today")
    await dialog.get_by_role("button", name="Kill the session").click()
    await expect(page.get_by_text("enough for today")).to_be_visible()
    denied = await decide(stack, agent, session)
    assert (denied["decision"], denied["code"]) == ("deny", "session_terminated")
    await page.get_by_role("button", name="Revive the session").click()
    await dialog.get_by_role("button", name="Revive the session").click()
    await expect(page.get_by_role("button", name="Kill the session")).to_be_visible()
    assert (await decide(stack, agent, session))["decision"] == "allow"


async def test_the_log_is_verified_and_an_entry_is_proven_in_the_browser(at_desk: Visit, stack: StackFixture) -> None:
    """The proof is recomputed by the page: a receipt that was tampered with on its way proves nothing."""
    agent, page = unique("logged"), at_desk.page
    event = await emit(stack, "notification", agent, {"note": "to be found again"})
    await eventually(lambda: _logged(stack, agent), WAIT_S)
    await at_desk.open(f"audit?agent={agent}")
    await page.get_by_role("button", name="Verify the whole log").click()
    await expect(page.get_by_text("Intact.")).to_be_visible(timeout=WAIT_S * 1000)
    await page.get_by_role("link", name="to be found again").click()
    await expect(page.get_by_text("Included.")).to_be_visible()
    assert page.url.endswith(event)

    async def tampered(route: Any) -> None:
        answer = await route.fetch()
        receipt = await answer.json()
        first = receipt["proof"][0]
        receipt["proof"][0] = ("0" if first[0] != "0" else "1") + first[1:]
        await route.fulfill(response=answer, json=receipt)

    await page.route("**/api/v1/audit/receipts/**", tampered)
    await page.reload()
    await expect(page.get_by_text("NOT proven:")).to_be_visible()
    await expect(page.get_by_text("Included.")).to_have_count(0)


async def test_a_trace_is_opened_from_its_event(at_desk: Visit, stack: StackFixture) -> None:
    decided = await decide(stack, unique("traced"), unique("s"))
    await eventually(lambda: _traced(stack, decided["event_id"]), WAIT_S)
    await eventually(lambda: _in_log(stack, decided["event_id"]), WAIT_S)
    await at_desk.open(f"audit/{decided['event_id']}")
    await at_desk.page.get_by_role("link", name="waterfall").click()
    await at_desk.heading("Trace")
    for service in ("gateway", "session", "budget"):
        await expect(at_desk.page.locator(".fall .name").filter(has_text=service).first).to_be_visible()
    await at_desk.open("traces")
    await expect(at_desk.page.get_by_role("table", name="Traces").get_by_role("row").nth(1)).to_be_visible()


async def test_a_viewer_sees_what_a_viewer_may(browser: Browser, stack: StackFixture) -> None:
    login, token = await console_people.settled(stack, Role.VIEWER)
    agent = unique("watched")
    await decide(stack, agent, unique("s"))
    async with visit(browser, stack.url) as seen:
        page = seen.page
        await seen.sign_in(login.username, login.password)
        await seen.heading("Now")
        names = await page.get_by_role("navigation", name="Pages").get_by_role("link").all_inner_texts()
        assert names == ["Now", "Budgets", "Health", "Your account"]
        await seen.open(f"budgets/agent/{agent}")
        await expect(page.get_by_role("heading", name="Limits")).to_be_visible()
        for name in ("Set the limit", "Start all windows afresh", re.compile("Take away")):
            await expect(page.get_by_role("button", name=name)).to_have_count(0)
        await seen.open("audit")
        await expect(page.get_by_role("alert")).to_contain_text("Your role does not open this page")
    async with httpx.AsyncClient(base_url=stack.url, headers={"authorization": f"Bearer {token}"}) as client:
        body = {"limits": [{"unit": "tokens", "window": "hour", "amount": 1}]}
        assert (await client.post(f"/api/v1/budget/init/{agent}", json=body)).status_code == 403
        assert (await client.get("/api/v1/audit/entries")).status_code == 403


async def test_the_page_says_when_it_is_cut_off_and_comes_back(at_desk: Visit, stack: StackFixture) -> None:
    """The gateway dies under the page: it says so, and is live again by itself, with what came meanwhile."""
    live, agent = at_desk.page.locator("#live"), unique("meanwhile")
    await expect(live).to_have_text("live")
    stack.kill("gateway")
    await expect(live).to_have_text("live: reconnecting")
    await eventually(stack.is_ready, WAIT_S)
    await decide(stack, agent, unique("s"))
    await expect(live).to_have_text("live", timeout=WAIT_S * 1000)
    await expect(at_desk.page.get_by_role("row").filter(has_text=agent).first).to_be_visible()
    at_desk.complaints.clear()  # the browser notes each connection that was refused


async def test_a_part_that_cannot_be_asked_anew_says_so_and_recovers(at_desk: Visit) -> None:
    """What was there stays with a word on its age, and the word goes with the next answer."""
    page = at_desk.page
    await at_desk.go("health")
    await expect(page.get_by_text("Everything answers.")).to_be_visible()

    async def cut(route: Route) -> None:
        await route.abort()

    await page.route("**/readyz", cut)
    await expect(page.get_by_role("alert")).to_contain_text("Not asked anew")
    await expect(page.get_by_text("Everything answers.")).to_be_visible()
    await page.unroute("**/readyz")
    await expect(page.get_by_role("alert")).to_have_count(0)
    at_desk.complaints.clear()  # the browser notes each request that was cut


async def test_a_person_of_another_browser_without_the_cookie_has_nothing(at_desk: Visit, stack: StackFixture) -> None:
    """Half of the refresh token lies in the page's storage, half in a cookie: each alone is noise."""
    (cookie,) = await at_desk.context.cookies(f"{stack.url}/console/session")
    assert (cookie.get("httpOnly"), cookie.get("sameSite"), cookie.get("path")) == (True, "Strict", "/console/session")
    assert await at_desk.page.evaluate("document.cookie") == ""
    half = await at_desk.page.evaluate("localStorage.getItem('hookbus.half')")
    assert half
    async with httpx.AsyncClient(base_url=stack.url) as client:
        alone = await client.post("/console/session/refresh", json={"half": half})
        assert alone.status_code == 401
        for name in (half, cookie.get("value")):
            raw = await client.post("/api/v1/session/refresh", json={"refresh_token": name})
            assert raw.status_code == 401
        name, value = str(cookie.get("name")), str(cookie.get("value"))
        both = await client.post("/console/session/refresh", json={"half": half}, headers={"cookie": f"{name}={value}"})
        assert both.status_code == 200
        assert "refresh_token" not in both.json()
        assert both.json()["half"] != half


async def _known(stack: StackFixture, session: str) -> bool:
    async with httpx.AsyncClient(base_url=stack.url, headers=stack.headers) as client:
        return (await client.get(f"/api/v1/sessions/{session}")).status_code == 200


async def _logged(stack: StackFixture, agent: str) -> bool:
    return bool((await api(stack, "GET", f"audit/entries?agent={agent}"))["entries"])


async def _in_log(stack: StackFixture, event: str) -> bool:
    async with httpx.AsyncClient(base_url=stack.url, headers=stack.headers, timeout=30) as client:
        return (await client.get(f"/api/v1/audit/receipts/{event}")).status_code == 200


async def _traced(stack: StackFixture, event: str) -> bool:
    """Whether the trace holds the budget's part, the last one to arrive."""
    async with httpx.AsyncClient(base_url=stack.url, headers=stack.headers) as client:
        answer = await client.get(f"/api/v1/traces/{event}")
    return answer.status_code == 200 and {"gateway", "session", "budget"} <= {
        span["service"] for span in answer.json()["spans"]
    }
