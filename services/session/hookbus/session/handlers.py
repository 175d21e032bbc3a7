"""Events in: each is counted once, moves its session, and adds to what its terminal
printed. One transaction a batch."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeAlias

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from hookbus.contracts.events import Event
from hookbus.platform.bus.delivery import Ack, Delivery, Poison, Verdict
from hookbus.platform.database.engine import Database, is_transient
from hookbus.session import security_events
from hookbus.session.domain import counting, sessions, terminals
from hookbus.session.domain.observe import Reading, UnreadablePayloadError, read_hook, read_security
from hookbus.session.domain.risk import DEFAULT_THRESHOLDS, Thresholds, in_words, moved
from hookbus.session.domain.sessions import Observation, Session
from hookbus.session.domain.terminals import Output, Terminal, TerminalChange
from hookbus.session.recall import Recall
from hookbus.session.repository import agent_records, assessments
from hookbus.session.repository import sessions as session_rows
from hookbus.session.repository import terminals as terminal_rows

log = structlog.get_logger(__name__)

Reader: TypeAlias = Callable[[Event, datetime], Reading]


def utc_now() -> datetime:
    """The clock of the process."""
    return datetime.now(UTC)


class EventHandlers:
    """Batch handlers of this service's two durable consumers. Close them at the end.

    ``wake`` is called after a commit that queued security events.
    """

    def __init__(
        self,
        database: Database,
        *,
        wake: Callable[[], None],
        thresholds: Thresholds = DEFAULT_THRESHOLDS,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._recall = Recall(database, thresholds)
        self._thresholds = thresholds
        self._wake = wake
        self._now = now

    async def close(self) -> None:
        """Give back what is kept of the pool."""
        await self._recall.close()

    async def hooks(self, deliveries: Sequence[Delivery]) -> Sequence[Verdict]:
        """Hook events: the life of sessions and terminals."""
        return await self._handle(deliveries, read_hook)

    async def security(self, deliveries: Sequence[Delivery]) -> Sequence[Verdict]:
        """Security events: refused inputs count against their session."""
        return await self._handle(deliveries, read_security)

    async def _handle(self, deliveries: Sequence[Delivery], read: Reader) -> Sequence[Verdict]:
        now = self._now()
        verdicts: list[Verdict] = [Ack()] * len(deliveries)
        readings: dict[int, Reading] = {}
        for index, delivery in enumerate(deliveries):
            if delivery.event.time < now - counting.AGE_MAX:
                log.info("too old to be counted", stream=delivery.stream, event_id=delivery.event.id)
                continue
            try:
                reading = replace(read(delivery.event, now), kept_until=counting.kept_until(delivery.event.time, now))
            except UnreadablePayloadError as error:
                verdicts[index] = Poison(str(error))
            else:
                if not reading.concerns_nothing:
                    readings[index] = reading
        if not readings:
            return verdicts
        stream = deliveries[0].stream
        try:
            await self._store(stream, list(readings.values()))
        except Exception as error:
            if is_transient(error):
                raise
            # Something in one event cannot be stored. Alone, each shows whether it is the one.
            log.warning("batch split", stream=stream, events=len(readings), error=type(error).__name__)
            for index, reading in readings.items():
                verdicts[index] = await self._store_alone(stream, reading)
        return verdicts

    async def _store_alone(self, stream: str, reading: Reading) -> Verdict:
        try:
            await self._store(stream, [reading])
        except Exception as error:
            if is_transient(error):
                raise
            return Poison(f"cannot be stored: {type(error).__name__}")
        return Ack()

    async def _store(self, stream: str, readings: Sequence[Reading]) -> None:
        # An id may come twice in one batch, too: the first reading of it is the one that counts.
        once = {reading.event_id: reading for reading in reversed(readings)}
        rest = await self._recall.move_on(stream, list(reversed(once.values())))
        if rest:
            await self._store_locked(stream, rest)

    async def _store_locked(self, stream: str, readings: Sequence[Reading]) -> None:
        async with self._database.begin() as connection:
            fresh = await session_rows.count_once(connection, stream, {r.event_id: r.kept_until for r in readings})
            new = [reading for reading in readings if reading.event_id in fresh]
            after, told = await self._observe(connection, [r.session for r in new if r.session is not None])
            await _keep_terminals(connection, [r.terminal for r in new if r.terminal is not None])
            if notes := [r.note for r in new if r.note is not None]:
                await agent_records.add_notes(connection, notes)
            if objections := [r.objection for r in new if r.objection is not None]:
                await agent_records.add_objections(connection, objections)
        self._recall.learn(after)
        if told:
            self._wake()

    async def _observe(
        self, connection: AsyncConnection, observations: Sequence[Observation]
    ) -> tuple[Sequence[Session], bool]:
        """The sessions as stored, and whether a security event was queued."""
        if not observations:
            return (), False
        openings = {seen.session_id: sessions.opened(seen) for seen in reversed(observations)}
        await session_rows.open_absent(connection, openings.values())
        before = await session_rows.lock(connection, openings)
        now = self._now()
        limits = self._thresholds
        folded = _fold(before, observations).items()
        after = {name: sessions.judged(session, at=now, thresholds=limits) for name, session in folded}
        stored = await session_rows.save(connection, after.values())
        told = [await self._tell(connection, before[session.id], session, now) for session in after.values()]
        return stored, any(told)

    async def _tell(self, connection: AsyncConnection, before: Session, session: Session, now: datetime) -> bool:
        """Store and announce what an event did to a session's risk; whether it did anything."""
        level = self._thresholds.level(session.risk)
        is_other = moved(before.signals, session.signals)
        if is_other:
            await assessments.add(
                connection,
                session_id=session.id,
                subject=session.agent_id,
                risk=session.risk,
                level=level,
                signals=session.signals,
                at=now,
            )
            await security_events.about_risk(connection, session, level, at=now)
        codes: list[str] = []
        if before.risk < self._thresholds.flag <= session.risk:
            codes.append(security_events.SESSION_FLAGGED)
        if before.killed_at is None and session.killed_at is not None:
            codes.append(security_events.SESSION_KILLED)
        for code in codes:
            await security_events.about_session(
                connection,
                code,
                session,
                actor=security_events.SOURCE,
                reason=in_words(session.signals),
                at=now,
            )
        return is_other or bool(codes)


def _fold(before: dict[str, Session], observations: Iterable[Observation]) -> dict[str, Session]:
    after = dict(before)
    for seen in observations:
        after[seen.session_id] = sessions.observed(after[seen.session_id], seen)
    return after


async def _keep_terminals(connection: AsyncConnection, changes: Sequence[TerminalChange]) -> None:
    if not changes:
        return
    openings = {(change.agent_id, change.terminal_id): terminals.opened(change) for change in reversed(changes)}
    after: dict[tuple[str, str], Terminal] = await terminal_rows.open_and_lock(connection, openings.values())
    outputs: list[Output] = []
    for change in changes:
        name = (change.agent_id, change.terminal_id)
        after[name], output = terminals.changed(after[name], change)
        if output is not None:
            outputs.append(output)
    await terminal_rows.save(connection, list(after.values()), outputs)
