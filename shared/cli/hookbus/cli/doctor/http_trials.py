"""The installed HTTP hook, sent exactly as the agent would: to its own address, with its own headers."""

import json
import os
import re
import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from hookbus.cli.doctor.answers import HARMLESS, MUST_DENY, Outcome, of_denied, of_harmless, words
from hookbus.cli.doctor.findings import Finding, bad
from hookbus.cli.doctor.installed import Handler, as_list, as_object
from hookbus.cli.doctor.payloads import new_session, payload
from hookbus.client.transport import Endpoint, TransportError, post

TRIAL_TIMEOUT_S: Final = 10.0
"""Also where the agent itself would wait longer."""
_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def http_trials(handler: Handler) -> list[Finding]:
    """Harmless and must-deny."""
    name = f"{handler.agent} guard"
    headers, unset = _headers(handler, os.environ)
    if unset:
        named = ", ".join(sorted(unset))
        detail = f"its HTTP hooks send no key: {named} is not set here, or the hook is not allowed to read it"
        return [bad(name, detail, f"set {named} where the agent starts, and name it in the hook's allowedEnvVars")]
    if not all(f"{header}{value}".isascii() and f"{header}{value}".isprintable() for header, value in headers.items()):
        return [bad(name, "its HTTP hooks cannot be sent: a header holds unusual characters", _again(handler))]
    session = new_session()
    harmless = _send(handler, HARMLESS, session, headers)
    if harmless.fault is not None:
        return [bad(name, harmless.fault, harmless.remedy or _again(handler))]
    return [of_harmless(name, harmless), of_denied(name, _send(handler, MUST_DENY, session, headers))]


def _send(handler: Handler, command: str, session: str, headers: dict[str, str]) -> Outcome:
    body = json.dumps(payload(handler.agent, handler.event, command, session)).encode()
    limit_s = min(handler.timeout_s or TRIAL_TIMEOUT_S, TRIAL_TIMEOUT_S)
    began_s = time.monotonic()
    try:
        endpoint, path = _address(str(handler.value.get("url")))
    except ValueError as error:
        return Outcome(0.0, f"its HTTP hooks cannot be sent: {error}", _again(handler))
    try:
        reply = post(endpoint, path, body, headers, deadline=began_s + limit_s)
    except TransportError as error:
        fault = f"{endpoint.authority} does not answer its HTTP hooks: {error}; {_without_answer(handler)}"
        return Outcome(time.monotonic() - began_s, fault, f"run: hookbus up, or {_again(handler)}")
    text = reply.body.decode("utf-8", "replace")
    outcome = Outcome(time.monotonic() - began_s, said=words(text))
    if 200 <= reply.status < 300:
        outcome.read(text)
        return outcome
    outcome.fault = (
        f"{endpoint.authority} answers its HTTP hooks {reply.status}, which the agent takes for no objection"
    )
    outcome.remedy = {
        401: "set HOOKBUS_API_KEY where the agent starts: hookbus key create makes a new one",
        403: "run: hookbus key create with the scope events, and set HOOKBUS_API_KEY where the agent starts",
    }.get(reply.status, _again(handler))
    return outcome


def _address(url: str) -> tuple[Endpoint, str]:
    """Whom to connect to and what to ask for. Raises ValueError, whose text does not repeat the address."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii() or not path.isprintable() or " " in path:
        raise ValueError("their address holds unusual characters")
    return Endpoint(f"{parts.scheme}://{parts.netloc}"), path


def _again(handler: Handler) -> str:
    return f"set HOOKBUS_URL to the gateway and run: hookbus install {handler.agent} --mode http"


def _without_answer(handler: Handler) -> str:
    blocks = handler.value.get("onFailure") == "block"
    return "the agent runs no tool" if blocks else "the agent goes on unguarded"


def _headers(handler: Handler, environ: Mapping[str, str]) -> tuple[dict[str, str], set[str]]:
    """Its headers as the agent fills them in, and the variables in them that it leaves empty."""
    allowed = {name for name in as_list(handler.value.get("allowedEnvVars")) if isinstance(name, str)}
    unset: set[str] = set()

    def content(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        value = environ.get(name, "") if name in allowed else ""
        if not value:
            unset.add(name)
        return value

    headers = {"content-type": "application/json"}
    for name, value in as_object(handler.value.get("headers")).items():
        headers[name.lower()] = _VARIABLE.sub(content, str(value)).strip()
    return headers, unset
