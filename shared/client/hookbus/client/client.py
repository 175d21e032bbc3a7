"""The library: publish events and ask for decisions, with retries and the spool inside."""

from __future__ import annotations

import os
from contextlib import contextmanager

from hookbus.client import delivery, identity, receipts
from hookbus.client.adapters.base import KINDS
from hookbus.client.adapters.shaping import shape, unseen_names
from hookbus.client.compactjson import dumps
from hookbus.client.deciding import fallen_back, refused_input, remember, with_unseen
from hookbus.client.gateway import (
    CredentialRefusedError,
    Decision,
    EventRefusedError,
    Gateway,
    GatewayAwayError,
    deadline_in,
)
from hookbus.client.safejson import jsonable
from hookbus.client.settings import Settings
from hookbus.client.spool import SpoolError
from hookbus.client.tags import Tags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from hookbus.client.receipts import LogReceipt

PUBLISH_DEADLINE_S = 10.0
DECIDE_DEADLINE_S = 2.0
SOURCE = "hookbus/client"


class ClientError(Exception):
    """A call that cannot succeed as it is: a setting, an argument, or an event the gateway refuses."""


class Published:
    """One published event. ``spooled`` means: stored on disk, sent when the gateway is back; ``problem`` says why."""

    __slots__ = ("id", "problem", "sequence", "spooled")

    def __init__(self, event_id: str, sequence: int | None, *, spooled: bool, problem: str | None) -> None:
        self.id = event_id
        self.sequence = sequence
        """The event's place in the bus's stream; None while it is spooled, 0 where the bus knew the id."""
        self.spooled = spooled
        self.problem = problem


class DeniedError(ClientError):
    """A reservation was not given: ``decision`` says why."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(f"{decision.decision}: {decision.reason} [{decision.code}]")
        self.decision = decision


class Reservation:
    """Budget held for one operation. What is not settled is given back when the operation ends."""

    def __init__(self, client: Client, decision: Decision, fields: dict[str, Any], options: dict[str, Any]) -> None:
        self.decision = decision
        self.operation_id: str = fields["operation_id"]
        self._client = client
        self._fields = fields
        self._options = options
        self._usage: dict[str, Any] = {}

    def settle(self, *, tokens_used: int | None = None, cost: str | None = None, **usage: Any) -> None:
        """Say what was really used: tokens, USD as a decimal text, or ``model`` with tokens by kind.

        It is charged when the operation ends; the last word counts.
        """
        given = {"tokens_used": tokens_used, "cost": cost, **usage}
        self._usage = {name: value for name, value in given.items() if value is not None}

    def close(self, *, failed: bool) -> Published:
        """End the operation: charge what was settled, or give the hold back."""
        data = {**self._fields, **self._usage, "status": "failed" if failed else "completed"}
        return self._client.publish("post-task", data, **self._options)


class Client:
    """A synchronous client of one gateway; safe to share between threads, since it keeps no connection.

    What is not given comes from the environment and ``client.toml``. ``deadline_s`` bounds each call with all its
    retries; ``fail_mode`` is one that :mod:`hookbus.client.failing` knows, and ``fail_closed`` says which of the
    first two. Raises :class:`ClientError` for settings that are not usable.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        agent_id: str | None = None,
        project: str | None = None,
        data_dir: str | None = None,
        fail_closed: bool | None = None,
        fail_mode: str | None = None,
        deadline_s: float | None = None,
    ) -> None:
        environ = dict(os.environ)
        given = {
            "HOOKBUS_URL": url,
            "HOOKBUS_API_KEY": api_key,
            "HOOKBUS_AGENT_ID": agent_id,
            "HOOKBUS_PROJECT": project,
            "HOOKBUS_DATA_DIR": data_dir,
            "HOOKBUS_FAIL_MODE": fail_mode or (None if fail_closed is None else "closed" if fail_closed else "open"),
            "HOOKBUS_DEADLINE_S": None if deadline_s is None else str(deadline_s),
        }
        environ.update({name: value for name, value in given.items() if value is not None})
        self._environ = environ
        self._settings = Settings(environ)
        if self._settings.fault is not None:
            raise ClientError(self._settings.fault)
        self._gateway = Gateway(self._settings.endpoint, self._settings.api_key)

    def publish(
        self,
        kind: str,
        data: dict[str, Any] | None = None,
        *,
        agent_id: str | None = None,
        session: str | None = None,
        project: str | None = None,
        event_id: str | None = None,
        tags: dict[str, Any] | None = None,
    ) -> Published:
        """Publish one event; where the gateway is away it is spooled and sent later under the same id.

        ``tags`` are WHO, WHEN, PROJECT and WHY in any form that :mod:`hookbus.client.tags` knows.
        Raises :class:`ClientError` when the event is refused, and
        :class:`hookbus.client.spool.SpoolError` when it could be neither sent nor stored.
        """
        event = self._event(kind, data, agent_id=agent_id, session=session, project=project, event_id=event_id)
        if tags is not None:
            event = {
                **event,
                **Tags(tags).attributes(),
                **({"project": event["project"]} if "project" in event else {}),
            }
        deadline = deadline_in(self._settings.deadline_s or PUBLISH_DEADLINE_S)
        done = delivery.deliver(self._settings, self._gateway, [event], deadline=deadline)
        if done.refused:
            raise ClientError(done.problem or "refused")
        sequence = done.accepted.get(event["id"])
        return Published(event["id"], sequence, spooled=bool(done.spooled), problem=done.problem)

    def decide(
        self,
        tool: str,
        tool_input: dict[str, Any] | None = None,
        *,
        agent_id: str | None = None,
        session: str | None = None,
        project: str | None = None,
        operation_id: str | None = None,
        event_id: str | None = None,
        **fields: Any,
    ) -> Decision:
        """Ask whether a tool may run. ``fields`` go into ``data`` (``cwd``, ``estimated_tokens`` ...).

        Where the gateway is away or refuses the key the fail mode decides: the decision is then ``degraded`` and the
        event spooled. Raises :class:`ClientError` for illegal arguments,
        :class:`hookbus.client.spool.SpoolError` when a degraded decision could not be stored.
        """
        data = {**fields, "tool": tool, "tool_input": tool_input or {}}
        if operation_id is not None:
            data["operation_id"] = operation_id
        event = self._event("pre-task", data, agent_id=agent_id, session=session, project=project, event_id=event_id)
        deadline = deadline_in(self._settings.deadline_s or DECIDE_DEADLINE_S)
        event = delivery.in_order(self._settings, self._gateway, event, deadline=deadline)
        try:
            decision = self._gateway.decide(event, deadline=deadline)
        except EventRefusedError as error:
            if error.code == "input_refused":
                return refused_input(error.detail)
            raise ClientError(str(error)) from None
        except (GatewayAwayError, CredentialRefusedError) as error:
            decision, kept = fallen_back(self._settings, event, str(error))
            delivery.open_spool(self._settings, deadline=deadline).append([dumps(kept)])
            return decision
        remember(self._settings, event, decision)
        return with_unseen(decision, unseen_names(event["data"]))

    def receipt(self, event_id: str, *, deadline_s: float | None = None) -> LogReceipt | None:
        """The proof that an event is in the audit log; None where it is not there by the deadline.

        Needs a key with the scope ``audit``. Raises :class:`ClientError` when no receipt can be had.
        """
        deadline = deadline_in(deadline_s or self._settings.deadline_s or PUBLISH_DEADLINE_S)
        try:
            return receipts.fetch(self._settings.endpoint, self._settings.api_key, event_id, deadline=deadline)
        except receipts.ReceiptError as error:
            raise ClientError(str(error)) from None

    @contextmanager
    def reserve(self, tool: str, tool_input: dict[str, Any] | None = None, **options: Any) -> Generator[Reservation]:
        """Hold budget while an operation runs; it takes what :meth:`decide` takes.

        ``with client.reserve("Bash", {...}, estimated_tokens=500) as held: ...; held.settle(tokens_used=420)``. Raises
        :class:`DeniedError` where the answer is no or a question, and what :meth:`decide` and :meth:`publish` raise.
        """
        reservation = self.open_reservation(tool, tool_input, **options)
        try:
            yield reservation
        except BaseException:
            reservation.close(failed=True)
            raise
        reservation.close(failed=False)

    def open_reservation(self, tool: str, tool_input: dict[str, Any] | None = None, **options: Any) -> Reservation:
        """As :meth:`reserve`, to be ended by :meth:`Reservation.close`."""
        operation_id = options.pop("operation_id", None) or identity.event_id()
        decision = self.decide(tool, tool_input, operation_id=operation_id, **options)
        if decision.decision != "allow":
            raise DeniedError(decision)
        whose = {name: options[name] for name in ("agent_id", "session", "project") if name in options}
        return Reservation(self, decision, {"tool": tool, "operation_id": operation_id}, whose)

    def _event(
        self,
        kind: str,
        data: dict[str, Any] | None,
        *,
        agent_id: str | None,
        session: str | None,
        project: str | None,
        event_id: str | None,
    ) -> dict[str, Any]:
        if kind not in KINDS:
            raise ClientError(f"the kind is none of: {', '.join(sorted(KINDS))}")
        agent = agent_id or self._settings.agent_id
        if agent is None or not identity.is_agent_id(agent):
            raise ClientError("an agent id is 1-64 of a-z A-Z 0-9 _ -")
        if event_id is not None and not identity.is_identifier(event_id):
            raise ClientError("an event id is 1-128 of a-z A-Z 0-9 . _ : -")
        event: dict[str, Any] = {
            "id": event_id or identity.event_id(),
            "kind": kind,
            "agent_id": agent,
            "source": SOURCE,
            "time": identity.time_text(),
            "traceparent": identity.traceparent(self._environ),
            "data": shape(jsonable(data or {}), to_decide=kind == "pre-task"),
        }
        optional = {
            "project": identity.scope_name(project) if project else self._settings.project,
            "session": identity.identifier(session) if session else None,
        }
        event.update({name: value for name, value in optional.items() if value})
        return event


__all__ = ["Client", "ClientError", "Decision", "DeniedError", "Published", "Reservation", "SpoolError"]
