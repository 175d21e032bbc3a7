"""``GET /api/v1/stream``: events as they happen, over a WebSocket.

Who it is says the bearer header, or the first message: ``{"token": "<API key or access token>"}``. Then each message
is one event. The scope ``audit`` sees events as they are; the scope ``session`` sees who, when, what kind and what was
decided, and of security events about agents' sessions everything. A reader that does not keep up is dropped.
"""

import asyncio
import json
import re
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Final

from pydantic import JsonValue
from starlette.websockets import WebSocket, WebSocketDisconnect

from hookbus.contracts import subjects
from hookbus.contracts.events import Event, Kind, type_of_security
from hookbus.contracts.problems import FieldError, ProblemCode, ProblemError
from hookbus.contracts.session import KeyScope
from hookbus.gateway import metrics
from hookbus.gateway.auth import Admission, Principal, bearer
from hookbus.gateway.live.hub import Hub
from hookbus.gateway.live.reader import Filter, Reader
from hookbus.gateway.problems import problem_response
from hookbus.gateway.state import State, new_id, now
from hookbus.platform.websockets import EXTENSION_ABORT

PATH: Final = "/api/v1/stream"
AUTH_TIMEOUT_S: Final = 5.0
LIVES_INTERVAL_S: Final = 0.2
"""Between two looks at whether the credential still is what it was; what is looked at is half a second old at most."""
CLOSE_TIMEOUT_S: Final = 2.0
"""How long a reader has to take the reason for its end."""
FILTER_VALUES_MAX: Final = 64
SUBJECT_NO_AGENT: Final = "hookbus"

CLOSE_GOING: Final = 1000
CLOSE_TRY_AGAIN: Final = 1013
CLOSE_BAD_MESSAGE: Final = 4400
CLOSE_UNAUTHENTICATED: Final = 4401
CLOSE_FORBIDDEN: Final = 4403
CLOSE_AUTH_TIMEOUT: Final = 4408
CLOSE_TOO_MANY: Final = 4429
_CLOSE_BY_CODE: Final = {
    ProblemCode.UNAUTHENTICATED: CLOSE_UNAUTHENTICATED,
    ProblemCode.FORBIDDEN: CLOSE_FORBIDDEN,
    ProblemCode.CONFIRM_REQUIRED: CLOSE_FORBIDDEN,
    ProblemCode.BODY_INVALID: CLOSE_BAD_MESSAGE,
    ProblemCode.RATE_LIMITED: CLOSE_TOO_MANY,
}
CLOSE_REASON_BYTES_MAX: Final = 123
"""What a close frame holds (RFC 6455)."""

_KIND: Final = re.compile(r"[a-z0-9_-]{1,64}", re.ASCII)
_AGENT: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)


class _End(Exception):  # noqa: N818 - not an error: how a stream ends
    """A stream is over, for this reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


async def stream(websocket: WebSocket) -> None:
    """One reader, from its handshake to its end."""
    state: State = websocket.app.state.gateway
    hub: Hub = websocket.app.state.live
    accepted = False
    try:
        wanted = _filter(websocket)
        hub.enter()
        try:
            credential = bearer(websocket)
            if credential is None:
                await websocket.accept()
                accepted = True
                credential = await _first_message(websocket)
            admission = await state.authenticator.admit(websocket, credential)
            sees_data = _sees_data(admission.principal)
        finally:
            hub.known()
        reader = Reader(wanted, sees_data=sees_data)
        await hub.join(reader, admission.principal.key_id)
        try:
            await _tell(state, admission.principal, wanted)
            if not accepted:
                await websocket.accept()
                accepted = True
            await websocket.send_text(json.dumps({"stream": "open", "data": sees_data}))
            await _serve(websocket, reader, admission)
        finally:
            await hub.leave(reader)
    except ProblemError as error:
        if accepted:
            code = _CLOSE_BY_CODE.get(error.problem.code, CLOSE_TRY_AGAIN)
            await _close(websocket, code, error.problem.detail)
        else:
            await websocket.send_denial_response(problem_response(error.problem))
    except _End as end:
        await _close(websocket, end.code, end.reason)
    except (WebSocketDisconnect, OSError):
        metrics.STREAMS_CLOSED.labels("left").inc()


async def _first_message(websocket: WebSocket) -> str:
    try:
        async with asyncio.timeout(AUTH_TIMEOUT_S):
            text = await websocket.receive_text()
    except TimeoutError:
        raise _End(CLOSE_AUTH_TIMEOUT, "no credential came in time") from None
    except KeyError:
        raise _End(CLOSE_BAD_MESSAGE, "the first message must be text") from None
    try:
        message: object = json.loads(text)
    except (ValueError, RecursionError):
        message = None
    token = message.get("token") if isinstance(message, dict) else None  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]  # JSON
    if not isinstance(token, str):
        raise _End(CLOSE_BAD_MESSAGE, 'the first message must be {"token": "<API key or access token>"}')
    return token


async def _serve(websocket: WebSocket, reader: Reader, admission: Admission) -> None:
    """Send events until something ends the stream; raises how."""
    parts: tuple[Awaitable[None], ...] = (
        _send(websocket, reader),
        _receive(websocket),
        _watch_credential(admission),
        _watch_speed(reader),
    )
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        # Several may end at once: a credential that is gone counts more than a reader that is slow.
        for task in tasks[::-1]:
            if task in done and isinstance(task.exception(), _End):
                await task
        for task in done:
            await task
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, _End, WebSocketDisconnect, OSError):
                await task


async def _send(websocket: WebSocket, reader: Reader) -> None:
    while True:
        await websocket.send_text(await reader.next())
        metrics.STREAM_EVENTS.inc()


async def _receive(websocket: WebSocket) -> None:
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", CLOSE_GOING))
    raise _End(CLOSE_BAD_MESSAGE, "after the credential nothing is expected from you")


async def _watch_credential(admission: Admission) -> None:
    while True:
        await asyncio.sleep(LIVES_INTERVAL_S)
        try:
            lives = await admission.lives()
        except ProblemError:
            raise _End(CLOSE_TRY_AGAIN, "the credential cannot be checked now") from None
        if not lives:
            raise _End(CLOSE_UNAUTHENTICATED, "the credential was revoked, changed or has expired")


async def _watch_speed(reader: Reader) -> None:
    await reader.too_slow.wait()
    raise _End(CLOSE_TRY_AGAIN, "too slow: more events waited than are kept for one reader")


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    metrics.STREAMS_CLOSED.labels(str(code)).inc()
    short = reason.encode()[:CLOSE_REASON_BYTES_MAX].decode(errors="ignore")
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await websocket.close(code, short)
    except (TimeoutError, RuntimeError, WebSocketDisconnect, OSError):
        # It takes nothing any more: what waits in its connection's buffer must not stay for ever.
        abort: Any = websocket.scope.get("extensions", {}).get(EXTENSION_ABORT)
        if abort is not None:
            abort()


async def _tell(state: State, principal: Principal, wanted: Filter) -> None:
    """Who watches is an event of the log itself, stored before the first event is shown."""
    kinds: list[JsonValue] = [*sorted(wanted.kinds)]
    agents: list[JsonValue] = [*sorted(wanted.agents)]
    event = Event(
        id=new_id(),
        source="urn:hookbus:gateway",
        type=type_of_security("stream_opened"),
        subject=SUBJECT_NO_AGENT,
        time=now(),
        data={"actor": principal.actor, "kinds": kinds, "agents": agents},
    )
    await state.publisher.publish(event, subjects.security_subject("stream_opened"))


def _sees_data(principal: Principal) -> bool:
    if principal.may(KeyScope.AUDIT):
        return True
    if principal.may(KeyScope.SESSION):
        return False
    raise ProblemError(ProblemCode.FORBIDDEN, f"the stream takes the scope {KeyScope.AUDIT} or {KeyScope.SESSION}")


def _filter(websocket: WebSocket) -> Filter:
    query = websocket.query_params
    kinds = _values(query.getlist("kind"), "kind", _KIND, "a kind of hook event, a code, or security")
    known = {kind.value for kind in Kind}
    for kind in kinds:
        if "-" in kind and kind not in known:
            raise _fault("kind", f"must be one of {', '.join(sorted(known))}, a code, or security")
    agents = _values(query.getlist("agent"), "agent", _AGENT, "agent ids")
    return Filter(kinds, agents)


def _values(given: list[str], name: str, pattern: re.Pattern[str], what: str) -> frozenset[str]:
    """Values of a parameter, repeated or with commas between them."""
    values = frozenset(part for text in given for part in text.split(","))
    if len(values) > FILTER_VALUES_MAX or any(pattern.fullmatch(value) is None for value in values):
        raise _fault(name, f"must be {what}, at most {FILTER_VALUES_MAX}")
    return values


def _fault(loc: str, msg: str) -> ProblemError:
    return ProblemError(ProblemCode.BODY_INVALID, "a parameter is invalid", errors=(FieldError(loc=loc, msg=msg),))
