"""A real browser for the console: Debian's Chromium, driven by Playwright, which brings its driver in its wheel."""

import os
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect

CHROMIUM = "/usr/bin/chromium"
INSTALL_TIMEOUT_S = 240
PATIENCE_MS = 30_000
"""How long a page may take for anything, on a busy machine."""
ARTIFACTS = Path(os.environ.get("HOOKBUS_ARTIFACTS_DIR", Path(__file__).parents[2] / "build" / "console"))
DESK = (1280, 850)
PHONE = (390, 844)
TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation",
  (event) => console.error(`policy violation: ${event.violatedDirective} ${event.blockedURI}`));
"""
TIMEOUT_S = 400
"""Of one test: a stack and a browser that start on a busy machine count; on a quiet one it is a twentieth."""
STATUS_NOTED = "Failed to load resource: the server responded with a status of 4"
"""Chromium notes each 4xx answer as an error of the page; the API says "no" with those."""

expect.set_options(timeout=PATIENCE_MS)


def chromium_path() -> str:
    """Where Chromium is; installs it where that can be done, else skips the test."""
    found = os.environ.get("HOOKBUS_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found:
        return found
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("no Chromium here, and only root on Debian can install it: apt-get install chromium")
    script = "apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium"
    try:
        done = subprocess.run(
            ["sh", "-c", script],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"Chromium was not installed within {INSTALL_TIMEOUT_S} s")
    if done.returncode != 0 or not Path(CHROMIUM).exists():
        pytest.skip("Chromium cannot be installed here: apt-get install chromium failed")
    return CHROMIUM


@asynccontextmanager
async def chromium() -> AsyncGenerator[Browser]:
    """One browser process. Chromium's own sandbox does not run as root."""
    path = chromium_path()
    async with async_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = await playwright.chromium.launch(executable_path=path, args=["--disable-dev-shm-usage", *sandbox])
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Visit:
    """A page in a window of its own, and everything it complained about."""

    page: Page
    context: BrowserContext
    url: str
    complaints: list[str] = field(default_factory=list[str])

    async def open(self, path: str = "") -> None:
        """Load a page of the console by its address."""
        await self.page.goto(f"{self.url}/console{'/' if path else ''}{path}")

    async def go(self, path: str) -> None:
        """Show a page as the browser's back button does: without a load."""
        target = f"/console{'/' if path else ''}{path}"
        await self.page.evaluate(
            "(target) => { history.pushState(null, '', target); dispatchEvent(new PopStateEvent('popstate')); }", target
        )

    async def sign_in(self, username: str, password: str) -> None:
        """Through the form; returns when the answer to it is there."""
        await self.open()
        await self.page.get_by_label("Name", exact=True).fill(username)
        await self.page.get_by_label("Password", exact=True).fill(password)
        await self.page.get_by_role("button", name="Sign in").click()

    async def heading(self, name: str) -> None:
        """Wait for a page's heading."""
        await expect(self.page.get_by_role("heading", level=1, name=name, exact=True)).to_be_visible()

    async def settled(self) -> None:
        """Wait until nothing on the page loads any more."""
        await expect(self.page.locator("[aria-busy=true]")).to_have_count(0)
        await expect(self.page.locator(".loading, .skeleton")).to_have_count(0)

    async def picture(self, name: str) -> None:
        """Keep a screenshot for people to look at."""
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=ARTIFACTS / f"{name}.png")


@asynccontextmanager
async def profile(
    browser: Browser, *, size: tuple[int, int] = DESK, theme: str = "light"
) -> AsyncGenerator[BrowserContext]:
    """A browser that remembers nothing of others."""
    width, height = size
    context = await browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if theme == "dark" else "light"
    )
    context.set_default_timeout(PATIENCE_MS)
    await context.add_init_script(TELL_VIOLATIONS)
    try:
        yield context
    finally:
        await context.close()


@asynccontextmanager
async def visit(
    browser: Browser, url: str, *, size: tuple[int, int] = DESK, theme: str = "light"
) -> AsyncGenerator[Visit]:
    """A fresh window in a browser that remembers nothing; at its end the page must have complained of nothing."""
    async with profile(browser, size=size, theme=theme) as context, tab(context, url) as seen:
        yield seen


@asynccontextmanager
async def tab(context: BrowserContext, url: str) -> AsyncGenerator[Visit]:
    """A tab; at its end the page must have complained of nothing."""
    page = await context.new_page()
    seen = Visit(page, context, url)

    def on_console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(STATUS_NOTED):
            seen.complaints.append(message.text)

    page.on("console", on_console)
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    try:
        yield seen
        assert seen.complaints == []
    finally:
        await page.close()
