"""``hookbus hook AGENT``: one hook's JSON on stdin, the answer in the agent's own protocol.

Everything here is imported before an agent may go on, so it imports only what one answer needs.
"""

from __future__ import annotations

import os
import select
import sys
import time

from hookbus.client import adapters, delivery, identity
from hookbus.client.adapters.base import Answer, Context, PayloadError, RefusedPayloadError, Translation
from hookbus.client.breaker import Breaker
from hookbus.client.compactjson import NotJsonError, as_object, dumps, loads
from hookbus.client.deciding import fallen_back, refused_input, remember, with_unseen
from hookbus.client.failing import CLOSED
from hookbus.client.gateway import (
    CredentialRefusedError,
    EventRefusedError,
    Gateway,
    GatewayAwayError,
    GatewayError,
)
from hookbus.client.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from hookbus.client.adapters.base import Adapter

STDIN_BYTES_MAX = 32 * 1024 * 1024
STDIN_CHUNK_BYTES = 1024 * 1024
STDIN_DEADLINE_S = 1.0
DECIDE_DEADLINE_S = 2.0
RECORD_DEADLINE_S = 0.5
EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_BLOCKED = 2
MESSAGE_CHARS_MAX = 4_000


class InputError(Exception):
    """Stdin did not bring one JSON object in time."""


def run(arguments: list[str], environ: Mapping[str, str]) -> int:
    """Answer one hook; returns the exit code the agent's protocol wants."""
    started = time.monotonic()
    adapter = adapters.load(arguments[0]) if arguments and arguments[0] in adapters.MODULE_BY_AGENT else None
    if arguments in (["--help"], ["-h"]):
        return EXIT_DONE if _write_all(sys.stdout, 1, f"{usage()}\n".encode()) else EXIT_FAILED
    if adapter is None or len(arguments) > (2 if adapter.takes_kind or adapter.takes_payload_argument else 1):
        say(usage())
        return EXIT_USAGE
    settings = Settings(environ)
    call = _Call(adapter, settings, environ, started)
    try:
        answer, may_replay = call.answer(arguments[1] if len(arguments) > 1 else None)
    except Exception as error:  # noqa: BLE001  # a fault in here must not decide by the accident of its exit code
        fault = f"fault in the hook: {type(error).__name__}: {error}"
        answer, may_replay = adapter.unreadable(fault, fail_closed=settings.fail_closed), False
    exit_code = write(answer)
    if may_replay:
        call.replay()
    call.read_transcript()
    return exit_code


def usage() -> str:
    """How the command is called."""
    return (
        "usage: hookbus hook AGENT < payload.json\n"
        "       hookbus hook generic KIND, hookbus hook copilot EVENT, hookbus hook codex JSON\n"
        f"AGENT: {', '.join(adapters.MODULE_BY_AGENT)}"
    )


class _Call:
    """One run of the command."""

    def __init__(self, adapter: Adapter, settings: Settings, environ: Mapping[str, str], started: float) -> None:
        self._adapter = adapter
        self._settings = settings
        self._environ = environ
        self._started = started
        breaker = Breaker(settings.data_dir, f"{settings.endpoint.authority}{settings.endpoint.prefix}")
        self._gateway = Gateway(settings.endpoint, settings.api_key, breaker, identity.tracestate(environ))
        self._recorded: Translation | None = None

    def answer(self, argument: str | None) -> tuple[Answer, bool]:
        """The answer, and whether the gateway was there, so that it may be given what waits in the spool."""
        closed = self._settings.fail_closed
        kind = argument if self._adapter.takes_kind else None
        try:
            if argument is not None and self._adapter.takes_payload_argument:
                payload = parse_payload(os.fsencode(argument))
            else:
                payload = read_payload(
                    self._started + min(STDIN_DEADLINE_S, self._settings.deadline_s or STDIN_DEADLINE_S)
                )
            translation = self._adapter.translate(payload, self._context(), kind=kind)
        except RefusedPayloadError as error:
            return self._adapter.answer(Translation("pre-task"), refused_input(str(error))), False
        except (InputError, NotJsonError, PayloadError) as error:
            return self._adapter.unreadable(str(error), fail_closed=closed), False
        self._recorded = translation
        if translation.pre_task is not None:
            return self._decide(translation, translation.pre_task)
        return self._record(translation)

    def replay(self) -> None:
        """Send what other hooks had to leave in the spool; the agent has its answer already."""
        delivery.replay(self._settings, self._gateway)

    def read_transcript(self) -> None:
        """Let a process of its own report what the agent's transcript says was used."""
        transcript = self._recorded.transcript if self._recorded is not None else None
        if transcript is None or self._recorded is None or self._settings.fault is not None:
            return
        if not os.path.exists(transcript.path):  # noqa: PTH110  # pathlib doubles the start time
            return
        from hookbus.client import aside

        agent_id = self._recorded.records[0]["agent_id"]
        aside.detached(lambda: aside.read_transcript(self._settings, self._gateway, transcript, agent_id))

    def _deadline(self, default_s: float) -> float:
        return self._started + (self._settings.deadline_s or default_s)

    def _context(self) -> Context:
        settings = self._settings
        agent_id = settings.agent_id
        return Context(
            agent_id=agent_id if agent_id is not None and identity.is_agent_id(agent_id) else None,
            project=settings.project,
            fingerprint=identity.fingerprint(self._environ),
            traceparent=identity.traceparent(self._environ),
            time_text=identity.time_text(),
            new_event_id=identity.event_id,
        )

    def _decide(self, translation: Translation, event: dict[str, Any]) -> tuple[Answer, bool]:
        deadline = self._deadline(DECIDE_DEADLINE_S)
        if self._settings.fault is not None:
            return self._degrade(translation, event, GatewayAwayError(self._settings.fault)), False
        event = delivery.in_order(self._settings, self._gateway, event, deadline=deadline)
        try:
            decision = self._gateway.decide(event, deadline=deadline)
        except EventRefusedError as error:
            if error.code == "input_refused":
                return self._adapter.answer(translation, refused_input(error.detail)), True
            return self._degrade(translation, event, error), True
        except (GatewayAwayError, CredentialRefusedError) as error:
            return self._degrade(translation, event, error), False
        remember(self._settings, event, decision)
        return self._adapter.answer(translation, with_unseen(decision, translation.unseen)), True

    def _degrade(self, translation: Translation, event: dict[str, Any], cause: GatewayError) -> Answer:
        """The fail mode decides, and what it decided is kept for the log."""
        decision, kept = fallen_back(self._settings, event, str(cause))
        lost = self._keep(kept, cause)
        if lost is not None:
            decision.reason += f"; NOT RECORDED: {lost}"
        answer = self._adapter.answer(translation, decision)
        answer.message = answer.message or f"hookbus: {decision.reason}"
        if lost is not None and decision.decision == "allow":
            answer.exit_code = answer.exit_code or EXIT_FAILED
        return answer

    def _keep(self, event: dict[str, Any], cause: GatewayError) -> str | None:
        """Spool the event, or set it aside where it was refused; returns why that failed, else None."""
        from hookbus.client.spool import SpoolError

        store = delivery.open_spool(self._settings, deadline=self._deadline(DECIDE_DEADLINE_S))
        try:
            if isinstance(cause, EventRefusedError):
                from hookbus.client.drain import reject

                reject(store, event, cause.code, cause.detail)
            else:
                store.append([dumps(event)])
        except SpoolError as error:
            return str(error)
        return None

    def _record(self, translation: Translation) -> tuple[Answer, bool]:
        if self._settings.fault is not None:
            return self._unrecorded(translation, self._settings.fault), False
        if not translation.records:
            return self._adapter.recorded(translation), False
        deadline = self._deadline(RECORD_DEADLINE_S)
        try:
            done = delivery.deliver(self._settings, self._gateway, translation.records, deadline=deadline)
        except Exception as error:
            from hookbus.client.spool import SpoolError

            if not isinstance(error, SpoolError):
                raise
            return self._unrecorded(translation, str(error)), False
        if done.problem is None:
            return self._adapter.recorded(translation), not done.spooled
        kept = "kept in the spool" if done.spooled else "not replayed"
        return self._adapter.undelivered(translation, f"hookbus: {done.problem} ({kept})"), False

    def _unrecorded(self, translation: Translation, cause: str) -> Answer:
        """The answer where records could neither be sent nor stored: the fail mode of their kind decides."""
        note = f"hookbus: NOT RECORDED: {cause}"
        if any(self._settings.fail_modes.of(record["kind"]) == CLOSED for record in translation.records):
            blocking = self._adapter.unrecorded(translation, f"{note}; the fail mode is closed")
            if blocking is not None:
                return blocking
        return Answer(exit_code=EXIT_FAILED, message=note)


def read_payload(deadline: float) -> dict[str, Any]:
    """The JSON object on stdin. Raises :class:`InputError` or NotJsonError; ``deadline`` is of ``time.monotonic``."""
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]  # None when the agent closed descriptor 0
        raise InputError("stdin is closed")
    parts: list[bytes] = []
    size = 0
    try:
        while True:
            readable, _, _ = select.select([0], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                raise InputError("stdin did not end in time")
            part = os.read(0, STDIN_CHUNK_BYTES)
            if not part:
                break
            parts.append(part)
            size += len(part)
            if size > STDIN_BYTES_MAX:
                raise InputError(f"the payload is over {STDIN_BYTES_MAX} bytes")
    except OSError as error:
        raise InputError(f"stdin cannot be read: {error.strerror}") from None
    return parse_payload(b"".join(parts))


def parse_payload(content: bytes) -> dict[str, Any]:
    """The JSON object of a payload's bytes. Raises :class:`InputError` or NotJsonError."""
    if not content:
        raise InputError("the payload is empty")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise InputError("the payload is not UTF-8 text") from None
    payload = as_object(loads(text.removeprefix("\ufeff")))
    if payload is None:
        raise InputError("the payload is not a JSON object")
    return payload


def write(answer: Answer) -> int:
    """Put the answer on stdout and stderr; returns the exit code.

    An objection that cannot be written must not be mistaken for an empty, hence consenting, stdout; what is none must
    not block because nobody reads it.
    """
    if answer.message:
        say(answer.message)
    if answer.body is None:
        return answer.exit_code
    if _write_all(sys.stdout, 1, dumps(answer.body) + b"\n"):
        return answer.exit_code
    say("hookbus: the answer could not be written: stdout is closed")
    return answer.exit_code or (EXIT_BLOCKED if answer.objects else EXIT_FAILED)


def say(message: str) -> None:
    """A message on stderr, without the control characters that could steer a terminal."""
    clean = "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in message[:MESSAGE_CHARS_MAX])
    _write_all(sys.stderr, 2, clean.encode("utf-8", "replace") + b"\n")


def _write_all(stream: object, descriptor: int, content: bytes) -> bool:
    # A stream that was closed at the start is None, and its descriptor may since belong to another file.
    if stream is None:
        return False
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        return False
    return True
