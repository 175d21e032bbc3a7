"""A small real HTTP server that answers as a gateway would, or as a test scripts it."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Request:
    """One request as it arrived; header names in lower case."""

    path: str
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Response:
    """One answer."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict[str, str])


Script = Callable[[Request], Response | None]


def problem(status: int, code: str, detail: str = "said so", **headers: str) -> Response:
    """An RFC 9457 answer."""
    return Response(status, {"status": status, "code": code, "detail": detail}, dict(headers))


def accept(request: Request) -> Response:
    """What a healthy gateway answers: every event is accepted, every pre-task has no objection."""
    events = _events_of(request)
    if request.path == "/api/v1/decide":
        return Response(200, decision(events[0]["id"]))
    return Response(202, {"accepted": [{"id": event["id"], "seq": 1} for event in events], "rejected": []})


def _events_of(request: Request) -> list[dict[str, Any]]:
    return request.body if isinstance(request.body, list) else [request.body]  # pyright: ignore[reportUnknownVariableType]  # parsed JSON


def decision(event_id: str, verdict: str = "allow", reason: str = "within limits", code: str = "ok") -> dict[str, Any]:
    """The body of a decision."""
    return {
        "decision": verdict,
        "reason": reason,
        "code": code,
        "budget": {"remaining": []},
        "risk": 0.0,
        "event_id": event_id,
        "trace_id": "0" * 31 + "1",
    }


class ScriptedGateway:
    """Use as a context manager; ``script`` answers first, and where it returns None :func:`accept` does."""

    def __init__(self, script: Script | None = None, port: int = 0) -> None:
        self.script = script
        self.requests: list[Request] = []
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                gateway.answer(self, Request(self.path, headers, json.loads(raw)))

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it so
                del format, args

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every event posted to the events path, in order of arrival."""
        found: list[dict[str, Any]] = []
        for request in self.requests:
            if request.path == "/api/v1/events":
                found += _events_of(request)
        return found

    def answer(self, handler: BaseHTTPRequestHandler, request: Request) -> None:
        """Record the request and write what the script says."""
        self.requests.append(request)
        response = (self.script(request) if self.script else None) or accept(request)
        body = json.dumps(response.body).encode()
        handler.send_response(response.status)
        for name, value in {"content-type": "application/json", **response.headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
