"""People's sessions while they last: seen in a client, confirmed, vouched for, shown."""

from dataclasses import replace

from hookbus.contracts.people import (
    ConfirmRequest,
    PersonSeenRequest,
    PersonSessionRecord,
    PersonSessionRequest,
    TokensReply,
)
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import SessionView
from hookbus.platform.bus.rpc_direct import DirectRpcServer
from hookbus.session import security_events
from hookbus.session.people.logins import Logins, no_session, reissued
from hookbus.session.people.parts import Parts
from hookbus.session.repository import person_evidence, person_sessions, users


class Presence:
    """What gateways and administrators tell and ask about sessions of people."""

    def __init__(self, parts: Parts, logins: Logins) -> None:
        self._parts = parts
        self._logins = logins

    def register(self, server: DirectRpcServer) -> None:
        """Answer the methods. Call before the broker starts."""
        server.method("person_seen", PersonSeenRequest, self.seen)
        server.method("confirm", ConfirmRequest, self.confirm)

    async def seen(self, request: PersonSeenRequest) -> PersonSessionRecord:
        """The state of a session after its access token was met in a client. Told to every gateway before this
        returns, where it changed.

        Raises:
            ProblemError: ``not_found``, ``unavailable``.
        """
        parts, now = self._parts, self._parts.now()
        async with parts.begin() as connection:
            found = await person_sessions.lock(connection, request.sid)
            if found is None:
                raise no_session(request.sid)
            before = found.record()
            if found.session.lives(now):
                await parts.watch.weigh(connection, request.sid, request.client, now)
            after = await person_sessions.find(connection, request.sid)
        assert after is not None
        if after.record() != before:
            await parts.bring(request.sid)
        return after.record()

    async def confirm(self, request: ConfirmRequest) -> TokensReply:
        """The person gives their password again: what stands against the session is cleared, and every token it had
        until now is dead, so that whoever holds a copy is out.

        Raises:
            ProblemError: ``unauthenticated``, ``rate_limited``, ``not_found``, ``unavailable``.
        """
        parts = self._parts
        record = await self._logins.lookup(PersonSessionRequest(sid=request.sid))
        async with parts.hasher.turn():
            proof = await self._logins.prove(record.username, request.password, request.totp, request.client)
        now = parts.now()
        async with parts.begin() as connection:
            user = await users.lock(connection, record.username)
            found = await person_sessions.lock(connection, request.sid)
            changed = user is None or user.password_hash != proof.user.password_hash or user.disabled_at is not None
            if user is None or found is None or changed or not found.session.lives(now):
                raise ProblemError(ProblemCode.UNAUTHENTICATED, "the session has ended")
            # The user's epoch moves along: no later one of this session may equal an older one.
            user = replace(user, epoch=user.epoch + 1)
            await users.save(connection, user)
            session, text = reissued(parts, found.session, user.epoch, now)
            if not await person_sessions.rotate(connection, session, before=found.session.generation):
                raise ProblemError(ProblemCode.UNAUTHENTICATED, "the session has ended")
            await parts.watch.weigh(connection, request.sid, request.client, now, confirmed=True)
            await parts.watch.vouch(connection, request.sid, request.client, now)
            await person_sessions.unsync(connection, request.sid)
            await security_events.about_person(
                connection, security_events.PERSON_CONFIRMED, record.username, now, person_session=request.sid
            )
        await parts.bring(request.sid)
        return self._logins.tokens(session, text, must_change_password=found.must_change_password)

    async def revive(self, sid: str, *, actor: str, reason: str) -> SessionView:
        """An administrator vouches for a live session: what stands against it is cleared. One that ended stays so.

        Raises:
            ProblemError: ``not_found``, ``conflict``, ``unavailable``.
        """
        parts, now = self._parts, self._parts.now()
        async with parts.begin() as connection:
            found = await person_sessions.lock(connection, sid)
            if found is None:
                raise no_session(sid)
            if not found.session.lives(now):
                raise ProblemError(ProblemCode.CONFLICT, "a person's session that ended stays so: log in again")
            await parts.watch.vouch(connection, sid, None, now)
            await security_events.about_person(
                connection,
                security_events.SESSION_REVIVED,
                found.session.username,
                now,
                person_session=sid,
                actor=actor,
                reason=reason,
            )
        await parts.bring(sid)
        view = await self.view(sid)
        assert view is not None
        return view

    async def view(self, sid: str) -> SessionView | None:
        """A person's session in the form of an agent's; None where there is none of that id."""
        async with self._parts.begin() as connection:
            found = await person_sessions.find(connection, sid)
            if found is None:
                return None
            evidence = await person_evidence.read(connection, sid)
        return found.session.view(self._parts.now(), evidence.signals)
