"""What the service tells the bus: a limit's threshold was crossed."""

from typing import Final

from hookbus.budget.amounts import wire_amount
from hookbus.budget.repository.outbox import OutboxEvent
from hookbus.budget.warnings import Warned
from hookbus.budget.windows import to_datetime
from hookbus.contracts.budget import ScopeKind
from hookbus.contracts.events import Event, type_of_security
from hookbus.contracts.subjects import security_subject

CODE_WARNING: Final = "budget_warning"
SOURCE: Final = "/hookbus/budget"
SUBJECT_OF_SCOPES: Final = "budget"
"""The event subject where the limit is not an agent's own: an event's subject is an agent id."""


def warning_event(warned: Warned) -> OutboxEvent:
    """``security.budget_warning`` for one crossing; its id is the same however often the crossing is found."""
    account, rule = warned.account.config, warned.rule
    event = Event(
        id=warned.key,
        source=SOURCE,
        type=type_of_security(CODE_WARNING),
        subject=account.name if account.kind is ScopeKind.AGENT else SUBJECT_OF_SCOPES,
        time=to_datetime(warned.at_us),
        project=account.name if account.kind is ScopeKind.PROJECT else None,
        data={
            "scope": account.kind,
            "name": account.name,
            "session": warned.session.config.name if warned.session is not None else None,
            "unit": rule.unit,
            "window": rule.window,
            "mode": rule.mode,
            "threshold": warned.threshold,
            "amount": str(wire_amount(rule.unit, rule.amount)),
            "spent": str(wire_amount(rule.unit, warned.spent)),
            "resets_at": to_datetime(warned.resets_at_us).isoformat() if warned.resets_at_us is not None else None,
        },
    )
    return OutboxEvent(event.id, security_subject(CODE_WARNING), event.to_wire().decode())
