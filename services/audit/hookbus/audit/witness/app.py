"""The witness over HTTP."""

import time
from typing import Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hookbus.audit.witness.domain import REQUEST_BYTES_MAX, SIZE_MEDIA_TYPE, RefusedError
from hookbus.audit.witness.keeper import Keeper

PATH: Final = "/add-checkpoint"


def application(keeper: Keeper) -> Starlette:
    """``POST /add-checkpoint``, and ``GET /`` with the witness's public key."""

    async def add_checkpoint(request: Request) -> Response:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > REQUEST_BYTES_MAX:
                return PlainTextResponse("the request is too large\n", status_code=413)
        try:
            line = await run_in_threadpool(keeper.add_checkpoint, bytes(body).decode(), int(time.time()))
        except UnicodeDecodeError:
            return PlainTextResponse("the request is not UTF-8\n", status_code=400)
        except RefusedError as error:
            if error.size is not None:
                return Response(f"{error.size}\n", status_code=error.status, media_type=SIZE_MEDIA_TYPE)
            return PlainTextResponse(f"{error.text}\n", status_code=error.status)
        return PlainTextResponse(line)

    async def verifier_key(_request: Request) -> Response:
        return PlainTextResponse(keeper.verifier_key.text + "\n")

    return Starlette(routes=[Route(PATH, add_checkpoint, methods=["POST"]), Route("/", verifier_key, methods=["GET"])])
