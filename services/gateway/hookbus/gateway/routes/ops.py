"""Documents about the API itself: OpenAPI, AsyncAPI, and the page for people, which loads nothing from elsewhere."""

from functools import cache
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from hookbus.gateway.asyncapi import asyncapi_document
from hookbus.gateway.plain import PlainRoute
from hookbus.gateway.security_headers import CONTENT_SECURITY_POLICY_DOCS

ASSETS_PACKAGE: Final = "fastapi_offline"
"""Ships Swagger UI inside its wheel; only its files are used."""
ASSETS: Final = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css", "favicon.png": "image/png"}
ASSET_CACHE: Final = "public, max-age=86400"

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>hookbus API</title>
<link rel="icon" href="/docs/assets/favicon.png">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/assets/start.js"></script>
</body>
</html>
"""
_START: Final = """SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis], layout: "BaseLayout", validatorUrl: null});
"""


async def docs(_request: Request) -> Response:
    """The page for people."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY_DOCS.decode()})


async def docs_start(_request: Request) -> Response:
    """What starts the page: a file, because its policy allows no inline script."""
    return Response(_START, media_type="text/javascript", headers={"Cache-Control": ASSET_CACHE})


def _asset_route(name: str, media_type: str) -> Route:
    async def asset(_request: Request) -> Response:
        return Response(_asset(name), media_type=media_type, headers={"Cache-Control": ASSET_CACHE})

    return PlainRoute(f"/docs/assets/{name}", asset, methods=["GET"])


@cache
def _asset(name: str) -> bytes:
    return files(ASSETS_PACKAGE).joinpath("static", name).read_bytes()


async def asyncapi(_request: Request) -> Response:
    """What travels on the bus, as an AsyncAPI 3 document."""
    return JSONResponse(asyncapi_document())


def routes() -> list[Route]:
    """All routes of this file."""
    return [
        PlainRoute("/docs", docs, methods=["GET"]),
        PlainRoute("/docs/assets/start.js", docs_start, methods=["GET"]),
        *(_asset_route(name, media_type) for name, media_type in ASSETS.items()),
        PlainRoute("/asyncapi.json", asyncapi, methods=["GET"]),
    ]
