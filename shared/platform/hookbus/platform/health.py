"""Health: alive means the process answers; ready means each thing it stands on answered just now."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

CHECK_TIMEOUT_S: Final = 1.5
"""Below two seconds, so that a prober learns which dependency is away instead of giving up."""


@dataclass(frozen=True)
class Check:
    """One dependency: ``probe`` returns when it works and raises when it does not."""

    name: str
    probe: Callable[[], Awaitable[None]]


async def failures(checks: Sequence[Check]) -> dict[str, str]:
    """Name -> what is wrong, for the checks that fail; empty when ready."""

    async def run(check: Check) -> tuple[str, str] | None:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await check.probe()
        except TimeoutError:
            return check.name, f"no answer within {CHECK_TIMEOUT_S} s"
        except Exception as error:  # noqa: BLE001 - whatever a probe raises means "away"
            # The type alone: a driver's message may hold an address or a name that is nobody's business here.
            return check.name, type(error).__name__
        return None

    results = await asyncio.gather(*(run(check) for check in checks))
    return dict(result for result in results if result is not None)


def routes(checks: Sequence[Check]) -> list[Route]:
    """``/livez``, ``/readyz`` and ``/metrics``."""

    async def livez(_request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(_request: Request) -> Response:
        away = await failures(checks)
        states = {check.name: away.get(check.name, "ok") for check in checks}
        return JSONResponse(
            {"status": "unready" if away else "ready", "checks": states}, status_code=503 if away else 200
        )

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return [
        Route("/livez", livez, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]
