"""The console's pages about people and programs: second factors, keys, users, a session that must be confirmed."""

import json
import re
import time

import httpx
import pytest
from playwright.async_api import Browser, Page, Request, expect
from pyotp.totp import TOTP
from support import console_people
from support.browser import TIMEOUT_S, Visit, visit
from support.console_people import PASSWORD, api, unique
from support.stack import StackFixture
from support.waiting import eventually

from hookbus.contracts.people import Role

WAIT_S = 60
ELSEWHERE = "127.0.77.1"
"""Another network as far as the gateway can tell."""
pytestmark = pytest.mark.timeout(TIMEOUT_S)


async def test_a_second_factor_is_set_up_asked_for_and_taken_away(browser: Browser, stack: StackFixture) -> None:
    """A wrong code changes nothing and signs nobody out; while one counts, another cannot be put in its place."""
    login, token = await console_people.settled(stack, Role.OPERATOR)
    async with visit(browser, stack.url) as seen:
        page = seen.page
        await seen.sign_in(login.username, login.password)
        await seen.heading("Now")
        await page.get_by_role("link", name="Your account").click()
        await page.get_by_role("button", name="Set it up").click()
        await expect(page.get_by_role("img", name="QR code")).to_be_visible()
        address = await page.get_by_role("link", name="open it in one on this device").get_attribute("href")
        assert address is not None
        await page.get_by_text("Type it in instead").click()
        secret = (await page.locator("code.secret").inner_text()).replace(" ", "")
        assert f"secret={secret}&" in address
        device = TOTP(secret)
        code = page.get_by_label("The code it shows now")
        await code.fill(_wrong(device))
        await page.get_by_role("button", name="Confirm").click()
        await expect(page.get_by_role("alert")).to_contain_text("one-time code is not valid")
        assert not (await api(stack, "GET", "session/account", token=token))["totp"]
        earlier = device.at(int(time.time()) - device.interval)
        await code.fill(earlier)
        await page.get_by_role("button", name="Confirm").click()
        await expect(page.get_by_label("A code, to take it away")).to_be_visible()
        async with httpx.AsyncClient(base_url=stack.url, headers={"authorization": f"Bearer {token}"}) as client:
            again = await client.post("/api/v1/session/totp")
            assert (again.status_code, again.json()["code"]) == (409, "conflict")
        await page.get_by_role("button", name="Sign out").click()
        await seen.sign_in(login.username, login.password)
        await page.get_by_label("One-time code").fill(device.now())
        await page.get_by_role("button", name="Sign in").click()
        await seen.heading("Now")
        await page.get_by_role("link", name="Your account").click()
        await page.get_by_label("A code, to take it away").fill(_wrong(device))
        await page.get_by_role("button", name="Take it away").click()
        await expect(page.get_by_role("alert")).to_contain_text("one-time code is not valid")
        later = device.at(int(time.time()) + device.interval)
        await page.get_by_label("A code, to take it away").fill(later)
        await page.get_by_role("button", name="Take it away").click()
        await expect(page.get_by_role("button", name="Set it up")).to_be_visible()
    await _logged(stack, login.username, {"totp_enabled", "totp_removed"})


def _wrong(device: TOTP) -> str:
    near = {device.at(int(time.time()) + step * device.interval) for step in range(-3, 4)}
    return next(code for code in ("000000", "111111", "222222") if code not in near and code.isdigit())


async def test_a_key_is_shown_once_works_for_what_it_may_and_is_revoked(at_desk: Visit, stack: StackFixture) -> None:
    name, page = unique("ci"), at_desk.page
    await page.get_by_role("navigation", name="Pages").get_by_role("link", name="Keys").click()
    await at_desk.heading("API keys")
    await at_desk.settled()
    await page.get_by_label("What it is for").fill(name)
    await page.get_by_role("button", name="Make the key").click()
    key = await page.locator("code.secret").inner_text()
    await expect(page.get_by_role("table", name="API keys").get_by_role("row").filter(has_text=name)).to_contain_text(
        "events"
    )
    async with httpx.AsyncClient(base_url=stack.url, headers={"authorization": f"Bearer {key}"}) as client:
        event = {"kind": "notification", "agent_id": unique("ci"), "data": {"note": "built"}}
        assert (await client.post("/api/v1/events", json=event)).status_code == 202
        assert (await client.get("/api/v1/audit/entries")).status_code == 403
        await page.reload()
        await at_desk.settled()
        assert key not in await page.content()
        await page.get_by_role("button", name=f"Revoke {name}").click()
        await page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
        assert (await client.get("/api/v1/session/me")).status_code == 200, "a question that was closed does nothing"
        await page.get_by_role("button", name=f"Revoke {name}").click()
        await page.get_by_role("dialog").get_by_role("button", name="Revoke the key").click()
        row = page.get_by_role("table", name="API keys").get_by_role("row").filter(has_text=name)
        await expect(row).to_contain_text("revoked")

        async def refused() -> bool:
            return (await client.get("/api/v1/session/me")).status_code == 401

        await eventually(refused, WAIT_S)


async def test_a_user_is_made_let_back_in_and_disabled(at_desk: Visit, stack: StackFixture) -> None:
    """Each one-time password opens once, the newest alone; a disabled user is out until somebody lets them in."""
    name, page = unique("guest"), at_desk.page
    await at_desk.open("people")
    await at_desk.settled()
    await page.get_by_label("Name", exact=True).fill(name)
    await page.get_by_role("combobox", name="As").select_option("auditor")
    await page.get_by_role("button", name="Make the user").click()
    row = page.get_by_role("table", name="People").get_by_role("row").filter(has_text=name)
    await expect(row).to_contain_text("auditor")
    first = await page.locator("code.secret").inner_text()
    await page.get_by_role("button", name=f"New one-time password for {name}").click()
    await page.get_by_role("dialog").get_by_role("button", name="Make a new password").click()
    await expect(page.locator("code.secret")).not_to_have_text(first)
    second = await page.locator("code.secret").inner_text()
    assert await _log_in(stack, name, first) == 401
    assert await _log_in(stack, name, second) == 200
    await page.get_by_role("button", name=f"Disable {name}").click()
    await page.get_by_role("dialog").get_by_role("button", name="Disable").click()
    await expect(row).to_contain_text("disabled")
    assert await _log_in(stack, name, second) == 401
    await _logged(stack, name, {"user_created", "user_reset", "user_disabled"})


async def _log_in(stack: StackFixture, username: str, password: str) -> int:
    async with httpx.AsyncClient(base_url=stack.url, timeout=30) as client:
        answer = await client.post("/api/v1/session/login", json={"username": username, "password": password})
    return answer.status_code


async def test_people_and_keys_are_an_administrators(browser: Browser, stack: StackFixture) -> None:
    login, _ = await console_people.settled(stack, Role.OPERATOR)
    async with visit(browser, stack.url) as seen:
        await seen.sign_in(login.username, login.password)
        await seen.heading("Now")
        for path in ("keys", "people"):
            await expect(seen.page.locator(f"#nav a[data-page={path}]")).to_be_hidden()
            await seen.open(path)
            await expect(seen.page.get_by_role("alert")).to_contain_text("Your role does not open this page")


async def test_a_session_used_elsewhere_is_confirmed_and_goes_on(browser: Browser, stack: StackFixture) -> None:
    """A copy of the token in another client on another network: the console asks for the password where it stands,
    though nobody clicked, and the copy is dead once it is given."""
    login, _ = await console_people.settled(stack, Role.ADMIN)
    async with visit(browser, stack.url) as seen:
        page = seen.page
        tokens: list[str] = []
        page.on("request", lambda request: _keep_token(request, tokens))
        await seen.sign_in(login.username, login.password)
        await seen.heading("Now")
        await expect(page.locator("#live")).to_have_text("live")
        transport = httpx.AsyncHTTPTransport(local_address=ELSEWHERE)
        copy = {"authorization": f"Bearer {tokens[-1]}", "user-agent": "curl/8.5.0"}
        async with httpx.AsyncClient(base_url=stack.url, transport=transport, headers=copy) as thief:
            stolen = await thief.get("/api/v1/sessions")
            assert (stolen.status_code, stolen.json()["code"]) == (403, "confirm_required")
            await seen.heading("Is it still you?")
            await _confirm(page, "not the password at all")
            await expect(page.get_by_role("alert")).to_contain_text("not valid")
            await _confirm(page, PASSWORD)
            await seen.heading("Now")
            await expect(page.locator("#live")).to_have_text("live")
            await seen.go("sessions")
            await seen.heading("Sessions")
            await seen.settled()
            assert (await thief.get("/api/v1/sessions")).status_code == 401


async def test_a_reload_of_a_session_to_be_confirmed_asks_to_sign_in_again(
    browser: Browser, stack: StackFixture
) -> None:
    """Without an access token there is nothing to confirm with; the page says why it asks."""
    login, _ = await console_people.settled(stack, Role.VIEWER)
    async with visit(browser, stack.url) as seen:
        tokens: list[str] = []
        seen.page.on("request", lambda request: _keep_token(request, tokens))
        await seen.sign_in(login.username, login.password)
        await seen.heading("Now")
        transport = httpx.AsyncHTTPTransport(local_address=ELSEWHERE)
        copy = {"authorization": f"Bearer {tokens[-1]}", "user-agent": "curl/8.5.0"}
        async with httpx.AsyncClient(base_url=stack.url, transport=transport, headers=copy) as thief:
            assert (await thief.get("/api/v1/budget/list")).status_code == 403
        await seen.page.reload()
        await seen.heading("Sign in to hookbus")
        await expect(seen.page.get_by_text("went on in another browser or network")).to_be_visible()


async def test_the_places_that_keep_checkpoints_are_shown_with_their_trouble(
    at_desk: Visit, stack: StackFixture
) -> None:
    """The anchor file cannot be written for a while: the page says so, and that it has everything again after it."""
    anchor, page = stack.anchor_file, at_desk.page
    kept = page.get_by_role("listitem").filter(has_text=str(anchor))
    await at_desk.open("audit")
    await expect(kept).to_contain_text("Holds the checkpoint over")
    aside = anchor.with_suffix(".aside")
    anchor.rename(aside)
    anchor.mkdir()
    try:
        await api(stack, "GET", "audit/entries")  # a read is an entry of the log: there is a new checkpoint to keep
        await expect(kept).to_contain_text("Is a directory", timeout=WAIT_S * 1000)
        await expect(kept).to_contain_text(re.compile(r"\d+ entr(y|ies) behind"))
    finally:
        anchor.rmdir()
        aside.rename(anchor)
    await expect(kept).not_to_contain_text("Is a directory", timeout=WAIT_S * 1000)
    assert json.loads(anchor.read_text().splitlines()[-1])["size"] > 0


def _keep_token(request: Request, tokens: list[str]) -> None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme == "Bearer":
        tokens.append(token)


async def _confirm(page: Page, password: str) -> None:
    await page.get_by_label("Password", exact=True).fill(password)
    await page.get_by_role("button", name="Go on").click()


async def _logged(stack: StackFixture, username: str, codes: set[str]) -> None:
    """Wait until the log holds each of these about a person."""

    async def logged() -> bool:
        reply = await api(stack, "GET", "audit/entries?stream=security&order=newest&limit=200")
        events = [entry.get("event", {}) for entry in reply["entries"]]
        about = [event for event in events if event.get("data", {}).get("username") == username]
        return codes <= {event["type"].split(".")[-2] for event in about}

    await eventually(logged, WAIT_S)
