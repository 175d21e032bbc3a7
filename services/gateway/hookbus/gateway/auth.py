"""Who calls, and what they may do."""

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from starlette.requests import HTTPConnection

from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import API_KEY_PATTERN, ApiKeyRecord, KeyScope
from hookbus.gateway import metrics
from hookbus.gateway.clients import client_address, client_facts
from hookbus.gateway.keys import KeyCache, KeySource
from hookbus.gateway.presence import Presence
from hookbus.gateway.rates import Limiter
from hookbus.gateway.tokens import TokenChecker, TokenHolder, TokenRefusedError, looks_like_token

_API_KEY: Final = re.compile(API_KEY_PATTERN.removeprefix("^").removesuffix("$"))
_KEY_ID: Final = slice(4, 16)


@dataclass(frozen=True)
class Principal:
    """The owner of an API key, or the person of an access token, that was checked."""

    key_id: str
    """The API key's id, or the id of the person's session: what rates are counted by."""
    scopes: frozenset[KeyScope]
    username: str | None = None
    """The person; None for an API key."""

    @property
    def actor(self) -> str:
        """How the principal is named in ledgers and in the audit log."""
        return f"key:{self.key_id}" if self.username is None else f"user:{self.username}"

    def may(self, scope: KeyScope) -> bool:
        """``admin`` includes all others."""
        return scope in self.scopes or KeyScope.ADMIN in self.scopes


@dataclass(frozen=True)
class Admission:
    """A principal, and a way to ask later whether the credential still is what it was.

    ``lives`` raises a ``ProblemError`` (``unavailable``) when that cannot be told.
    """

    principal: Principal
    lives: Callable[[], Awaitable[bool]]


class Authenticator:
    """Checks the bearer credential of a request."""

    def __init__(  # noqa: PLR0917 - wired in one place
        self,
        source: KeySource,
        tokens: TokenChecker,
        presence: Presence,
        failures: Limiter,
        keys: Limiter,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._source = source
        self._cache = KeyCache(source.from_bucket)
        self._unknown = KeyCache(source.from_service)
        self.tokens: Final = tokens
        self._presence = presence
        self._failures = failures
        self._keys = keys
        self._clock = clock

    async def principal(self, request: HTTPConnection, scope: KeyScope) -> Principal:
        """The caller, who holds ``scope``.

        Raises:
            ProblemError: ``forbidden``, and what :meth:`admit` raises.
        """
        caller = await self.caller(request)
        if not caller.may(scope):
            who = "the API key" if caller.username is None else "your role"
            raise ProblemError(ProblemCode.FORBIDDEN, f"{who} lacks the scope {scope}")
        return caller

    async def caller(self, request: HTTPConnection) -> Principal:
        """The caller, whatever they may do; raises as :meth:`admit`."""
        return (await self.admit(request, bearer(request))).principal

    async def admit(self, request: HTTPConnection, credential: str | None) -> Admission:
        """Who bears ``credential``, and whether they still may.

        Raises:
            ProblemError: ``unauthenticated``, ``rate_limited``, ``forbidden`` for a person whose password is still the
                one-time one, ``confirm_required``, or ``unavailable`` when no key can be checked: then nobody gets in.
        """
        address = client_address(request)
        if credential is not None and looks_like_token(credential):
            holder = await self._holder(request, credential)
            check_settled(holder)
            principal = Principal(holder.sid, holder.scopes, holder.username)
            return Admission(principal, lambda: self.tokens.lives(holder))
        key = credential if credential is not None and _API_KEY.fullmatch(credential) is not None else None
        if key is None:
            raise self._failure(address, "send an API key or an access token: Authorization: Bearer ...")
        record = await self._record(key[_KEY_ID], address)
        digest = hashlib.sha256(key.encode()).hexdigest()
        if record is None or not hmac.compare_digest(digest, record.secret_sha256):
            raise self._failure(address, "the API key is not valid")
        if record.revoked or (record.expires_at is not None and record.expires_at <= self._clock()):
            raise self._failure(address, "the API key is revoked or has expired")
        self._keys.hit(record.key_id)
        return Admission(Principal(record.key_id, record.scopes), lambda: self._key_lives(record))

    async def person(self, request: HTTPConnection) -> TokenHolder:
        """The person whose access token the request bears, whatever their role, and be it only to change a password or
        to give it again.

        Raises:
            ProblemError: ``unauthenticated``, ``rate_limited``, or ``unavailable`` when no token can be checked.
        """
        token = bearer(request)
        if token is None or not looks_like_token(token):
            raise self._failure(client_address(request), "send an access token: Authorization: Bearer ...")
        return await self._holder(request, token)

    async def _holder(self, request: HTTPConnection, token: str) -> TokenHolder:
        address = client_address(request)
        self._failures.check(address)
        try:
            holder = await self.tokens.check(token)
            if not holder.confirm_required:
                record = await self._presence.met(holder.sid, client_facts(request))
                if record is not None and record.confirm_required:
                    self.tokens.forget(holder.sid)
                    holder = replace(holder, confirm_required=True)
        except TokenRefusedError as error:
            raise self._failure(address, str(error)) from error
        self._keys.hit(holder.sid)
        return holder

    async def _key_lives(self, before: ApiKeyRecord) -> bool:
        record = await self._cache.get(before.key_id) or await self._unknown.get(before.key_id)
        if record is None or (record.expires_at is not None and record.expires_at <= self._clock()):
            return False
        return record == before

    def check_attempts(self, request: HTTPConnection) -> str:
        """The address of a login; raises ``rate_limited`` where too many failed from it."""
        address = client_address(request)
        self._failures.check(address)
        return address

    def failed(self, address: str) -> None:
        """Count a failed login or refresh."""
        metrics.AUTHENTICATION_FAILURES.inc()
        self._failures.count(address)

    async def _record(self, key_id: str, address: str) -> ApiKeyRecord | None:
        record = await self._cache.get(key_id)
        if record is not None:
            return record
        # Only an address that keeps guessing is kept away from the service behind; a key in the bucket always works.
        self._failures.check(address)
        return await self._unknown.get(key_id)

    def _failure(self, address: str, detail: str) -> ProblemError:
        metrics.AUTHENTICATION_FAILURES.inc()
        self._failures.hit(address)
        return ProblemError(ProblemCode.UNAUTHENTICATED, detail)


def check_settled(holder: TokenHolder) -> None:
    """Refuse a person who must deal with their password first.

    Raises:
        ProblemError: ``forbidden``, ``confirm_required``.
    """
    if holder.must_change_password:
        raise ProblemError(ProblemCode.FORBIDDEN, "change the one-time password first")
    if holder.confirm_required:
        raise ProblemError(
            ProblemCode.CONFIRM_REQUIRED,
            "this session went on in a client unlike the one it began in: give its password again"
            " (POST /api/v1/session/confirm), or log in anew",
        )


def bearer(request: HTTPConnection) -> str | None:
    """The bearer credential of a request's header, None where it has none."""
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    credential = credential.strip(" ")
    return credential if scheme.lower() == "bearer" and credential else None
