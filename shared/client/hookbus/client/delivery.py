"""How an event gets to the gateway: at once, or through the spool when it cannot or others wait there already."""

from __future__ import annotations

import os

from hookbus.client.gateway import (
    CredentialRefusedError,
    EventRefusedError,
    Gateway,
    GatewayAwayError,
    GatewayError,
    deadline_in,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hookbus.client.settings import Settings
    from hookbus.client.spool import Spool

REPLAY_EVENTS_MAX = 100
"""How many waiting events one hook sends on behalf of the others."""

REPLAY_DEADLINE_S = 0.5


class Delivery:
    """What became of the events of one call. ``problem`` says why not all were accepted, for a person."""

    def __init__(self) -> None:
        self.accepted: dict[str, int] = {}
        self.spooled: list[str] = []
        self.refused: dict[str, tuple[str, str]] = {}
        self.problem: str | None = None
        self.credential_refused = False


def spool_waits(settings: Settings) -> bool:
    """Whether events wait in the spool; costs one folder listing and no import."""
    try:
        names = os.listdir(settings.spool_dir)  # noqa: PTH208  # pathlib doubles the start time
    except OSError:
        return False
    return any(name.endswith(".seg") for name in names)


def open_spool(settings: Settings, *, deadline: float | None = None) -> Spool:
    """The spool of the data folder, for who has time until ``deadline``."""
    from hookbus.client.spool import Spool

    return Spool(settings.spool_dir, key_file=settings.spool_key_file, deadline=deadline)


def deliver(settings: Settings, gateway: Gateway, events: list[dict[str, Any]], *, deadline: float) -> Delivery:
    """Send events in short form, each with its ``id``, or spool them. ``deadline`` is of ``time.monotonic``.

    While others wait in the spool these go behind them, so that a session's events keep their order. Raises
    :class:`hookbus.client.spool.SpoolError` when an event could neither be sent nor stored.
    """
    if spool_waits(settings):
        return _deliver_behind(settings, gateway, events, deadline)
    delivery = Delivery()
    try:
        receipt = gateway.publish(events, deadline=deadline)
    except EventRefusedError as error:
        if len(events) > 1:
            return _deliver_singly(settings, gateway, events, deadline)
        _refuse(settings, delivery, events[0], error.code, error.detail, deadline=deadline)
    except (GatewayAwayError, CredentialRefusedError) as error:
        _spool(settings, delivery, events, error, deadline=deadline)
    else:
        delivery.accepted = receipt.accepted
        for event in events:
            if event["id"] in receipt.refused:
                _refuse(settings, delivery, event, *receipt.refused[event["id"]], deadline=deadline)
        unanswered = [event for event in events if event["id"] not in {**receipt.accepted, **receipt.refused}]
        if unanswered:
            cause = GatewayAwayError("the gateway left events unanswered")
            _spool(settings, delivery, unanswered, cause, deadline=deadline)
    return delivery


def in_order(settings: Settings, gateway: Gateway, event: dict[str, Any], *, deadline: float) -> dict[str, Any]:
    """A pre-task as it may be decided now: behind what waits of its session, or saying that it is not."""
    if not spool_waits(settings):
        return event
    from hookbus.client.ordering import send_first

    return send_first(open_spool(settings), gateway, event, deadline, events_max=REPLAY_EVENTS_MAX)


def replay(settings: Settings, gateway: Gateway) -> None:
    """Send a bounded number of waiting events for the hooks that could not. Silent: what fails goes on waiting."""
    if not spool_waits(settings):
        return
    from hookbus.client.drain import drain

    deadline = deadline_in(REPLAY_DEADLINE_S)
    drain(
        open_spool(settings),
        lambda batch: gateway.publish(batch, deadline=deadline, retries=False, replayed=True),
        events_max=REPLAY_EVENTS_MAX,
        deadline=deadline,
    )


def _deliver_behind(settings: Settings, gateway: Gateway, events: list[dict[str, Any]], deadline: float) -> Delivery:
    from hookbus.client.drain import drain

    delivery = Delivery()
    _spool(settings, delivery, events, None, deadline=deadline)
    report = drain(
        open_spool(settings),
        lambda batch: gateway.publish(batch, deadline=deadline, retries=False, replayed=True),
        events_max=REPLAY_EVENTS_MAX,
        deadline=deadline,
    )
    delivery.accepted = {name: report.sent[name] for name in delivery.spooled if name in report.sent}
    delivery.refused = {name: report.refused[name] for name in delivery.spooled if name in report.refused}
    delivery.spooled = [name for name in delivery.spooled if name not in {**report.sent, **report.refused}]
    if delivery.refused:
        delivery.problem = _refusal_text(settings, *next(iter(delivery.refused.values())))
    elif delivery.spooled:
        delivery.problem = str(report.error or "others wait in the spool before it")
        delivery.credential_refused = isinstance(report.error, CredentialRefusedError)
    return delivery


def _deliver_singly(settings: Settings, gateway: Gateway, events: list[dict[str, Any]], deadline: float) -> Delivery:
    whole = Delivery()
    for event in events:
        part = deliver(settings, gateway, [event], deadline=deadline)
        whole.accepted.update(part.accepted)
        whole.spooled += part.spooled
        whole.refused.update(part.refused)
        whole.problem = whole.problem or part.problem
        whole.credential_refused = whole.credential_refused or part.credential_refused
    return whole


def _spool(
    settings: Settings, delivery: Delivery, events: list[dict[str, Any]], cause: GatewayError | None, *, deadline: float
) -> None:
    from hookbus.client.compactjson import dumps
    from hookbus.client.spool import SpoolError

    try:
        open_spool(settings, deadline=deadline).append([dumps(event) for event in events])
    except SpoolError as error:
        raise type(error)(f"{cause}; and {error}" if cause else str(error)) from None
    delivery.spooled += [event["id"] for event in events]
    if cause is not None:
        delivery.problem = str(cause)
        delivery.credential_refused = isinstance(cause, CredentialRefusedError)


def _refuse(
    settings: Settings, delivery: Delivery, event: dict[str, Any], code: str, detail: str, *, deadline: float
) -> None:
    from hookbus.client.drain import reject

    reject(open_spool(settings, deadline=deadline), event, code, detail)
    delivery.refused[event["id"]] = (code, detail)
    delivery.problem = _refusal_text(settings, code, detail)


def _refusal_text(settings: Settings, code: str, detail: str) -> str:
    return f"the gateway refuses the event: {detail} ({code}); kept in {settings.spool_dir}/rejected.jsonl"
