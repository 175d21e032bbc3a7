"""Fixtures of tests that sit at the console: a browser for a file, an administrator signed in, a new tab."""

from collections.abc import AsyncGenerator

import pytest
from playwright.async_api import Browser, BrowserContext

from hookbus.contracts.people import Role
from support import console_people
from support.browser import Visit, chromium, profile, tab
from support.stack import StackFixture


@pytest.fixture(scope="module")
async def browser() -> AsyncGenerator[Browser]:
    async with chromium() as running:
        yield running


@pytest.fixture(scope="module")
async def desk(browser: Browser, stack: StackFixture) -> AsyncGenerator[BrowserContext]:
    """A browser in which an administrator is signed in."""
    login, _ = await console_people.settled(stack, Role.ADMIN)
    async with profile(browser) as context:
        async with tab(context, stack.url) as seen:
            await seen.sign_in(login.username, login.password)
            await seen.heading("Now")
        yield context


@pytest.fixture
async def at_desk(desk: BrowserContext, stack: StackFixture) -> AsyncGenerator[Visit]:
    """A new tab there, on the first page."""
    async with tab(desk, stack.url) as seen:
        await seen.open()
        await seen.heading("Now")
        yield seen
