"""Every page of the console in both themes and on a phone: readable by everybody, and hostile text stays text."""

from dataclasses import dataclass

import pytest
from playwright.async_api import Browser, expect
from support import console_people
from support.axe import findings
from support.browser import DESK, PHONE, TIMEOUT_S, Visit, visit
from support.bus import bus_settings_of
from support.console_people import Login, api, decide, emit, unique
from support.stack import StackFixture
from support.waiting import eventually

from hookbus.contracts.people import Role
from hookbus.platform.bus.connection import create_broker

HOSTILE = "<img src=x onerror=\"window.hostile='ran'\"><script>window.hostile='ran'</script>"
WAIT_S = 60
pytestmark = pytest.mark.timeout(TIMEOUT_S)


@dataclass(frozen=True)
class Scene:
    """What the pages show."""

    admin: Login
    agent: str
    session: str
    event: str
    deadletter: int


@pytest.fixture(scope="module")
async def scene(stack: StackFixture) -> Scene:
    """An agent whose every free text is an attack, and a message nobody can read."""
    login, _ = await console_people.settled(stack, Role.ADMIN)
    agent, session = unique("hostile"), unique("s")
    limits = {
        "limits": [
            {"unit": "tokens", "window": "hour", "amount": 5000},
            {"unit": "usd", "window": "day", "amount": "5"},
        ]
    }
    await api(stack, "POST", f"budget/init/{agent}", {**limits, "project": unique("shop"), "team": unique("web")})
    decided = await decide(stack, agent, session, f"echo '{HOSTILE}'")
    await decide(stack, agent, session, "cat /etc/shadow")
    await emit(stack, "usage", agent, {"model": HOSTILE[:60], "input_tokens": 4000, "output_tokens": 300}, session)
    await emit(stack, "notification", agent, {"note": HOSTILE}, session)
    await emit(stack, "prompt", agent, {"prompt": HOSTILE, HOSTILE[:20]: HOSTILE}, session)
    await eventually(lambda: _charged(stack, agent), WAIT_S)
    await api(stack, "POST", f"sessions/{session}/kill", {"reason": HOSTILE})
    seq = await _unreadable(stack, agent)
    return Scene(login, agent, session, decided["event_id"], seq)


async def _charged(stack: StackFixture, agent: str) -> bool:
    status = await api(stack, "GET", f"budget/status/{agent}")
    return any(float(limit["spent"]) > 0 for limit in status["remaining"])


async def _unreadable(stack: StackFixture, agent: str) -> int:
    """Put what is no event on the bus; the number of the first dead letter it became."""
    broker = create_broker("test", bus_settings_of(stack, "gateway"))
    await broker.connect()
    try:
        await broker.publish(HOSTILE.encode(), f"hooks.prompt.{agent}", stream="HOOKS", timeout=10)
    finally:
        await broker.stop()
    found: list[int] = []

    async def arrived() -> bool:
        letters = (await api(stack, "GET", "deadletters"))["deadletters"]
        found[:] = [one["seq"] for one in letters if one["subject"].endswith(agent)]
        return bool(found)

    await eventually(arrived, WAIT_S)
    return found[0]


def pages(scene: Scene) -> dict[str, str]:
    """Heading by path."""
    return {
        "": "Now",
        "budgets": "Budgets",
        f"budgets/agent/{scene.agent}": scene.agent,
        f"sessions?agent={scene.agent}": "Sessions",
        f"sessions/{scene.session}": f"Session {scene.session}",
        f"audit?agent={scene.agent}": "Audit",
        f"audit/{scene.event}": "Entry",
        "security": "Security events",
        "traces": "Traces",
        f"traces/{scene.event}": "Trace",
        "deadletters": "Dead letters",
        f"deadletters/{scene.deadletter}": f"Dead letter {scene.deadletter}",
        "people": "People",
        "keys": "API keys",
        "health": "Health",
        "account": "Your account",
    }


def _name(path: str, scene: Scene) -> str:
    word = path.replace(scene.agent, "one").replace(scene.session, "one").replace(scene.event, "one")
    return word.replace(str(scene.deadletter), "one").replace("?agent=one", "").replace("/", "-") or "now"


@pytest.mark.parametrize(
    ("theme", "size", "judged"),
    [("light", DESK, True), ("dark", PHONE, True), ("dark", DESK, False), ("light", PHONE, False)],
    ids=["light-desk", "dark-phone", "dark-desk", "light-phone"],
)
async def test_every_page_is_readable_and_runs_nothing_an_agent_sent(
    browser: Browser, stack: StackFixture, scene: Scene, *, theme: str, size: tuple[int, int], judged: bool
) -> None:
    """No complaint of the browser, no serious finding of axe (asked once for each theme and each width), nothing wider
    than the screen, no element from text."""
    width = size[0]
    async with visit(browser, stack.url, size=size, theme=theme) as seen:
        await seen.open()
        if judged:
            assert await findings(seen.page) == []
        await seen.sign_in(scene.admin.username, scene.admin.password)
        await seen.heading("Now")
        for path, heading in pages(scene).items():
            await seen.go(path)
            await seen.heading(heading)
            await seen.settled()
            await expect(seen.page.locator("#live")).to_have_text("live")
            await seen.picture(f"{_name(path, scene)}-{theme}-{width}")
            if judged:
                assert await findings(seen.page) == [], path
            assert await seen.page.evaluate("document.documentElement.scrollWidth") <= width, path
            assert await seen.page.evaluate("window.hostile") is None, path
            assert await seen.page.locator("main img, main script, main iframe").count() == 0, path
        await seen.open(f"sessions/{scene.session}")
        await expect(seen.page.get_by_text(HOSTILE)).to_be_visible()


async def test_the_console_is_used_by_keyboard_alone(browser: Browser, stack: StackFixture, scene: Scene) -> None:
    """Skip link, menu, a page, a question closed by Escape: never a pointer, and the focus is always seen."""
    async with visit(browser, stack.url) as seen:
        page = seen.page
        await seen.open()
        await page.keyboard.type(scene.admin.username)  # the field of the name has the focus
        await page.keyboard.press("Tab")
        await page.keyboard.type(scene.admin.password)
        await page.keyboard.press("Enter")
        await seen.heading("Now")
        await seen.open(f"sessions/{scene.session}")
        await seen.settled()
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await page.keyboard.press("Enter")
        for _ in range(20):
            await page.keyboard.press("Tab")
            if await page.evaluate("document.activeElement.textContent") == "Revive the session":
                break
        revive = page.get_by_role("button", name="Revive the session")
        await expect(revive).to_be_focused()
        assert await revive.evaluate("(element) => getComputedStyle(element).outlineStyle") != "none"
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog")).to_be_visible()
        await expect(page.get_by_label("Why")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(revive).to_be_focused()


async def test_the_theme_is_a_choice_that_stays(browser: Browser, stack: StackFixture, scene: Scene) -> None:
    async with visit(browser, stack.url, theme="light") as seen:
        await seen.sign_in(scene.admin.username, scene.admin.password)
        await seen.heading("Now")
        light = await _paper(seen)
        button = seen.page.get_by_role("button", name="Theme:")
        await button.click()
        await button.click()
        await expect(button).to_have_text("Theme: dark")
        assert await _paper(seen) != light
        await seen.page.reload()
        await seen.heading("Now")
        assert await _paper(seen) != light


async def _paper(seen: Visit) -> str:
    return str(await seen.page.evaluate("getComputedStyle(document.body).backgroundColor"))


async def test_a_dead_letter_is_given_up(browser: Browser, stack: StackFixture, scene: Scene) -> None:
    """Looked at, dropped, gone from the list."""
    seq = await _unreadable(stack, unique("hostile"))
    async with visit(browser, stack.url) as seen:
        await seen.sign_in(scene.admin.username, scene.admin.password)
        await seen.heading("Now")
        await seen.open(f"deadletters/{seq}")
        await expect(seen.page.get_by_text(HOSTILE)).to_be_visible()
        await seen.page.get_by_role("button", name="Give it up").click()
        await seen.page.get_by_role("dialog").get_by_role("button", name="Give it up").click()
        await seen.heading("Dead letters")
        await seen.settled()
        await expect(seen.page.get_by_role("link", name=str(seq), exact=True)).to_have_count(0)
