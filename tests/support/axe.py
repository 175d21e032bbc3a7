"""What axe-core, which ships in a wheel, finds on a page that some people could not use."""

from typing import Any, cast

from axe_playwright_python.async_playwright import Axe  # pyright: ignore[reportMissingTypeStubs]  # it has none
from playwright.async_api import Page

GRAVE = {"serious", "critical"}


async def findings(page: Page) -> list[str]:
    """Each serious or critical violation, with the elements it is about."""
    results = await Axe().run(page)
    violations = cast("list[dict[str, Any]]", results.response["violations"])
    return [
        f"{one['id']} ({one['impact']}): {one['help']}: {[node['target'] for node in one['nodes']][:3]}"
        for one in violations
        if one["impact"] in GRAVE
    ]
