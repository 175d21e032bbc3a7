"""What the client says to the gateway, and what each of its answers means."""

from __future__ import annotations

import time

from hookbus.client import retry
from hookbus.client.compactjson import NotJsonError, as_list, as_object, as_text, dumps, loads
from hookbus.client.transport import Endpoint, Reply, TransportError, post

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hookbus.client.breaker import Breaker

PATH_EVENTS = "/api/v1/events"
PATH_DECIDE = "/api/v1/decide"
VERDICTS = frozenset({"allow", "deny", "ask"})
REFUSED_STATUSES = frozenset({400, 409, 413, 415, 422})
"""Answers about the event itself: sending it again cannot end otherwise."""

CREDENTIAL_STATUSES = frozenset({401, 403})
DETAIL_CHARS_MAX = 500
REASON_CHARS_MAX = 2_000


class GatewayError(Exception):
    """The gateway did not do what was asked; the text says why, for a person."""


class GatewayAwayError(GatewayError):
    """No usable answer: down, too slow, overloaded, or something else listens there. The event may be sent again."""


class CredentialRefusedError(GatewayError):
    """The API key is missing, unknown or lacks the scope. The event may be sent again with another key."""


class EventRefusedError(GatewayError):
    """The event itself was refused."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{detail} ({code})")
        self.status = status
        self.code = code
        self.detail = detail


class Receipt:
    """What became of a batch: ``accepted`` event id -> sequence; ``refused`` event id -> (code, detail)."""

    __slots__ = ("accepted", "refused")

    def __init__(self) -> None:
        self.accepted: dict[str, int] = {}
        self.refused: dict[str, tuple[str, str]] = {}


class Decision:
    """The answer to a pre-task. ``degraded`` means: not the gateway but the fail mode decided."""

    __slots__ = ("body", "code", "decision", "degraded", "reason")

    def __init__(
        self, decision: str, reason: str, code: str, *, degraded: bool = False, body: dict[str, Any] | None = None
    ) -> None:
        self.decision = decision
        self.reason = reason
        self.code = code
        self.degraded = degraded
        self.body: dict[str, Any] = body or {}
        """The gateway's whole answer: reservation, budget, risk, event_id, trace_id."""


class Gateway:
    """The HTTP face of one gateway. ``deadline`` is always a moment of ``time.monotonic``, seconds."""

    def __init__(
        self, endpoint: Endpoint, api_key: str | None, breaker: Breaker | None = None, tracestate: str | None = None
    ) -> None:
        self._endpoint = endpoint
        self._breaker = breaker
        self._headers = {"content-type": "application/json", "accept": "application/json", "user-agent": "hookbus"}
        if tracestate is not None:
            self._headers["tracestate"] = tracestate
        if api_key is not None:
            self._headers["authorization"] = f"Bearer {api_key}"

    def publish(
        self, events: list[dict[str, Any]], *, deadline: float, retries: bool = True, replayed: bool = False
    ) -> Receipt:
        """Send events in short form; each must carry its ``id``. ``replayed`` says that they waited in a spool.

        Raises :class:`GatewayAwayError`, :class:`CredentialRefusedError`, or :class:`EventRefusedError` when the
        whole request was refused.
        """
        body = dumps(events[0] if len(events) == 1 else events)
        headers = self._headers_of(events[0])
        if replayed:
            headers["hookbus-replayed"] = "1"
        reply = self._post(PATH_EVENTS, body, headers, deadline, retries=retries)
        answer = as_object(_json(reply))
        if reply.status not in {200, 202} or answer is None:
            raise GatewayAwayError(f"what answers at the gateway's address is not hookbus (status {reply.status})")
        return _receipt(answer, [event["id"] for event in events])

    def decide(self, event: dict[str, Any], *, deadline: float) -> Decision:
        """Ask about a pre-task in short form. Raises as :meth:`publish` does."""
        reply = self._post(PATH_DECIDE, dumps(event), self._headers_of(event), deadline, retries=True)
        answer = as_object(_json(reply)) or {}
        verdict = answer.get("decision")
        if reply.status != 200 or verdict not in VERDICTS or answer.get("event_id", event["id"]) != event["id"]:
            raise GatewayAwayError(f"what answers at the gateway's address is not hookbus (status {reply.status})")
        reason = as_text(answer.get("reason")) or "no reason given"
        code = as_text(answer.get("code")) or "ok"
        return Decision(str(verdict), reason[:REASON_CHARS_MAX], code, body=answer)

    def _headers_of(self, event: dict[str, Any]) -> dict[str, str]:
        traceparent = event.get("traceparent")
        return {**self._headers, "traceparent": traceparent} if isinstance(traceparent, str) else dict(self._headers)

    def _post(self, path: str, body: bytes, headers: dict[str, str], deadline: float, *, retries: bool) -> Reply:
        def attempt() -> Reply:
            return post(self._endpoint, path, body, headers, deadline=deadline)

        breaker = self._breaker
        if breaker is not None and (wait_s := breaker.wait_s()) > 0:
            raise GatewayAwayError(f"the gateway did not answer the last hooks; it is asked again in {wait_s:.0f} s")
        try:
            reply = retry.call(attempt, deadline=deadline) if retries else attempt()
        except TransportError as error:
            if breaker is not None:
                breaker.failed()
            raise GatewayAwayError(f"the gateway does not answer: {error}") from None
        if breaker is not None:
            breaker.answered()
        if reply.status in CREDENTIAL_STATUSES:
            raise CredentialRefusedError(_credential_text(reply))
        if reply.status in REFUSED_STATUSES:
            problem = as_object(_json(reply)) or {}
            code = as_text(problem.get("code")) or f"http_{reply.status}"
            raise EventRefusedError(reply.status, code[:64], _refusal_text(problem)[:DETAIL_CHARS_MAX])
        if reply.status >= 300:
            problem = as_object(_json(reply)) or {}
            detail = as_text(problem.get("detail")) or as_text(problem.get("title")) or "no detail"
            raise GatewayAwayError(f"the gateway answers {reply.status}: {detail[:DETAIL_CHARS_MAX]}")
        return reply


def deadline_in(seconds: float) -> float:
    """The moment of ``time.monotonic`` that lies ``seconds`` ahead."""
    return time.monotonic() + seconds


def _refusal_text(problem: dict[str, Any]) -> str:
    """The problem's detail, and the first field it names: it is mostly the one that is wrong."""
    detail = as_text(problem.get("detail")) or as_text(problem.get("title")) or "refused"
    field = as_object(next(iter(as_list(problem.get("errors")) or []), None)) or {}
    return f"{detail}: {field.get('loc')}: {field.get('msg')}" if field else detail


def _credential_text(reply: Reply) -> str:
    if reply.status == 401:
        return "the gateway refuses the API key (401): set HOOKBUS_API_KEY, or api_key in client.toml, to a valid key"
    return "the API key lacks the scope (403): use a key with scope events (hookbus key create)"


def _json(reply: Reply) -> object:
    try:
        return loads(reply.body.decode())
    except (NotJsonError, UnicodeDecodeError):
        return None


def _receipt(answer: dict[str, Any], ids: list[str]) -> Receipt:
    receipt = Receipt()
    for item in as_list(answer.get("accepted")) or []:
        entry = as_object(item) or {}
        name, sequence = entry.get("id"), entry.get("seq")
        if name in ids:
            receipt.accepted[str(name)] = sequence if isinstance(sequence, int) else 0
    for item in as_list(answer.get("rejected")) or []:
        entry = as_object(item) or {}
        index = entry.get("index")
        if isinstance(index, int) and 0 <= index < len(ids):
            code = as_text(entry.get("code")) or "rejected"
            detail = as_text(entry.get("detail")) or "refused"
            receipt.refused[ids[index]] = (code[:64], detail[:DETAIL_CHARS_MAX])
    if len(receipt.accepted) + len(receipt.refused) == 0:
        raise GatewayAwayError("the gateway's answer names none of the events sent")
    return receipt
