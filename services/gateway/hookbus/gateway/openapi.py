"""The OpenAPI 3.1 document: FastAPI's own, with what it cannot see: bodies read by hand, plain routes, problems."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from hookbus.contracts.decisions import Decision
from hookbus.contracts.events import MEDIA_TYPE_BATCH, MEDIA_TYPE_EVENT, MEDIA_TYPE_JSON, Event, EventsReply, ShortEvent
from hookbus.contracts.problems import STATUS_BY_CODE, TITLE_BY_CODE, ProblemCode
from hookbus.contracts.session import KeyScope
from hookbus.gateway.calls import REQUEST_MODELS, needs
from hookbus.gateway.problems import MEDIA_TYPE as MEDIA_TYPE_PROBLEM
from hookbus.gateway.routes import decide, events, hooks, otlp, stream

_REFERENCE: Final = "#/components/schemas/{model}"
_OPEN_STATUSES: Final = (500, 503)
_METHODS: Final = frozenset({"get", "post", "put", "patch", "delete"})

PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457. `code` is a stable word; the other texts are for people.",
    "required": ["type", "title", "status", "detail", "code", "trace_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "enum": [code.value for code in ProblemCode]},
        "trace_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["loc", "msg"],
                "properties": {"loc": {"type": "string"}, "msg": {"type": "string"}},
            },
        },
    },
}


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    document = get_openapi(
        title=app.title, version=app.version, openapi_version="3.1.0", description=app.description, routes=app.routes
    )
    components = document.setdefault("components", {})
    schemas: dict[str, Any] = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM_SCHEMA
    _add_schemas(schemas, [*REQUEST_MODELS.values(), ShortEvent], "validation")
    _add_schemas(schemas, [Event, EventsReply, Decision], "serialization")
    schemas["CloudEvent"] = _cloudevent(schemas["Event"])
    components["securitySchemes"] = {
        "apiKey": {"type": "http", "scheme": "bearer", "bearerFormat": "hbk_...", "description": "An API key"}
    }
    paths: dict[str, Any] = document["paths"]
    paths.update(_plain_paths())
    for path in paths.values():
        for method, operation in path.items():
            if method in _METHODS:
                _add_problems(operation)
    return document


def _add_schemas(schemas: dict[str, Any], models: list[type[BaseModel]], mode: JsonSchemaMode) -> None:
    _, made = models_json_schema([(model, mode) for model in models], ref_template=_REFERENCE)
    for name, schema in made["$defs"].items():
        schemas.setdefault(name, schema)


def _cloudevent(event: dict[str, Any]) -> dict[str, Any]:
    """An event as a client sends it: id and time may be left to the gateway, decisions are not its to say."""
    properties = {
        name: schema
        for name, schema in event["properties"].items()
        if name not in ("decision", "decisioncode", "reservation", "inputtags")
    }
    return {
        **event,
        "title": "CloudEvent",
        "properties": properties,
        "required": ["specversion", "source", "type", "subject"],
    }


def _add_problems(operation: dict[str, Any]) -> None:
    responses: dict[str, Any] = operation.setdefault("responses", {})
    guarded = "security" in operation
    for code in ProblemCode:
        status = STATUS_BY_CODE[code]
        if guarded or status in _OPEN_STATUSES or (status == 422 and "422" in responses):
            responses[str(status)] = {
                "description": TITLE_BY_CODE[code],
                "content": {MEDIA_TYPE_PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            }


def _json(name: str) -> dict[str, Any]:
    return {MEDIA_TYPE_JSON: {"schema": {"$ref": _REFERENCE.format(model=name)}}}


def _plain_paths() -> dict[str, Any]:
    short = {"$ref": "#/components/schemas/ShortEvent"}
    cloudevent = {"$ref": "#/components/schemas/CloudEvent"}
    secured = needs(KeyScope.EVENTS)
    return {
        events.PATH: {
            "post": {
                "tags": ["events"],
                "operationId": "post_events",
                "summary": "Store events",
                "description": "202 means: stored durably by the bus. A repeated id is accepted again and counts once. "
                "Members of a batch that are refused do not hold up the others; with none accepted the answer is 422.",
                "requestBody": {
                    "required": True,
                    "content": {
                        MEDIA_TYPE_JSON: {"schema": {"oneOf": [short, {"type": "array", "items": short}]}},
                        MEDIA_TYPE_EVENT: {"schema": cloudevent},
                        MEDIA_TYPE_BATCH: {"schema": {"type": "array", "items": cloudevent}},
                    },
                },
                "responses": {"202": {"description": "Stored", "content": _json("EventsReply")}},
                **secured,
            }
        },
        decide.PATH: {
            "post": {
                "tags": ["events"],
                "operationId": "post_decide",
                "summary": "Decide a pre-task",
                "description": "A deny is an answer (200), not an error.",
                "requestBody": {
                    "required": True,
                    "content": {MEDIA_TYPE_JSON: {"schema": short}, MEDIA_TYPE_EVENT: {"schema": cloudevent}},
                },
                "responses": {"200": {"description": "The decision", "content": _json("Decision")}},
                **secured,
            }
        },
        hooks.PATH: {
            "post": {
                "tags": ["events"],
                "operationId": "post_hook",
                "summary": "An agent's own hook body, answered in its own schema",
                "description": "No objection is answered `{}`. A pre-task that cannot be read is answered with a deny, "
                "because such an agent takes an error status as no objection.",
                "parameters": [
                    {"name": "agent", "in": "path", "required": True, "schema": {"type": "string"}},
                    {"name": "agent_id", "in": "query", "schema": {"type": "string"}},
                    {"name": "project", "in": "query", "schema": {"type": "string"}},
                    {"name": "fail_mode", "in": "query", "schema": {"enum": ["open", "closed"]}},
                    {"name": "event", "in": "query", "schema": {"type": "string"}},
                ],
                "requestBody": {"required": True, "content": {MEDIA_TYPE_JSON: {"schema": {"type": "object"}}}},
                "responses": {
                    "200": {
                        "description": "The agent's own answer",
                        "content": {MEDIA_TYPE_JSON: {"schema": {"type": "object"}}},
                    }
                },
                **secured,
            }
        },
        **{
            path: {
                "post": {
                    "tags": ["events"],
                    "operationId": f"post_otlp_{signal}",
                    "summary": f"OTLP/HTTP {signal} of an agent's own telemetry",
                    "description": "Log records of model calls become usage events; what else an exporter sends is "
                    "taken and left. A body may be gzip.",
                    "requestBody": {
                        "required": True,
                        "content": {
                            MEDIA_TYPE_JSON: {"schema": {"type": "object"}},
                            otlp.MEDIA_TYPE_PROTOBUF: {"schema": {"type": "string", "format": "binary"}},
                        },
                    },
                    "responses": {
                        "200": {
                            "description": "Taken",
                            "content": {
                                MEDIA_TYPE_JSON: {"schema": {"type": "object"}},
                                otlp.MEDIA_TYPE_PROTOBUF: {"schema": {"type": "string", "format": "binary"}},
                            },
                        }
                    },
                    **secured,
                }
            }
            for path, signal in (
                (otlp.PATH_LOGS, "logs"),
                (otlp.PATH_METRICS, "metrics"),
                (otlp.PATH_TRACES, "traces"),
            )
        },
        stream.PATH: {
            "get": {
                "tags": ["events"],
                "operationId": "stream_events",
                "summary": "Events as they happen (WebSocket)",
                "description": "Answered 101 to a WebSocket handshake. Without a bearer header the first message is "
                '`{"token": "<API key or access token>"}`, within 5 s. Then `{"stream": "open", "data": true}`, and '
                "one CloudEvents event a message. The scope `audit` sees events as they are (`data` true); the scope "
                "`session` sees them without their data, except security events about agents' sessions. Close codes: "
                "1009 a message over 16 KiB, 1013 too slow or a part is away (come again), 4400 a message that was not "
                "expected, 4401 no valid credential any more, 4403 no such scope, 4408 no credential in time, 4429 too "
                "many streams.",
                "parameters": [
                    {
                        "name": "kind",
                        "in": "query",
                        "schema": {"type": "string"},
                        "description": "Kinds of hook events, codes of security events, or `security`; commas between",
                    },
                    {
                        "name": "agent",
                        "in": "query",
                        "schema": {"type": "string"},
                        "description": "Agent ids; commas between",
                    },
                ],
                "responses": {"101": {"description": "The stream"}},
                "security": [{"apiKey": []}],
                "x-hookbus-scope": KeyScope.AUDIT.value,
            }
        },
        **{
            path: {"get": {"tags": ["ops"], "summary": summary, "responses": {"200": {"description": "OK"}}}}
            for path, summary in (
                ("/livez", "The process answers"),
                ("/readyz", "What it stands on answers; says which part is away"),
                ("/metrics", "Prometheus metrics"),
                ("/asyncapi.json", "What travels on the bus"),
            )
        },
    }
