"""The outermost layer: one server span, the headers of every answer, and no exception beyond it."""

import asyncio
import secrets
import time
from collections.abc import MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hookbus.gateway import metrics, security_headers
from hookbus.gateway.callers import record_caller
from hookbus.gateway.problems import fault_response
from hookbus.gateway.security_headers import Header
from hookbus.platform import telemetry
from hookbus.platform.settings import Environment

STATUS_CLIENT_GONE: Final = 499
"""Never sent: what the metrics call a request whose client left."""
DRAIN_BYTES_MAX: Final = 1024 * 1024
DRAIN_TIMEOUT_S: Final = 2.0
"""What is read of a body after its request was refused."""
PATH_CHARS_MAX: Final = 256
"""Of a request's path in its span."""
ROUTE_UNMATCHED: Final = "unmatched"
_QUIET: Final = frozenset({"/livez", "/readyz", "/metrics"})
"""Probes come every second or so: they are counted and not traced."""

log = structlog.get_logger(__name__)


class EdgeMiddleware:
    """Wraps the whole application."""

    def __init__(self, app: ASGIApp, environment: Environment) -> None:
        self._app = app
        self._always = security_headers.always(environment)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        incoming = _trace_headers(scope)
        name = f"{scope['method']} {ROUTE_UNMATCHED}"
        if scope["path"] in _QUIET:
            with trace.use_span(_unrecorded_span()):
                status = await self._serve(scope, receive, send, telemetry.current_traceparent())
        else:
            with telemetry.span(name, kind=SpanKind.SERVER, context=telemetry.extract(incoming)) as span:
                status = await self._serve(scope, receive, send, telemetry.current_traceparent())
                if span.is_recording():
                    _describe(span, scope, status)
                    record_caller(scope, datetime.now(UTC) - timedelta(seconds=time.perf_counter() - began))
        metrics.request_done(scope["method"], _route(scope), status, time.perf_counter() - began)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, traceparent: str | None) -> int:
        status = STATUS_CLIENT_GONE
        always = self._always
        if traceparent is not None:
            always = (*always, (b"traceparent", traceparent.encode()))

        body = _Body(scope, receive)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _merged(message, always)
                if status >= 400 and not await body.drained():
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            await self._app(scope, body.receive, send_with_headers)
        except ClientDisconnect:
            return STATUS_CLIENT_GONE
        except Exception:
            log.exception("request failed", method=scope["method"], route=_route(scope))
            if status != STATUS_CLIENT_GONE:
                raise  # the answer had begun: only closing the connection tells the client
            await fault_response()(scope, body.receive, send_with_headers)
        return status


def _describe(span: trace.Span, scope: Scope, status: int) -> None:
    """OpenTelemetry's attributes of an HTTP server span. No query and no address: they may hold what is private."""
    route = _route(scope)
    span.update_name(f"{scope['method']} {route}")
    span.set_attributes(
        {
            "http.request.method": scope["method"],
            "http.route": route,
            "http.response.status_code": status,
            "url.path": scope["path"][:PATH_CHARS_MAX],
            "url.scheme": scope["scheme"],
            "network.protocol.version": scope["http_version"],
        }
    )
    if status >= telemetry.STATUS_SERVER_ERROR:
        span.set_attribute("error.type", str(status))
        span.set_status(StatusCode.ERROR)


class _Body:
    """The request's body on its way in. What an error answer left unread is read away, within bounds.

    A client that still writes when its connection closes sees a reset and not the answer; one that writes without end
    must not keep the connection.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        names = {name for name, _value in scope["headers"]}
        self._ended = b"content-length" not in names and b"transfer-encoding" not in names

    async def receive(self) -> Message:
        """The next part."""
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._ended = True
        return message

    async def drained(self) -> bool:
        """Whether the body has ended, after reading away at most :data:`DRAIN_BYTES_MAX` of it."""
        size = 0
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                while not self._ended and size < DRAIN_BYTES_MAX:
                    size += len((await self.receive()).get("body", b""))
        except TimeoutError:
            return False
        return self._ended


def _merged(message: MutableMapping[str, Any], always: tuple[Header, ...]) -> list[Header]:
    headers: list[Header] = list(message.get("headers", []))
    present = {name.lower() for name, _value in headers}
    headers.extend(header for header in security_headers.DEFAULTS if header[0] not in present)
    headers.extend(always)
    return headers


def _trace_headers(scope: Scope) -> dict[str, str]:
    for name, value in scope["headers"]:
        if name == b"traceparent":
            return {"traceparent": value.decode("latin-1")}
    return {}


def _unrecorded_span() -> trace.Span:
    """A span that is never exported: it gives a probe's answer its ids, whatever span an outer layer has set."""
    return trace.NonRecordingSpan(
        trace.SpanContext(secrets.randbits(128) or 1, secrets.randbits(64) or 1, is_remote=False)
    )


def _route(scope: Scope) -> str:
    if scope["path"] in _QUIET:
        return str(scope["path"])
    route = scope.get("route")
    path = getattr(route, "path", None)
    return path if isinstance(path, str) else ROUTE_UNMATCHED
