"""The one place that wires the gateway."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route, WebSocketRoute

from hookbus.contracts.audit import CheckpointReply
from hookbus.contracts.budget import Empty, ListReply, ListRequest
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import KeyListReply, KeyListRequest
from hookbus.gateway import metrics, problems
from hookbus.gateway.auth import Authenticator
from hookbus.gateway.console import pages as console_pages
from hookbus.gateway.console import sessions as console_sessions
from hookbus.gateway.deadletters import DeadLetters
from hookbus.gateway.decider import Decider
from hookbus.gateway.edge import EdgeMiddleware
from hookbus.gateway.keys import KeySource
from hookbus.gateway.live.hub import Hub
from hookbus.gateway.openapi import openapi_document
from hookbus.gateway.peers import Peers
from hookbus.gateway.plain import PlainRoute
from hookbus.gateway.presence import Presence
from hookbus.gateway.rates import Limiter
from hookbus.gateway.routes import (
    agents,
    audit,
    audit_taking,
    budget,
    budget_scopes,
    deadletters,
    decide,
    events,
    hooks,
    identity,
    keys,
    login,
    ops,
    otlp,
    sessions,
    stream,
    terminals,
    traces,
    users,
)
from hookbus.gateway.settings import GatewaySettings
from hookbus.gateway.state import State
from hookbus.gateway.tokens import TokenChecker
from hookbus.gateway.workspaces import Workspaces
from hookbus.platform import health
from hookbus.platform.bus.checks import bus_check
from hookbus.platform.bus.connection import create_broker
from hookbus.platform.bus.group_commit import GroupCommit
from hookbus.platform.bus.publisher import Publisher
from hookbus.platform.health import CHECK_TIMEOUT_S, Check
from hookbus.platform.service import Service, run, serving
from hookbus.platform.settings import Environment, load

NAME: Final = "gateway"
KEEP_ALIVE_S: Final = 900
"""Agents with native HTTP hooks keep a connection between prompts and meet a refused one when it was closed idle."""
CORS_MAX_AGE_S: Final = 600
LOCAL_ORIGIN: Final = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?"


class Gateway:
    """The parts of one process."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self.broker = create_broker(NAME, settings)
        self.peers = Peers(self.broker)
        self.publisher = Publisher(self.broker)
        self.hooks = GroupCommit(self.publisher)
        self.deadletters = DeadLetters(self.broker, self.publisher)
        metrics.EVENTS_WAITING.set_function(lambda: self.hooks.waiting)
        key_limiter = Limiter(settings.rate_limit_per_key, "this API key")
        self.state = State(
            authenticator=Authenticator(
                KeySource(self.broker, self.peers.rpc),
                TokenChecker(self.broker, self.peers.rpc),
                Presence(self.peers.rpc),
                Limiter(settings.rate_limit_failures, "failed authentications from this address"),
                key_limiter,
            ),
            peers=self.peers,
            publisher=self.publisher,
            hooks=self.hooks,
            decider=Decider(
                self.peers,
                self.hooks,
                self.publisher,
                Workspaces(
                    self.broker,
                    settings.workspace,
                    (*settings.workspace_roots, *settings.temporary_roots),
                    settings.project_roots,
                ),
                settings.effective_guard_mode,
            ),
            keys=key_limiter,
            agents=Limiter(settings.rate_limit_per_agent, "this agent"),
            guard_mode=settings.effective_guard_mode,
        )

    def service(self) -> Service:
        """What the process runs beside HTTP."""

        async def start() -> None:
            self.hooks.start()

        return Service(
            name=NAME,
            broker=self.broker,
            checks=self._checks(),
            on_start=(start,),
            on_stop=(self.hooks.stop,),
            tasks=(self.deadletters.watch,),
        )

    def application(self, service: Service) -> FastAPI:
        """The HTTP application; its lifespan runs ``service``."""

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
            async with serving(service):
                yield

        app = FastAPI(
            title="hookbus",
            version="1.0.0",
            description="Events and decisions of coding agents' hooks, their budgets, sessions and audit log.",
            lifespan=lifespan,
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            # The edge has the server span and the metrics; FastAPI's own would double both, at a quarter of the time.
            telemetry={"tracing": False, "metrics": False, "logs": False},
            exception_handlers={
                ProblemError: problems.on_problem,
                RequestValidationError: problems.on_validation_error,
                ValidationError: problems.on_invalid_request,
                HTTPException: problems.on_http_exception,
            },
        )
        app.state.gateway = self.state
        app.state.live = Hub(self.broker)
        app.state.deadletters = self.deadletters
        app.router.routes.extend(_plain_routes(service))
        app.router.routes.append(WebSocketRoute(stream.PATH, stream.stream))
        for module in (
            agents,
            budget,
            budget_scopes,
            sessions,
            terminals,
            identity,
            login,
            users,
            keys,
            audit,
            audit_taking,
            traces,
            deadletters,
        ):
            app.include_router(module.router)
        app.include_router(console_sessions.router(self.settings.environment))
        app.router.routes.extend(console_pages.routes())  # last: its page answers every path below it
        _serve_openapi(app)
        _add_middleware(app, self.settings)
        return app

    def _checks(self) -> tuple[Check, ...]:
        async def budget_answers() -> None:
            await self.peers.call("budget", "list", ListRequest(page_items_max=1), ListReply, timeout_s=CHECK_TIMEOUT_S)

        async def session_answers() -> None:
            request = KeyListRequest(page_items_max=1)
            await self.peers.call("session", "key_list", request, KeyListReply, timeout_s=CHECK_TIMEOUT_S)

        async def audit_answers() -> None:
            try:
                await self.peers.call("audit", "checkpoint", Empty(), CheckpointReply, timeout_s=CHECK_TIMEOUT_S)
            except ProblemError as error:
                if error.problem.code is not ProblemCode.NOT_FOUND:  # a log without entries has no checkpoint yet
                    raise

        return (
            bus_check(self.broker),
            Check("budget", budget_answers),
            Check("session", session_answers),
            Check("audit", audit_answers),
        )


def _plain_routes(service: Service) -> list[Route]:
    return [
        PlainRoute(events.PATH, events.post_events, methods=["POST"]),
        PlainRoute(decide.PATH, decide.post_decide, methods=["POST"]),
        PlainRoute(hooks.PATH, hooks.post_hook, methods=["POST"]),
        *otlp.routes(),
        *health.routes(service.checks),
        *ops.routes(),
    ]


def _serve_openapi(app: FastAPI) -> None:
    document: dict[str, Any] = openapi_document(app)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]  # the decorator registers it
        return document


def _add_middleware(app: FastAPI, settings: GatewaySettings) -> None:
    local = settings.environment is Environment.DEVELOPMENT and not settings.cors_origins
    if settings.cors_origins or local:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_origin_regex=LOCAL_ORIGIN if local else None,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["authorization", "content-type", "traceparent"],
            expose_headers=["traceparent", "retry-after", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"],
            max_age=CORS_MAX_AGE_S,
        )
    app.add_middleware(EdgeMiddleware, environment=settings.environment)


def main() -> None:
    """Run the gateway until SIGTERM."""
    settings = load(GatewaySettings)
    gateway: Gateway | None = None

    def build() -> Service:
        nonlocal gateway
        gateway = Gateway(settings)
        return gateway.service()

    def application(service: Service) -> FastAPI:
        assert gateway is not None
        return gateway.application(service)

    run(
        NAME,
        settings,
        build,
        application,
        keep_alive_s=KEEP_ALIVE_S,
        is_edge=True,
        trusted_proxies=settings.trusted_proxies,
    )
