"""Requests in: what ``rpc.session.*`` answers."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

import structlog
from sqlalchemy.exc import SQLAlchemyError

from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import (
    ApiKeyRecord,
    AssessManyRequest,
    AssessReply,
    AssessRequest,
    KeyCreateReply,
    KeyCreateRequest,
    KeyListReply,
    KeyListRequest,
    KeyLookupRequest,
    KeyRevokeRequest,
    KeyView,
    SessionKind,
    SessionListReply,
    SessionListRequest,
    SessionRequest,
    SessionView,
)
from hookbus.platform import telemetry
from hookbus.platform.bus.rpc_direct import DirectRpcServer
from hookbus.platform.database.engine import Database
from hookbus.session import metrics, security_events
from hookbus.session.domain import cursor, keys, people, risk, sessions
from hookbus.session.domain.keys import RandomBytes
from hookbus.session.domain.risk import DEFAULT_THRESHOLDS, Thresholds
from hookbus.session.domain.sessions import Session
from hookbus.session.handlers import utc_now
from hookbus.session.key_bucket import KeySync
from hookbus.session.people.logins import Logins
from hookbus.session.people.presence import Presence
from hookbus.session.reader import SessionReader
from hookbus.session.repository import keys as key_rows
from hookbus.session.repository import person_sessions
from hookbus.session.repository import sessions as session_rows

log = structlog.get_logger(__name__)


class Requests:
    """The methods of the session service. ``wake`` is called after a commit that queued security events."""

    def __init__(
        self,
        database: Database,
        key_sync: KeySync,
        reader: SessionReader,
        *,
        wake: Callable[[], None],
        logins: Logins | None = None,
        presence: Presence | None = None,
        thresholds: Thresholds = DEFAULT_THRESHOLDS,
        now: Callable[[], datetime] = utc_now,
        random_bytes: RandomBytes = os.urandom,
    ) -> None:
        self._database = database
        self._reader = reader
        self._logins = logins
        self._presence = presence
        self._thresholds = thresholds
        # Single reads need no transaction, which saves two round trips.
        self._reading = database.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._key_sync = key_sync
        self._wake = wake
        self._now = now
        self._random_bytes = random_bytes

    def register(self, server: DirectRpcServer) -> None:
        """Answer every method. Call before the broker starts."""
        server.method("assess", AssessRequest, self.assess)
        server.method_many("assess", AssessManyRequest, self.assess_many)
        server.method("list", SessionListRequest, self.list)
        server.method("show", SessionRequest, self.show)
        server.method("kill", SessionRequest, self.kill)
        server.method("revive", SessionRequest, self.revive)
        server.method("key_create", KeyCreateRequest, self.key_create)
        server.method("key_list", KeyListRequest, self.key_list)
        server.method("key_lookup", KeyLookupRequest, self.key_lookup)
        server.method("key_revoke", KeyRevokeRequest, self.key_revoke)

    async def assess(self, request: AssessRequest) -> AssessReply:
        """May this session go on: one read, no write."""
        return (await self.assess_many([request]))[0]

    async def assess_many(self, requests: Sequence[AssessRequest]) -> Sequence[AssessReply]:
        """May these sessions go on: one read for all, no write."""
        now = self._now()
        ids = {request.session for request in requests if request.session is not None}
        found = await self._read_many(ids)
        answers = [self._assessed(request, found, now) for request in requests]
        telemetry.mark_each(
            {"hookbus.risk": one.risk, "hookbus.risk_level": self._thresholds.level(one.risk).value} for one in answers
        )
        return answers

    def _assessed(self, request: AssessRequest, found: Mapping[str, Session], now: datetime) -> AssessReply:
        if request.session is None:
            return sessions.assessed(None, risk.Baseline(), now)
        seen = risk.baseline_of(request.fingerprint, request.network)
        answer = sessions.assessed(found.get(request.session), seen, now, self._thresholds)
        metrics.RISK_RATIO.observe(answer.risk)
        metrics.ASSESSMENTS.labels(answer.decision, answer.code).inc()
        return answer

    async def show(self, request: SessionRequest) -> SessionView:
        """One session with its evidence."""
        found = await self._read(request.id)
        if found is None:
            person = await self._person(request.id)
            if person is None:
                raise _no_session(request.id)
            return person
        return found.view(explain=True, thresholds=self._thresholds)

    async def list(self, request: SessionListRequest) -> SessionListReply:
        """A page of sessions of agents and people, newest last-seen first."""
        before, now = cursor.decode(request.cursor), self._now()
        risk_min, items_max = request.risk_min or 0.0, request.page_items_max
        views: list[SessionView] = []
        async with self._reading.connect() as connection:
            if request.kind is not SessionKind.PERSON and request.username is None:
                agents = await session_rows.page(
                    connection,
                    agent_id=request.agent_id,
                    state=request.state,
                    risk_min=risk_min,
                    before=before,
                    items_max=items_max,
                )
                views += [one.view(explain=False, thresholds=self._thresholds) for one in agents]
            if request.kind is not SessionKind.AGENT and request.agent_id is None:
                persons = await person_sessions.page(
                    connection,
                    username=request.username,
                    state=request.state,
                    risk_min=risk_min,
                    before=before,
                    items_max=items_max,
                    now=now,
                )
                views += [one.session.view(now) for one in persons]
        # Of each kind a whole page was read, so the newest of both are among them.
        page = sorted(views, key=lambda view: (view.last_seen_at, view.id), reverse=True)[:items_max]
        full = len(page) == items_max
        return SessionListReply(
            sessions=tuple(page), cursor=cursor.encode(page[-1].last_seen_at, page[-1].id) if full else None
        )

    async def kill(self, request: SessionRequest) -> SessionView:
        """Kill a session; the next assess obeys. Killing a killed one changes nothing."""
        actor, reason = risk.printable(request.actor), risk.printable(request.reason)
        if self._logins is not None and await self._person(request.id) is not None:
            await self._logins.end(request.id, reason=reason or "killed", actor=actor)
            return await self.show(request)

        def killed(session: Session) -> Session:
            return sessions.killed(session, by=actor, reason=reason, at=self._now())

        return await self._change(request.id, killed, security_events.SESSION_KILLED, actor=actor, reason=reason)

    async def revive(self, request: SessionRequest) -> SessionView:
        """Let a session go on and clear the evidence against it. Reviving a live one without any changes nothing."""
        actor, reason = risk.printable(request.actor), risk.printable(request.reason)
        if self._presence is not None and await self._person(request.id) is not None:
            return await self._presence.revive(request.id, actor=actor, reason=reason)

        def revived(session: Session) -> Session:
            return sessions.revived(session, at=self._now())

        return await self._change(request.id, revived, security_events.SESSION_REVIVED, actor=actor, reason=reason)

    async def key_create(self, request: KeyCreateRequest) -> KeyCreateReply:
        """Mint a key. Gateways that do not find it in the bucket yet ask for it, so the bucket may follow later."""
        now = self._now()
        actor = risk.printable(request.actor)
        key, api_key = keys.mint(
            name=risk.printable(request.name),
            scopes=request.scopes,
            ttl_s=request.ttl_seconds,
            now=now,
            random_bytes=self._random_bytes,
        )
        async with self._database.begin() as connection:
            await key_rows.insert(connection, key, created_by=actor)
            await security_events.about_key(connection, security_events.KEY_CREATED, key, actor=actor, at=now)
        self._wake()
        try:
            await self._key_sync.sync(key.key_id)
        except (ProblemError, SQLAlchemyError, OSError, TimeoutError) as error:
            log.warning("new key not in the bucket yet", key_id=key.key_id, error=type(error).__name__)
        return KeyCreateReply(key=key.view(), api_key=api_key)

    async def key_list(self, request: KeyListRequest) -> KeyListReply:
        """A page of keys, newest first."""
        before = cursor.decode(request.cursor)
        async with self._reading.connect() as connection:
            page = await key_rows.page(connection, before=before, items_max=request.page_items_max)
        full = len(page) == request.page_items_max
        return KeyListReply(
            keys=tuple(key.view() for key in page),
            cursor=cursor.encode(page[-1].created_at, page[-1].key_id) if full else None,
        )

    async def key_lookup(self, request: KeyLookupRequest) -> ApiKeyRecord:
        """The record of a key, revoked or not."""
        async with self._reading.connect() as connection:
            key = await key_rows.find(connection, request.key_id)
        if key is None:
            raise _no_key(request.key_id)
        return key.record()

    async def key_revoke(self, request: KeyRevokeRequest) -> KeyView:
        """Revoke a key. Answered only when the bucket says so to every gateway; repeating it changes nothing."""
        now, actor = self._now(), risk.printable(request.actor)
        async with self._database.begin() as connection:
            first = await key_rows.revoke(connection, request.key_id, at=now, by=actor)
            key = await key_rows.find(connection, request.key_id)
            if key is None:
                raise _no_key(request.key_id)
            if first:
                await security_events.about_key(connection, security_events.KEY_REVOKED, key, actor=actor, at=now)
        self._wake()
        await self._key_sync.sync(request.key_id)
        return key.view()

    async def _person(self, session_id: str) -> SessionView | None:
        """The session of a person; None for an agent's, which may have an id of the same form."""
        if self._presence is None or not people.is_session_id(session_id):
            return None
        return await self._presence.view(session_id)

    async def _read(self, session_id: str) -> Session | None:
        return (await self._read_many({session_id})).get(session_id)

    async def _read_many(self, session_ids: Collection[str]) -> Mapping[str, Session]:
        return await self._reader.read_many(session_ids)

    async def _change(
        self, session_id: str, change: Callable[[Session], Session], code: str, *, actor: str, reason: str
    ) -> SessionView:
        async with self._database.begin() as connection:
            before = (await session_rows.lock(connection, [session_id])).get(session_id)
            if before is None:
                raise _no_session(session_id)
            after = change(before)
            if after != before:
                await session_rows.save(connection, [after])
                await security_events.about_session(connection, code, after, actor=actor, reason=reason, at=self._now())
        self._wake()
        return after.view(explain=True, thresholds=self._thresholds)


def _no_session(session_id: str) -> ProblemError:
    return ProblemError(ProblemCode.NOT_FOUND, f"no session {session_id}")


def _no_key(key_id: str) -> ProblemError:
    return ProblemError(ProblemCode.NOT_FOUND, f"no API key {key_id}")
