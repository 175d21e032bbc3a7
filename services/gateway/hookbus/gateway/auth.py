"""Who calls, and what they may do."""

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address
from typing import Final

from starlette.requests import Request

from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import API_KEY_PATTERN, ApiKeyRecord, KeyScope
from hookbus.gateway import metrics
from hookbus.gateway.keys import KeyCache, KeySource
from hookbus.gateway.rates import Limiter
from hookbus.gateway.tokens import TokenChecker, TokenHolder, TokenRefusedError, looks_like_token

_API_KEY: Final = re.compile(API_KEY_PATTERN.removeprefix("^").removesuffix("$"))
_KEY_ID: Final = slice(4, 16)
_IPV6_PREFIX_BITS: Final = 64
"""One customer of a provider holds a whole /64; its addresses count as one."""
_ADDRESS_UNKNOWN: Final = "unknown"


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


class Authenticator:
    """Checks the bearer credential of a request."""

    def __init__(
        self,
        source: KeySource,
        tokens: TokenChecker,
        failures: Limiter,
        keys: Limiter,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._source = source
        self._cache = KeyCache(source.from_bucket)
        self._unknown = KeyCache(source.from_service)
        self.tokens: Final = tokens
        self._failures = failures
        self._keys = keys
        self._clock = clock

    async def principal(self, request: Request, scope: KeyScope) -> Principal:
        """The caller, who holds ``scope``.

        Raises:
            ProblemError: ``unauthenticated``, ``forbidden``, ``rate_limited``, or ``unavailable`` when no key can be
                checked: then nobody gets in.
        """
        address = client_address(request)
        credential = _bearer(request)
        if credential is not None and looks_like_token(credential):
            holder = await self.person(request)
            if holder.must_change_password:
                raise ProblemError(ProblemCode.FORBIDDEN, "change the one-time password first")
            principal = Principal(holder.sid, holder.scopes, holder.username)
            if not principal.may(scope):
                raise ProblemError(ProblemCode.FORBIDDEN, f"your role lacks the scope {scope}")
            return principal
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
        principal = Principal(record.key_id, record.scopes)
        if not principal.may(scope):
            raise ProblemError(ProblemCode.FORBIDDEN, f"the API key lacks the scope {scope}")
        return principal

    async def person(self, request: Request) -> TokenHolder:
        """The person whose access token the request bears, whatever their role, and be it only to change a password.

        Raises:
            ProblemError: ``unauthenticated``, ``rate_limited``, or ``unavailable`` when no token can be checked.
        """
        address = client_address(request)
        token = _bearer(request)
        if token is None or not looks_like_token(token):
            raise self._failure(address, "send an access token: Authorization: Bearer ...")
        self._failures.check(address)
        try:
            holder = await self.tokens.check(token)
        except TokenRefusedError as error:
            raise self._failure(address, str(error)) from error
        self._keys.hit(holder.sid)
        return holder

    def check_attempts(self, request: Request) -> str:
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


def _bearer(request: Request) -> str | None:
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    credential = credential.strip(" ")
    return credential if scheme.lower() == "bearer" and credential else None


def client_address(request: Request) -> str:
    """The peer's address, an IPv6 one as its network. A header cannot change it: no proxy is trusted here."""
    if request.client is None:
        return _ADDRESS_UNKNOWN
    try:
        address = ip_address(request.client.host)
    except ValueError:
        return _ADDRESS_UNKNOWN
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(IPv6Address(int(address) >> _IPV6_PREFIX_BITS << _IPV6_PREFIX_BITS))
    return str(address)
