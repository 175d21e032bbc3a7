"""Users and their passwords: what ``rpc.session.user_*``, ``password`` and ``totp_*`` answer."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from hookbus.contracts.people import (
    USERS_LISTED_MAX,
    BootstrapReply,
    BootstrapRequest,
    PasswordRequest,
    PersonSessionRecord,
    PersonSessionRequest,
    Role,
    TokensReply,
    TotpCodeRequest,
    TotpReply,
    UserCreateRequest,
    UserListReply,
    UserListRequest,
    UserPasswordReply,
    UserRequest,
    UserView,
)
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.bus.rpc_direct import DirectRpcServer
from hookbus.session import security_events
from hookbus.session.domain import passwords, people, risk
from hookbus.session.domain.people import User
from hookbus.session.people import failures, totp
from hookbus.session.people.logins import Logins, reissued
from hookbus.session.people.parts import Parts
from hookbus.session.repository import person_sessions, users

BreachCheck = Callable[[str], Awaitable[bool]]


class Accounts:
    """Who there is, and how they prove it."""

    def __init__(self, parts: Parts, logins: Logins, breached: frozenset[str]) -> None:
        self._parts = parts
        self._logins = logins
        self._breached = breached
        self._breach_check: BreachCheck | None = None

    def ask(self, breach_check: BreachCheck) -> None:
        """Ask a range service, too, before a password is taken."""
        self._breach_check = breach_check

    def register(self, server: DirectRpcServer) -> None:
        """Answer the methods. Call before the broker starts."""
        server.method("user_bootstrap", BootstrapRequest, self.bootstrap)
        server.method("user_create", UserCreateRequest, self.create)
        server.method("user_list", UserListRequest, self.list)
        server.method("user_reset", UserRequest, self.reset)
        server.method("user_disable", UserRequest, self.disable)
        server.method("account", PersonSessionRequest, self.account)
        server.method("password", PasswordRequest, self.password)
        server.method("totp_begin", PersonSessionRequest, self.totp_begin)
        server.method("totp_confirm", TotpCodeRequest, self.totp_confirm)
        server.method("totp_remove", TotpCodeRequest, self.totp_remove)

    async def bootstrap(self, request: BootstrapRequest) -> BootstrapReply:
        """The first administrator's one-time password. Made anew until anybody has a password of their own, so that a
        start that died before it wrote the password down can be repeated."""
        parts = self._parts
        async with parts.begin() as connection:
            if await users.anybody_has_own_password(connection):
                return BootstrapReply(username=request.username)
        one_time, hashed = await self._one_time()
        now = parts.now()
        async with parts.begin() as connection:
            if await users.count_admins(connection) and await users.anybody_has_own_password(connection):
                return BootstrapReply(username=request.username)
            made = User(request.username, Role.ADMIN, hashed, must_change_password=True, epoch=1, created_at=now)
            if await users.insert(connection, made, created_by="first start"):
                await security_events.about_person(
                    connection, security_events.USER_CREATED, made.username, now, role=made.role, actor="first start"
                )
                return BootstrapReply(username=made.username, one_time_password=one_time)
            user = await _locked(connection, request.username)
            sids = await self._start_over(connection, user, hashed, now, actor="first start")
        await parts.bring_later(*sids)
        return BootstrapReply(username=request.username, one_time_password=one_time)

    async def create(self, request: UserCreateRequest) -> UserPasswordReply:
        """A new user with a one-time password."""
        parts, now = self._parts, self._parts.now()
        one_time, hashed = await self._one_time()
        user = User(request.username, request.role, hashed, must_change_password=True, epoch=1, created_at=now)
        actor = risk.printable(request.actor)
        async with parts.begin() as connection:
            if not await users.insert(connection, user, created_by=actor):
                raise ProblemError(ProblemCode.CONFLICT, f"there is a user {request.username} already")
            await security_events.about_person(
                connection, security_events.USER_CREATED, user.username, now, role=user.role, actor=actor
            )
        return UserPasswordReply(user=user.view(0), one_time_password=one_time)

    async def list(self, _request: UserListRequest) -> UserListReply:
        """Every user, by name."""
        async with self._parts.begin() as connection:
            found = await users.page(connection, items_max=USERS_LISTED_MAX)
            live = await person_sessions.count_live(connection, self._parts.now())
        return UserListReply(users=tuple(user.view(live.get(user.username, 0)) for user in found))

    async def reset(self, request: UserRequest) -> UserPasswordReply:
        """A new one-time password for a user who lost theirs or their device; lets a disabled one in again."""
        parts, now = self._parts, self._parts.now()
        one_time, hashed = await self._one_time()
        async with parts.begin() as connection:
            user = await _locked(connection, request.username)
            sids = await self._start_over(connection, user, hashed, now, actor=risk.printable(request.actor))
            after = await _locked(connection, request.username)
        await parts.bring(*sids)
        return UserPasswordReply(user=after.view(0), one_time_password=one_time)

    async def disable(self, request: UserRequest) -> UserView:
        """Let a user in no more, and end what they have open. The last administrator stays."""
        parts, now = self._parts, self._parts.now()
        async with parts.begin() as connection:
            admins = await users.count_admins(connection)
            user = await _locked(connection, request.username)
            if user.role is Role.ADMIN and user.disabled_at is None and admins <= 1:
                raise ProblemError(ProblemCode.CONFLICT, "the last administrator cannot be disabled")
            if user.disabled_at is None:
                user = replace(user, disabled_at=now, epoch=user.epoch + 1)
                await users.save(connection, user)
                await security_events.about_person(
                    connection,
                    security_events.USER_DISABLED,
                    user.username,
                    now,
                    actor=risk.printable(request.actor),
                )
            sids = [one.session.sid for one in await person_sessions.lock_live(connection, user.username, now)]
            await person_sessions.end(connection, sids, at=now, reason="the user was disabled")
        await parts.bring(*sids)
        return user.view(0)

    async def password(self, request: PasswordRequest) -> TokensReply:
        """Change one's own password. Ends all other sessions; the own one goes on under new tokens."""
        parts = self._parts
        owner = await self._owner(request.sid)
        async with parts.hasher.turn():
            proof = await self._logins.prove(
                owner.username, request.current_password, None, request.client, ask_code=False
            )
        proven = proof.user
        await self._check(request, proven.username)
        async with parts.hasher.turn():
            hashed = await parts.hasher.hash(request.new_password)
        now = parts.now()
        async with parts.begin() as connection:
            user = await _locked(connection, proven.username)
            live = {one.session.sid: one for one in await person_sessions.lock_live(connection, user.username, now)}
            own = live.get(request.sid)
            if own is None or user.password_hash != proven.password_hash or user.disabled_at is not None:
                raise ProblemError(ProblemCode.UNAUTHENTICATED, "the session has ended")
            user = replace(
                user, password_hash=hashed, must_change_password=False, password_changed_at=now, epoch=user.epoch + 1
            )
            await users.save(connection, user)
            others = [sid for sid in live if sid != request.sid]
            await person_sessions.end(connection, others, at=now, reason="the password was changed")
            session, text = reissued(parts, own.session, user.epoch, now)
            if not await person_sessions.rotate(connection, session, before=own.session.generation):
                raise ProblemError(ProblemCode.UNAUTHENTICATED, "the session has ended")
            await parts.watch.vouch(connection, request.sid, request.client, now)
            await person_sessions.unsync(connection, request.sid)
            await security_events.about_person(
                connection, security_events.PASSWORD_CHANGED, user.username, now, ended=len(others)
            )
        await parts.bring(*live)
        return self._logins.tokens(session, text, must_change_password=False)

    async def account(self, request: PersonSessionRequest) -> UserView:
        """The user whose session it is."""
        return await self._view((await self._owner(request.sid)).username)

    async def totp_begin(self, request: PersonSessionRequest) -> TotpReply:
        """A new TOTP secret, which counts once a first code confirmed it. Refused while one counts already: whoever
        holds a token alone must not put a device of theirs in its place."""
        owner = await self._owner(request.sid)
        secret = totp.new_secret()
        async with self._parts.begin() as connection:
            user = await _locked(connection, owner.username)
            if user.totp_secret is not None:
                raise ProblemError(ProblemCode.CONFLICT, "one-time codes are in use: remove them first, with a code")
            sealed = self._parts.vault.seal(secret, user.username)
            await users.save(connection, replace(user, totp_pending=sealed))
        return TotpReply(secret=secret, uri=totp.uri(secret, owner.username))

    async def totp_confirm(self, request: TotpCodeRequest) -> UserView:
        """From now on a login asks for a code of this device."""
        parts, now = self._parts, self._parts.now()
        owner = await self._owner(request.sid)
        async with parts.begin() as connection:
            user = await _locked(connection, owner.username)
            if user.totp_pending is None:
                raise ProblemError(ProblemCode.CONFLICT, "no one-time codes wait to be confirmed")
            waiting = replace(user, totp_secret=user.totp_pending)
            if not await totp.accepted(connection, parts.vault, waiting, request.code, now):
                raise ProblemError(ProblemCode.UNAUTHENTICATED, "the one-time code is not valid")
            await users.save(connection, replace(waiting, totp_pending=None))
            await security_events.about_person(connection, security_events.TOTP_ENABLED, user.username, now)
        return await self._view(owner.username)

    async def totp_remove(self, request: TotpCodeRequest) -> UserView:
        """Logins ask for no code any more. Takes a valid one; any other counts as a failed login, for whoever holds a
        stolen session could try them all."""
        parts, now = self._parts, self._parts.now()
        owner = await self._owner(request.sid)
        digest = people.name_digest(owner.username)
        async with parts.begin() as connection:
            # Under the lock of the user's row, codes tried at once are counted one after the other.
            user = await _locked(connection, owner.username)
            if user.totp_secret is None:
                raise ProblemError(ProblemCode.CONFLICT, "one-time codes are not in use")
            failures.refuse_locked(await users.attempts(connection, digest), now)
            right = await totp.accepted(connection, parts.vault, user, request.code, now)
            if right:
                await users.save(connection, replace(user, totp_secret=None, totp_pending=None))
                await security_events.about_person(connection, security_events.TOTP_REMOVED, user.username, now)
            else:
                await failures.add(connection, digest, user.username, now, person_session=request.sid)
        if not right:
            raise ProblemError(ProblemCode.UNAUTHENTICATED, "the one-time code is not valid")
        return await self._view(owner.username)

    async def tell_breach_check_failed(self, error: str) -> None:
        """Queue the event of a range service that could not be asked."""
        async with self._parts.begin() as connection:
            await security_events.about_person(
                connection, security_events.BREACH_CHECK_FAILED, None, self._parts.now(), error=error
            )

    async def _start_over(
        self, connection: AsyncConnection, user: User, hashed: str, now: datetime, *, actor: str
    ) -> tuple[str, ...]:
        """A one-time password, no TOTP, no session, no failed logins; the sessions that ended."""
        after = replace(
            user,
            password_hash=hashed,
            must_change_password=True,
            epoch=user.epoch + 1,
            disabled_at=None,
            totp_secret=None,
            totp_pending=None,
        )
        await users.save(connection, after)
        await users.forget_attempts(connection, people.name_digest(user.username))
        sids = tuple(one.session.sid for one in await person_sessions.lock_live(connection, user.username, now))
        await person_sessions.end(connection, sids, at=now, reason="the password was reset")
        await security_events.about_person(connection, security_events.USER_RESET, user.username, now, actor=actor)
        return sids

    async def _one_time(self) -> tuple[str, str]:
        password = passwords.one_time_password(self._parts.random_bytes(passwords.ONE_TIME_PASSWORD_BYTES))
        async with self._parts.hasher.turn():
            return password, await self._parts.hasher.hash(password)

    async def _check(self, request: PasswordRequest, username: str) -> None:
        if request.new_password == request.current_password:
            raise passwords.refused("must differ from the current one")
        passwords.check(request.new_password, username=username, breached=self._breached)
        if self._breach_check is not None and await self._breach_check(request.new_password):
            raise passwords.refused("is among the passwords known from breaches")

    async def _owner(self, sid: str) -> PersonSessionRecord:
        record = await self._logins.lookup(PersonSessionRequest(sid=sid))
        if record.ended or record.expires_at <= self._parts.now():
            raise ProblemError(ProblemCode.UNAUTHENTICATED, "the session has ended")
        return record

    async def _view(self, username: str) -> UserView:
        async with self._parts.begin() as connection:
            user = await _locked(connection, username)
            live = await person_sessions.count_live(connection, self._parts.now())
        return user.view(live.get(username, 0))


async def _locked(connection: AsyncConnection, username: str) -> User:
    user = await users.lock(connection, username)
    if user is None:
        raise ProblemError(ProblemCode.NOT_FOUND, f"no user {username}")
    return user
