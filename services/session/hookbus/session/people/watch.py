"""What a client looks like is weighed against the login of its session, stored, told, and acted upon."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from hookbus.contracts.people import ClientFacts
from hookbus.platform import telemetry
from hookbus.session import security_events
from hookbus.session.domain import person_risk, risk
from hookbus.session.domain.person_risk import Evidence, Facts
from hookbus.session.domain.risk import Level, Signal, Thresholds
from hookbus.session.people.clients import Places, facts_of
from hookbus.session.repository import assessments, person_evidence, person_sessions

SEEN_INTERVAL_S: Final = 30.0
"""A session that goes on as it was is written down this often."""
REASON_CHARS_MAX: Final = 1_000


class Standing(Enum):
    """What a session may do after it was weighed."""

    GOOD = auto()
    CONFIRM = auto()
    """Its password must be given again first."""
    ENDED = auto()


@dataclass(frozen=True)
class Watch:
    """Weighs clients. Callers hold the lock of the session's row."""

    places: Places
    thresholds: Thresholds

    def facts(self, client: ClientFacts) -> Facts:
        """A client as it is compared."""
        return facts_of(replace_controls(client), self.places)

    async def weigh(
        self,
        connection: AsyncConnection,
        sid: str,
        client: ClientFacts,
        at: datetime,
        *,
        refreshed: bool = False,
        more: tuple[Signal, ...] = (),
        confirmed: bool = False,
    ) -> Standing:
        """Weigh ``client``, which bears a credential of session ``sid``.

        Args:
            connection: of the caller's transaction.
            sid: a live session.
            client: what the gateway saw.
            at: now.
            refreshed: it rotates a token.
            more: what else was found against it.
            confirmed: it gave the password just now, so nothing is asked of it, though the evidence stands.
        """
        before = await person_evidence.read(connection, sid)
        seen = self.facts(client)
        after = person_risk.weighed(before, seen, at, refreshed=refreshed, more=more)
        level = self.thresholds.level(after.risk)
        telemetry.mark({"hookbus.risk": after.risk, "hookbus.risk_level": level.value})
        if risk.moved(before.signals, after.signals):
            await self._tell(connection, after, level, at)
            if level is Level.ASK and not confirmed:
                after = replace(after, confirm_since=after.confirm_since or at)
        elif (at - before.last_seen_at).total_seconds() < SEEN_INTERVAL_S and not refreshed:
            return Standing.CONFIRM if after.confirm_since is not None else Standing.GOOD
        await person_evidence.save(connection, after, address=seen.address)
        if level is Level.KILL and not confirmed:
            await self._end(connection, after, at)
            return Standing.ENDED
        return Standing.CONFIRM if after.confirm_since is not None else Standing.GOOD

    async def vouch(self, connection: AsyncConnection, sid: str, client: ClientFacts | None, at: datetime) -> None:
        """Clear what stands against a session: its person answered for it in ``client``, or an administrator for
        whichever client comes next."""
        before = await person_evidence.read(connection, sid)
        facts = None if client is None else self.facts(client)
        after = person_risk.vouched(before, facts, at)
        await person_evidence.save(connection, after, address=None if facts is None else facts.address)
        if risk.moved(before.signals, after.signals):
            await self._tell(connection, after, self.thresholds.level(after.risk), at)

    async def _tell(self, connection: AsyncConnection, after: Evidence, level: Level, at: datetime) -> None:
        await assessments.add(
            connection,
            session_id=after.sid,
            subject=f"user:{after.username}",
            risk=after.risk,
            level=level,
            signals=after.signals,
            at=at,
        )
        details = security_events.risk_data(after.risk, level, after.signals)
        await security_events.about_person(
            connection, security_events.RISK_ASSESSED, after.username, at, person_session=after.sid, **details
        )

    async def _end(self, connection: AsyncConnection, after: Evidence, at: datetime) -> None:
        reason = f"its risk reached {after.risk:.2f}. {risk.in_words(after.signals)}"[:REASON_CHARS_MAX]
        if await person_sessions.end(connection, [after.sid], at=at, reason=reason, by=security_events.SOURCE):
            await security_events.about_person(
                connection,
                security_events.PERSON_SESSION_ENDED,
                after.username,
                at,
                person_session=after.sid,
                reason=reason,
                actor=security_events.SOURCE,
            )


def replace_controls(client: ClientFacts) -> ClientFacts:
    """A client's facts without control characters, which PostgreSQL and terminals refuse."""
    return ClientFacts(
        address=risk.printable(client.address),
        user_agent=risk.printable(client.user_agent),
        header_names=client.header_names,
    )
