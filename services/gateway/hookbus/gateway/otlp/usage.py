"""What agents' telemetry says of their model calls, as ``usage`` events in short form.

Known: Claude Code's ``api_request``, Codex's ``sse_event`` of a completed response, Gemini CLI's ``api_response``.
Every other record is none of hookbus's business. OpenAI and Google count what they read from a cache inside the input,
Anthropic beside it; here every kind of token is counted once.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from hookbus.client.adapters.common import derived_request
from hookbus.client.identity import identifier, is_agent_id, is_identifier, scope_name
from hookbus.contracts import limits
from hookbus.gateway.otlp.records import Attributes, LogRecord, Plain

PROVENANCE: Final = "otlp"
ATTRIBUTE_AGENT_ID: Final = "hookbus.agent_id"
ATTRIBUTE_PROJECT: Final = "hookbus.project"
"""Resource attributes that name what the hooks of the same agent are configured to say."""
MICROS: Final = Decimal(1_000_000)
TIME_MAX_NS: Final = 253_402_300_799 * 10**9
"""The end of the year 9999, the last that a timestamp can say."""

_CLAUDE: Final = frozenset({"claude_code.api_request"})
_CODEX: Final = frozenset({"codex.sse_event"})
_GEMINI: Final = frozenset({"gemini_cli.api_response"})


@dataclass(frozen=True)
class Defaults:
    """What the request says for records that do not: from its headers."""

    agent_id: str | None = None
    project: str | None = None


def usage_of(record: LogRecord, defaults: Defaults) -> dict[str, Any] | None:
    """The record as a ``usage`` event in short form, or None where it reports no model call.

    The event's id repeats when the record does: an exporter sends again what it got no answer for.
    """
    reader = _reader_of(record)
    if reader is None:
        return None
    agent, source, read = reader
    data = read(record.attributes)
    if data is None:
        return None
    agent_id = _agent_of(record, defaults) or agent
    request_id = data.get("request_id")
    identity = [agent_id, source, request_id] if request_id else [agent_id, source, record.time_unix_ns, data]
    seed = json.dumps(identity, sort_keys=True).encode()
    if agent == "gemini":
        data = _with_derived_request(data, record)
    event: dict[str, Any] = {
        "id": f"otlp-{hashlib.sha256(seed).hexdigest()[:40]}",
        "kind": "usage",
        "agent_id": agent_id,
        "source": f"otlp/{source}",
        "data": {**data, "provenance": PROVENANCE},
    }
    session = _text(record.attributes, "session.id") or _text(record.attributes, "conversation.id")
    if session is not None:
        event["session"] = identifier(session)
    project = _text(record.resource, ATTRIBUTE_PROJECT) or defaults.project
    legal_project = scope_name(project) if project else None
    if legal_project is not None:
        event["project"] = legal_project
    if 0 < record.time_unix_ns <= TIME_MAX_NS:
        event["time"] = datetime.fromtimestamp(record.time_unix_ns / 1e9, UTC)
    return event


_Read = Callable[[Attributes], dict[str, Any] | None]


def _reader_of(record: LogRecord) -> tuple[str, str, _Read] | None:
    """Default agent id, source and reader of a record's telemetry."""
    service = str(record.resource.get("service.name", ""))
    if record.names & _CLAUDE or ("api_request" in record.names and service.startswith("claude-code")):
        return "claude-code", "claude-code", _claude
    if record.names & _CODEX:
        return "codex", "codex", _codex
    if record.names & _GEMINI:
        return "gemini", "gemini", _gemini
    return None


def _claude(attributes: Attributes) -> dict[str, Any] | None:
    data = _with_tokens(
        attributes,
        provider="anthropic",
        input_tokens=_count(attributes, "input_tokens"),
        output_tokens=_count(attributes, "output_tokens"),
        cache_read_tokens=_count(attributes, "cache_read_tokens"),
        cache_write_5m_tokens=_count(attributes, "cache_creation_tokens"),
    )
    if data is None:
        return None
    cost = _usd(attributes)
    if cost:
        # Some releases report nothing or 0: then the tokens are priced.
        data["cost"] = str(cost)
    request_id = _text(attributes, "request_id")
    if request_id is not None:
        data["request_id"] = request_id if is_identifier(request_id) else identifier(request_id)
    for name, known in (("prompt_id", "prompt.id"), ("query_source", "query_source")):
        value = _text(attributes, known)
        if value is not None:
            data[name] = value[: limits.EVENT_ID_CHARS_MAX]
    return data


def _codex(attributes: Attributes) -> dict[str, Any] | None:
    if _text(attributes, "event.kind") != "response.completed":
        return None
    cached = _count(attributes, "cached_token_count")
    return _with_tokens(
        attributes,
        provider="openai",
        input_tokens=max(0, _count(attributes, "input_token_count") - cached),
        output_tokens=_count(attributes, "output_token_count"),
        cache_read_tokens=cached,
    )


def _gemini(attributes: Attributes) -> dict[str, Any] | None:
    cached = _count(attributes, "cached_content_token_count")
    read = max(0, _count(attributes, "input_token_count") - cached)
    data = _with_tokens(
        attributes,
        provider="google",
        input_tokens=read + _count(attributes, "tool_token_count"),
        output_tokens=_count(attributes, "output_token_count") + _count(attributes, "thoughts_token_count"),
        cache_read_tokens=cached,
    )
    prompt_id = _text(attributes, "prompt_id")
    if data is not None and prompt_id is not None:
        data["prompt_id"] = prompt_id[: limits.EVENT_ID_CHARS_MAX]
    return data


def _with_derived_request(data: dict[str, Any], record: LogRecord) -> dict[str, Any]:
    """Gemini CLI names no request: one is derived as its ``AfterModel`` hook derives it, so that both are one call."""
    total = _count(record.attributes, "total_token_count") or sum(
        data[name] for name in ("input_tokens", "cache_read_tokens", "output_tokens")
    )
    if not 0 < record.time_unix_ns <= TIME_MAX_NS:
        return data
    moment = datetime.fromtimestamp(record.time_unix_ns / 1e9, UTC).isoformat()
    request_id = derived_request(_text(record.attributes, "session.id") or "", total, moment)
    return data if request_id is None else {**data, "request_id": request_id}


def _with_tokens(attributes: Attributes, *, provider: str, **counts: int) -> dict[str, Any] | None:
    if sum(counts.values()) == 0:
        return None
    data: dict[str, Any] = {"provider": provider, **counts}
    model = _text(attributes, "model")
    if model is not None:
        data["model"] = model[: limits.EVENT_ID_CHARS_MAX]
    return data


def _usd(attributes: Attributes) -> Decimal | None:
    """What the agent says it cost, USD to 6 places."""
    micros = _count(attributes, "cost_usd_micros")
    if micros:
        return Decimal(micros) / MICROS
    given = attributes.get("cost_usd")
    try:
        cost = Decimal(str(given)) if given is not None and not isinstance(given, bool) else None
        return cost.quantize(1 / MICROS) if cost is not None and cost.is_finite() and cost > 0 else None
    except InvalidOperation:
        return None


def _agent_of(record: LogRecord, defaults: Defaults) -> str | None:
    named = _text(record.resource, ATTRIBUTE_AGENT_ID) or defaults.agent_id
    return named if named is not None and is_agent_id(named) else None


def _text(attributes: Attributes, name: str) -> str | None:
    value = attributes.get(name)
    return value if isinstance(value, str) and value else None


def _count(attributes: Attributes, name: str) -> int:
    """A number of tokens; some exporters write numbers as texts."""
    value: Plain | None = attributes.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0
    return int(value) if 0 <= value <= 10**18 else 0
