"""Logins, refreshes and their end: what ``rpc.session.login``, ``refresh``, ``logout`` and ``jwks`` answer."""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from hookbus.contracts.budget import Empty
from hookbus.contracts.people import (
    ClientFacts,
    JwksReply,
    LoginRequest,
    PersonSessionRecord,
    PersonSessionRequest,
    RefreshRequest,
    TokensReply,
)
from hookbus.contracts.problems import FieldError, ProblemCode, ProblemError
from hookbus.platform.bus.rpc_direct import DirectRpcServer
from hookbus.session import security_events
from hookbus.session.domain import people, person_risk, refresh, risk
from hookbus.session.domain.people import NOBODY, PersonSession, SessionOfUser, User
from hookbus.session.domain.places import Placed
from hookbus.session.domain.refresh import Meaning
from hookbus.session.people import failures, totp
from hookbus.session.people.parts import Parts
from hookbus.session.people.signing import ACCESS_TOKEN_TTL_S
from hookbus.session.people.watch import Standing, replace_controls
from hookbus.session.repository import person_evidence, person_sessions, users
from hookbus.session.settings import SessionLimitPolicy

REFRESHES_CONCURRENT_MAX: Final = 4
"""Copies of one token wait for one row: they must not hold every connection meanwhile."""
ATTEMPTS_FORGOTTEN_MAX: Final = 500
FORGET_INTERVAL_S: Final = 600.0


@dataclass(frozen=True)
class Proven:
    """A user who proved who they are, after so many attempts under their name that failed."""

    user: User
    failures: int


class Logins:
    """People come, stay and go."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._refreshing = asyncio.Semaphore(REFRESHES_CONCURRENT_MAX)

    def register(self, server: DirectRpcServer) -> None:
        """Answer the methods. Call before the broker starts."""
        server.method("login", LoginRequest, self.login)
        server.method("refresh", RefreshRequest, self.refresh)
        server.method("logout", PersonSessionRequest, self.logout)
        server.method("person_lookup", PersonSessionRequest, self.lookup)
        server.method("jwks", Empty, self.jwks)

    async def login(self, request: LoginRequest) -> TokensReply:
        """A new session for who knows the password. Each attempt costs one hash, whoever it names."""
        parts = self._parts
        async with parts.hasher.turn():
            proven = await self.prove(request.username, request.password, request.totp, request.client)
        opened, text, ended = await self._open(proven, request.client)
        await parts.bring_later(opened.sid, *ended)
        return self.tokens(opened, text, must_change_password=proven.user.must_change_password)

    async def prove(
        self, name: str, password: str, code: str | None, client: ClientFacts, *, ask_code: bool = True
    ) -> Proven:
        """The user of ``name``, who gave the right password and code. The caller holds a turn of the hasher.

        Without ``ask_code`` the password alone proves: for who is logged in already.

        Raises:
            ProblemError: ``unauthenticated``, or ``rate_limited`` while the name is locked.
        """
        parts, now = self._parts, self._parts.now()
        digest = people.name_digest(name)
        async with parts.begin() as connection:
            user = await users.find(connection, people.known_name(name) or NOBODY)
            attempts = await users.attempts(connection, digest)
        usable = user is not None and user.disabled_at is None
        right = await parts.hasher.verify(user.password_hash if user and usable else None, password)
        failures.refuse_locked(attempts, now)
        if user is not None and right and user.totp_secret is not None and code is None and ask_code:
            needed = FieldError(loc="totp", msg="the code of the authenticator application")
            raise ProblemError(ProblemCode.UNAUTHENTICATED, "a one-time code is needed", errors=(needed,))
        async with parts.begin() as connection:
            if (
                user is not None
                and right
                and (not ask_code or await totp.accepted(connection, parts.vault, user, code, now))
            ):
                await users.forget_attempts(connection, digest)
                return Proven(user, attempts.failures)
            known = None if user is None else user.username
            await failures.add(connection, digest, known, now, address=risk.printable(client.address))
        raise ProblemError(ProblemCode.UNAUTHENTICATED, "the username or password is not valid")

    async def _open(self, proven: Proven, client: ClientFacts) -> tuple[PersonSession, str, list[str]]:
        parts, now = self._parts, self._parts.now()
        facts = replace_controls(client)
        seen = parts.watch.facts(facts)
        async with parts.begin() as connection:
            user = await users.lock(connection, proven.user.username)
            if user is None or user.disabled_at is not None or user.password_hash != proven.user.password_hash:
                raise ProblemError(ProblemCode.UNAUTHENTICATED, "the username or password is not valid")
            live = await person_sessions.lock_live(connection, user.username, now)
            surplus = [one.sid for one in people.surplus([one.session for one in live])]
            if surplus and parts.limit_policy is SessionLimitPolicy.REFUSE:
                raise ProblemError(ProblemCode.CONFLICT, f"{user.username} has {len(live)} sessions: end one first")
            await person_sessions.end(connection, surplus, at=now, reason="too many sessions")
            sid = people.session_id(parts.random_bytes(people.SESSION_ID_BYTES))
            text = refresh.mint(sid, 1, parts.random_bytes(refresh.SECRET_BYTES), parts.vault.pepper)
            session = PersonSession(
                sid=sid,
                username=user.username,
                epoch=user.epoch,
                generation=1,
                current_sha256=refresh.digest(text),
                previous_sha256=None,
                salt=parts.random_bytes(refresh.SALT_BYTES),
                rotated_at=now,
                opened_at=now,
                expires_at=now + timedelta(seconds=people.SESSION_AGE_MAX_S),
            )
            elsewhere = await person_evidence.last_placed(connection, user.username)
            await person_sessions.insert(connection, session, facts, seen.user_agent)
            here = None if seen.place is None else Placed(seen.place, now)
            found = (
                *person_risk.login_failures(proven.failures, now),
                *person_risk.travel(elsewhere, here, now),
            )
            await parts.watch.weigh(connection, sid, facts, now, more=found, confirmed=True)
            await security_events.about_person(
                connection,
                security_events.LOGIN_SUCCEEDED,
                user.username,
                now,
                address=facts.address,
                user_agent=facts.user_agent,
                person_session=sid,
                ended=list(surplus),
            )
        return session, text, surplus

    async def refresh(self, request: RefreshRequest) -> TokensReply:
        """The successor of a refresh token and a new access token."""
        parts = self._parts
        shown = refresh.parse(request.refresh_token)
        if shown is None:
            raise _no_refresh()
        standing = Standing.GOOD
        async with self._refreshing, parts.begin() as connection:
            found = await person_sessions.lock(connection, shown.sid)
            if found is None:
                raise _no_refresh()
            now, rotates = parts.now(), Meaning.ROTATES
            judged = refresh.judge(
                found.session, shown, now, pepper=parts.vault.pepper, salt=parts.random_bytes(refresh.SALT_BYTES)
            )
            if judged.meaning is Meaning.REUSED:
                await self._end_reused(connection, found, request.client)
                standing = Standing.ENDED
            elif judged.successor is not None and found.must_change_password:
                raise ProblemError(ProblemCode.FORBIDDEN, "change the one-time password first")
            elif judged.successor is not None:
                standing = await parts.watch.weigh(
                    connection, shown.sid, request.client, now, refreshed=judged.meaning is rotates
                )
                if (
                    standing is Standing.GOOD
                    and judged.meaning is rotates
                    and not await person_sessions.rotate(connection, judged.session, before=found.session.generation)
                ):
                    raise _no_refresh()
        if standing is not Standing.GOOD:
            await parts.bring_later(shown.sid)
        if judged.successor is None or standing is Standing.ENDED:
            raise _no_refresh()
        if standing is Standing.CONFIRM:
            raise ProblemError(ProblemCode.CONFIRM_REQUIRED, "give the password of this session again first")
        return self.tokens(judged.session, judged.successor, must_change_password=False)

    async def _end_reused(self, connection: AsyncConnection, found: SessionOfUser, client: ClientFacts) -> None:
        session, now = found.session, self._parts.now()
        reason = "a replaced refresh token came again"
        await person_sessions.end(connection, [session.sid], at=now, reason=reason, by=security_events.SOURCE)
        found_now = (person_risk.token_reuse(now),)
        await self._parts.watch.weigh(connection, session.sid, client, now, more=found_now)
        await security_events.about_person(
            connection,
            security_events.TOKEN_REUSED,
            session.username,
            now,
            person_session=session.sid,
            address=risk.printable(client.address),
        )

    async def logout(self, request: PersonSessionRequest) -> PersonSessionRecord:
        """End the session. Answered when every gateway is told; repeating it changes nothing."""
        return await self.end(request.sid, reason="logged out", actor="")

    async def end(self, sid: str, *, reason: str, actor: str) -> PersonSessionRecord:
        """End one session, told to every gateway before this returns.

        Raises:
            ProblemError: ``not_found``, ``unavailable``.
        """
        parts, now = self._parts, self._parts.now()
        async with parts.begin() as connection:
            found = await person_sessions.lock(connection, sid)
            if found is None:
                raise no_session(sid)
            if await person_sessions.end(connection, [sid], at=now, reason=reason, by=actor or None):
                await security_events.about_person(
                    connection,
                    security_events.PERSON_SESSION_ENDED,
                    found.session.username,
                    now,
                    person_session=sid,
                    reason=reason,
                    actor=actor or f"user:{found.session.username}",
                )
        await parts.bring(sid)
        return await self.lookup(PersonSessionRequest(sid=sid))

    async def lookup(self, request: PersonSessionRequest) -> PersonSessionRecord:
        """The record of a session that the bucket does not hold."""
        async with self._parts.begin() as connection:
            found = await person_sessions.find(connection, request.sid)
        if found is None:
            raise no_session(request.sid)
        return found.record()

    async def jwks(self, _request: Empty) -> JwksReply:
        """The public keys of access tokens."""
        return self._parts.signer.published()

    async def forget_forever(self) -> None:
        """The background task that forgets failed logins which no longer count."""
        parts = self._parts
        while True:
            before = parts.now() - timedelta(seconds=people.FAILURES_FORGOTTEN_S)
            try:
                async with parts.begin() as connection:
                    count = await users.forget_old_attempts(connection, before=before, items_max=ATTEMPTS_FORGOTTEN_MAX)
            except ProblemError:
                count = 0
            await asyncio.sleep(0 if count == ATTEMPTS_FORGOTTEN_MAX else FORGET_INTERVAL_S)

    def tokens(self, session: PersonSession, text: str, *, must_change_password: bool) -> TokensReply:
        """What a person is given: a new access token beside the refresh token ``text``."""
        return TokensReply(
            access_token=self._parts.signer.issue(session),
            expires_in=ACCESS_TOKEN_TTL_S,
            refresh_token=text,
            refresh_expires_at=session.expires_at,
            session=session.sid,
            must_change_password=must_change_password,
        )


def reissued(parts: Parts, session: PersonSession, epoch: int, now: datetime) -> tuple[PersonSession, str]:
    """A session under new tokens of another epoch, and its refresh token. Whatever it had before is dead."""
    generation = session.generation + 1
    text = refresh.mint(session.sid, generation, parts.random_bytes(refresh.SECRET_BYTES), parts.vault.pepper)
    after = replace(
        session,
        epoch=epoch,
        generation=generation,
        current_sha256=refresh.digest(text),
        previous_sha256=None,
        rotated_at=now,
    )
    return after, text


def no_session(sid: str) -> ProblemError:
    """The problem of a session that does not exist."""
    return ProblemError(ProblemCode.NOT_FOUND, f"no session {sid}")


def _no_refresh() -> ProblemError:
    return ProblemError(ProblemCode.UNAUTHENTICATED, "the refresh token is not valid")
