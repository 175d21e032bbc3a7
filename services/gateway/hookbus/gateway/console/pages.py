"""``/console``: one page for every path below it, and the files it is made of."""

from typing import Final

from jinja2 import Environment as Templates
from jinja2 import PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.gateway.console.assets import Assets
from hookbus.gateway.plain import PlainRoute

PATH: Final = "/console"
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""No inline script or style, nothing from elsewhere, and no way at all to turn text into HTML: with no Trusted Types
policy allowed, ``innerHTML`` and its like throw."""
ASSET_CACHE: Final = "public, max-age=31536000, immutable"
PAGE_CACHE: Final = "no-cache"
NAV: Final = (
    ("", "Now"),
    ("budgets", "Budgets"),
    ("sessions", "Sessions"),
    ("audit", "Audit"),
    ("security", "Security"),
    ("traces", "Traces"),
    ("deadletters", "Dead letters"),
    ("people", "People"),
    ("keys", "Keys"),
    ("health", "Health"),
)
"""Path below ``/console`` and title of each page, in the order of the menu."""


def routes() -> list[Route]:
    """The page, its files, and the page again for every other path, which the page itself makes sense of."""
    assets = Assets.load()
    templates = Templates(
        loader=PackageLoader("hookbus.gateway.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = templates.get_template("console.html").render(assets=f"{PATH}/assets/{assets.version}", base=PATH, pages=NAV)

    async def shell(_request: Request) -> Response:
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Cache-Control": PAGE_CACHE}
        return HTMLResponse(page, headers=headers)

    async def file(request: Request) -> Response:
        asset = assets.by_path.get(request.path_params["path"])
        if asset is None or request.path_params["version"] != assets.version:
            raise ProblemError(ProblemCode.NOT_FOUND, "no such file")
        return Response(asset.body, media_type=asset.media_type, headers={"Cache-Control": ASSET_CACHE})

    return [
        PlainRoute(f"{PATH}/assets/{{version}}/{{path:path}}", file, methods=["GET"]),
        PlainRoute(PATH, shell, methods=["GET"]),
        PlainRoute(f"{PATH}/{{path:path}}", shell, methods=["GET"]),
    ]
