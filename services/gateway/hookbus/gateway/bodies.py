"""Request bodies: capped while they stream in, then parsed strictly.

Nothing here trusts ``Content-Length``; it only lets a body that announces itself as too large be refused unread.
"""

import asyncio
from typing import Final, NoReturn

from starlette.requests import Request

from hookbus.contracts import limits
from hookbus.contracts.events import MEDIA_TYPE_JSON
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.gateway import strict_json
from hookbus.gateway.strict_json import JsonTree

BODY_READ_TIMEOUT_S: Final = 20
"""For the whole body: a sender that drips holds a connection no longer."""
PARSE_INLINE_BYTES_MAX: Final = 128 * 1024
"""A larger body is parsed in a thread, so that others are answered meanwhile."""

_WHITESPACE: Final = b" \t\r\n"


def media_type(request: Request) -> str:
    """The content type without its parameters.

    Raises:
        ProblemError: ``media_type_unsupported`` for an encoded body or a character set other than UTF-8.
    """
    name, _, parameters = request.headers.get("content-type", "").partition(";")
    for parameter in parameters.split(";"):
        key, _, value = parameter.strip().partition("=")
        if key.lower() == "charset" and value.strip('" ').lower() not in ("utf-8", "utf8", "us-ascii"):
            unsupported("the character set must be UTF-8")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        unsupported("an encoded (compressed) body is not accepted")
    return name.strip().lower()


def unsupported(detail: str) -> NoReturn:
    """Answer 415."""
    raise ProblemError(ProblemCode.MEDIA_TYPE_UNSUPPORTED, detail)


async def read(request: Request, bytes_max: int, *, list_bytes_max: int | None = None) -> bytes:
    """The body, at most ``bytes_max`` bytes; at most ``list_bytes_max`` where it begins as a JSON array.

    Raises:
        ProblemError: ``too_large``; ``not_json`` when it does not arrive in time.
    """
    chunks: list[bytes] = []
    size = 0
    allowed = bytes_max if list_bytes_max is None else max(bytes_max, list_bytes_max)
    decided = list_bytes_max is None
    _refuse_announced(request, allowed)
    try:
        async with asyncio.timeout(BODY_READ_TIMEOUT_S):
            async for chunk in request.stream():
                size += len(chunk)
                chunks.append(chunk)
                if not decided and (start := chunk.lstrip(_WHITESPACE)):
                    decided = True
                    allowed = allowed if start.startswith(b"[") else bytes_max
                    _refuse_announced(request, allowed)
                if size > allowed:
                    _too_large(allowed)
    except TimeoutError:
        strict_json.refuse(f"the body did not arrive within {BODY_READ_TIMEOUT_S} s")
    return b"".join(chunks)


async def read_head(request: Request, kept_bytes_max: int, taken_bytes_max: int) -> tuple[bytes, bool]:
    """The body's first ``kept_bytes_max`` bytes, and whether that is all of it; what is beyond is taken and dropped.

    Raises:
        ProblemError: ``too_large`` beyond ``taken_bytes_max``; ``not_json`` when it does not arrive in time.
    """
    kept = bytearray()
    size = 0
    _refuse_announced(request, taken_bytes_max)
    try:
        async with asyncio.timeout(BODY_READ_TIMEOUT_S):
            async for chunk in request.stream():
                size += len(chunk)
                kept += chunk[: kept_bytes_max - len(kept)]
                if size > taken_bytes_max:
                    _too_large(taken_bytes_max)
    except TimeoutError:
        strict_json.refuse(f"the body did not arrive within {BODY_READ_TIMEOUT_S} s")
    return bytes(kept), size == len(kept)


def _refuse_announced(request: Request, allowed: int) -> None:
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > allowed:
        _too_large(allowed)


def _too_large(allowed: int) -> NoReturn:
    raise ProblemError(ProblemCode.TOO_LARGE, f"the body is over {allowed} bytes")


async def parse(body: bytes, *, exact_numbers: bool = False) -> JsonTree:
    """Strict JSON; see :func:`hookbus.gateway.strict_json.parse`."""
    if len(body) <= PARSE_INLINE_BYTES_MAX:
        return strict_json.parse(body, exact_numbers=exact_numbers)
    return await asyncio.to_thread(strict_json.parse, body, exact_numbers=exact_numbers)


async def read_json(request: Request, *, optional: bool = False) -> JsonTree:
    """The JSON body of an API call, fractions read exactly; with ``optional`` an empty body is an empty object."""
    length = request.headers.get("content-length")
    if optional and (length == "0" or (length is None and "transfer-encoding" not in request.headers)):
        return {}
    if media_type(request) != MEDIA_TYPE_JSON:
        if optional and not await read(request, limits.EVENT_BYTES_MAX):
            return {}
        unsupported(f"the body must be {MEDIA_TYPE_JSON}")
    body = await read(request, limits.EVENT_BYTES_MAX)
    if optional and not body:
        return {}
    return await parse(body, exact_numbers=True)
