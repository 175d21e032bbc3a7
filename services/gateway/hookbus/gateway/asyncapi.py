"""The bus as an AsyncAPI 3 document, made from the contracts."""

from functools import cache
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from hookbus.contracts import audit, budget, session, subjects, traces
from hookbus.contracts.events import MEDIA_TYPE_EVENT, Event, Kind
from hookbus.contracts.fields import WireModel
from hookbus.contracts.problems import Problem
from hookbus.contracts.session import ApiKeyRecord

_REFERENCE: Final = "#/components/schemas/{model}"

RPC: Final[dict[str, tuple[type[WireModel], type[WireModel]]]] = {
    "budget.init": (budget.InitRequest, budget.InitReply),
    "budget.scope_init": (budget.ScopeInitRequest, budget.StatusReply),
    "budget.check": (budget.ReserveRequest, budget.ReserveReply),
    "budget.check_many": (budget.ReserveManyRequest, budget.ReserveManyReply),
    "budget.deduct": (budget.DeductRequest, budget.DeductReply),
    "budget.release": (budget.ReleaseRequest, budget.ReleaseReply),
    "budget.extend": (budget.ExtendRequest, budget.ExtendReply),
    "budget.projects": (budget.ProjectsRequest, budget.ProjectsReply),
    "budget.drift": (budget.DriftRequest, budget.DriftReply),
    "budget.status": (budget.ScopeRequest, budget.StatusReply),
    "budget.list": (budget.ListRequest, budget.ListReply),
    "budget.history": (budget.HistoryRequest, budget.HistoryReply),
    "budget.reset": (budget.ResetRequest, budget.StatusReply),
    "session.assess": (session.AssessRequest, session.AssessReply),
    "session.assess_many": (session.AssessManyRequest, session.AssessManyReply),
    "session.list": (session.SessionListRequest, session.SessionListReply),
    "session.show": (session.SessionRequest, session.SessionView),
    "session.kill": (session.SessionRequest, session.SessionView),
    "session.revive": (session.SessionRequest, session.SessionView),
    "session.key_create": (session.KeyCreateRequest, session.KeyCreateReply),
    "session.key_list": (session.KeyListRequest, session.KeyListReply),
    "session.key_lookup": (session.KeyLookupRequest, ApiKeyRecord),
    "session.key_revoke": (session.KeyRevokeRequest, session.KeyView),
    "audit.entries": (audit.EntriesRequest, audit.EntriesReply),
    "audit.checkpoint": (budget.Empty, audit.CheckpointReply),
    "audit.inclusion": (audit.InclusionRequest, audit.ProofReply),
    "audit.consistency": (audit.ConsistencyRequest, audit.ProofReply),
    "audit.receipt": (audit.ReceiptRequest, audit.ReceiptReply),
    "audit.tile": (audit.TileRequest, audit.TileReply),
    "audit.verify": (audit.VerifyRequest, audit.VerifyReply),
    "traces.get": (traces.TraceRequest, traces.TraceReply),
    "traces.list": (traces.TraceListRequest, traces.TraceListReply),
}
"""Method -> request and reply. On a fault the reply is a Problem, and its headers say so."""


@cache
def asyncapi_document() -> dict[str, Any]:
    """The document. Servers are left out: their address is the deployment's."""
    models = {Event, Problem, *(model for pair in RPC.values() for model in pair)}
    ordered: list[type[BaseModel]] = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "serialization") for model in ordered], ref_template=_REFERENCE)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "hookbus on the bus",
            "version": "1.0.0",
            "description": "Streams of events, and requests between the services, over NATS.",
        },
        "defaultContentType": "application/json",
        "channels": {**_event_channels(), **_rpc_channels()},
        "operations": {**_event_operations(), **_rpc_operations()},
        "components": {
            "schemas": schemas["$defs"],
            "messages": {model.__name__: _message(model) for model in ordered},
        },
    }


def _message(model: type[BaseModel]) -> dict[str, Any]:
    message: dict[str, Any] = {"name": model.__name__, "payload": {"$ref": _REFERENCE.format(model=model.__name__)}}
    if model is Event:
        message["contentType"] = MEDIA_TYPE_EVENT
        message["headers"] = {
            "type": "object",
            "required": [subjects.HEADER_MSG_ID, subjects.HEADER_CONTENT_TYPE],
            "properties": {
                subjects.HEADER_MSG_ID: {"type": "string", "description": "The event's id"},
                subjects.HEADER_TRACEPARENT: {"type": "string"},
                subjects.HEADER_CONTENT_TYPE: {"const": MEDIA_TYPE_EVENT},
            },
        }
    return message


def _messages(*models: type[BaseModel]) -> dict[str, Any]:
    return {model.__name__: {"$ref": f"#/components/messages/{model.__name__}"} for model in models}


def _event_channels() -> dict[str, Any]:
    return {
        "hooks": {
            "address": "hooks.{kind}.{agent_id}",
            "description": f"Stream {subjects.STREAM_HOOKS}: what hooks report.",
            "parameters": {
                "kind": {"enum": [kind.value for kind in Kind]},
                "agent_id": {"description": "1-64 of a-z A-Z 0-9 _ -"},
            },
            "messages": _messages(Event),
        },
        "security": {
            "address": "security.{code}",
            "description": f"Stream {subjects.STREAM_SECURITY}: objections, kills, changes of keys.",
            "parameters": {"code": {"description": "A stable word"}},
            "messages": _messages(Event),
        },
        "deadletter": {
            "address": "deadletter.{service}",
            "description": f"Stream {subjects.STREAM_DEADLETTER}: what a service could not process, as it came.",
            "parameters": {"service": {"enum": ["budget", "session", "audit"]}},
            "messages": _messages(Event),
        },
    }


def _event_operations() -> dict[str, Any]:
    return {
        f"publish_{name}": {"action": "send", "channel": {"$ref": f"#/channels/{name}"}}
        for name in ("hooks", "security", "deadletter")
    }


def _rpc_channels() -> dict[str, Any]:
    channels: dict[str, Any] = {}
    for method, (request, reply) in RPC.items():
        service, _, name = method.partition(".")
        channels[method] = {"address": subjects.rpc_subject(service, name), "messages": _messages(request)}
        channels[f"{method}.reply"] = {"address": None, "messages": _messages(reply, Problem)}
    return channels


def _rpc_operations() -> dict[str, Any]:
    return {
        method.replace(".", "_"): {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{method}"},
            "reply": {"channel": {"$ref": f"#/channels/{method}.reply"}},
        }
        for method in RPC
    }
