"""Access tokens as the gateway sees them: a signature it checks itself, and a session whose state it looks up.

The state comes from the ``revocations`` bucket and is trusted for :data:`~hookbus.gateway.keys.RECORD_AGE_S_MAX`. What
the bucket lacks is asked of the session service. When neither can be read nobody gets in.
"""

import asyncio
import re
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from faststream.nats import NatsBroker
from joserfc import jws, jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import KeySet, OKPKey

from hookbus.contracts.budget import Empty
from hookbus.contracts.people import (
    SCOPES_BY_ROLE,
    TOKEN_ALGORITHM,
    TOKEN_AUDIENCE,
    TOKEN_ISSUER,
    JwksReply,
    PersonSessionRecord,
    PersonSessionRequest,
)
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import KeyScope
from hookbus.contracts.subjects import BUCKET_REVOCATIONS
from hookbus.gateway.keys import RecordCache, RecordSource
from hookbus.platform.bus.rpc import RpcClient

TOKEN_CHARS_MAX: Final = 4_096
JWKS_AGE_S_MAX: Final = 3_600.0
JWKS_FETCH_INTERVAL_S: Final = 1.0
"""Between two fetches for key ids nobody knows: whoever invents them does not choose how often the service is asked."""
CALL_TIMEOUT_S: Final = 1.0

_JWT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_SESSION_ID: Final = re.compile(r"person-[0-9a-f]{32}", re.ASCII)

# RFC 9864 renames the algorithm; every library of the day reads the old name, and not every one the new.
warnings.filterwarnings("ignore", message="EdDSA is deprecated", category=SecurityWarning)


class TokenRefusedError(Exception):
    """The token lets nobody in; the text says why, without its content."""


@dataclass(frozen=True)
class TokenHolder:
    """The person behind a token that was checked."""

    username: str
    sid: str
    scopes: frozenset[KeyScope]
    must_change_password: bool
    confirm_required: bool
    """The session looks like another client's: its password must be given again before anything else works."""
    epoch: int
    expires_at: datetime


def looks_like_token(credential: str) -> bool:
    """Whether a bearer credential has the form of a JWT."""
    return len(credential) <= TOKEN_CHARS_MAX and _JWT.fullmatch(credential) is not None


class PublicKeys:
    """The keys access tokens are signed with, asked of the session service and kept."""

    def __init__(self, rpc: RpcClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._rpc = rpc
        self._clock = clock
        self._fetched_at = float("-inf")
        self._published: JwksReply | None = None
        self._fetching = asyncio.Lock()

    async def document(self) -> JwksReply:
        """The set as it is published.

        Raises:
            ProblemError: ``unavailable`` where it was never had and the service is away.
        """
        return await self._current(JWKS_FETCH_INTERVAL_S)

    async def holding(self, kid: str) -> KeySet:
        """The keys, fetched anew where ``kid`` is not among them."""
        found = await self._current(JWKS_AGE_S_MAX)
        if all(key.kid != kid for key in found.keys):
            found = await self._current(JWKS_FETCH_INTERVAL_S)
        return KeySet([OKPKey.import_key(dict(key.model_dump())) for key in found.keys])

    async def _current(self, age_s_max: float) -> JwksReply:
        async with self._fetching:
            if self._published is None or self._clock() - self._fetched_at >= age_s_max:
                try:
                    self._published = await self._rpc.call(
                        "session", "jwks", Empty(), JwksReply, timeout_s=CALL_TIMEOUT_S
                    )
                except ProblemError:
                    # A key that was good stays good; what lets a person in is the state of the session, asked anew.
                    if self._published is None:
                        raise
                self._fetched_at = self._clock()
            return self._published


class TokenChecker:
    """Checks access tokens."""

    def __init__(
        self, broker: NatsBroker, rpc: RpcClient, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.keys: Final = PublicKeys(rpc)
        self._rpc = rpc
        self._now = now
        self._source = RecordSource(
            broker, BUCKET_REVOCATIONS, PersonSessionRecord, "access tokens cannot be checked now"
        )
        self._records = RecordCache(self._source.from_bucket)
        self._unknown = RecordCache(self._from_service)

    async def check(self, token: str) -> TokenHolder:
        """Who holds ``token``.

        Raises:
            TokenRefusedError: it is not valid, or no more.
            ProblemError: ``unavailable`` when it cannot be checked.
        """
        claims = await self._claims(token)
        sid, epoch, expires_s = claims.get("sid"), claims.get("epoch"), claims.get("exp")
        if claims.get("iss") != TOKEN_ISSUER or claims.get("aud") != TOKEN_AUDIENCE:
            raise TokenRefusedError("the access token is not for this gateway")
        if not isinstance(sid, str) or _SESSION_ID.fullmatch(sid) is None:
            raise TokenRefusedError("the access token names no session")
        now = self._now()
        if type(expires_s) is not int or expires_s <= now.timestamp():
            raise TokenRefusedError("the access token has expired")
        record = await self._records.get(sid) or await self._unknown.get(sid)
        if record is not None and type(epoch) is int and epoch > record.epoch:
            # Signed after what is held: a token of a password change is good at once.
            record = await self._source.from_bucket(sid)
            self._records.forget(sid)
        if record is None or record.ended or record.expires_at <= now:
            raise TokenRefusedError("the session has ended")
        if type(epoch) is not int or epoch != record.epoch or claims.get("sub") != record.username:
            raise TokenRefusedError("the access token is from before the password was changed")
        return _holder(record, datetime.fromtimestamp(expires_s, UTC))

    async def lives(self, holder: TokenHolder) -> bool:
        """Whether a token that was checked still lets its holder do what it did then.

        Raises:
            ProblemError: ``unavailable`` when it cannot be checked.
        """
        now = self._now()
        record = await self._records.get(holder.sid) or await self._unknown.get(holder.sid)
        if record is None or record.ended or min(record.expires_at, holder.expires_at) <= now:
            return False
        return _holder(record, holder.expires_at) == holder

    def forget(self, sid: str) -> None:
        """Ask for the state of a session again at its next use."""
        self._records.forget(sid)

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            header = jws.extract_compact(token.encode()).headers()
            kid = header.get("kid")
            if header.get("alg") != TOKEN_ALGORITHM or not isinstance(kid, str):
                raise TokenRefusedError("the access token is not signed as this service signs")
            keys = await self.keys.holding(kid)
            return jwt.decode(token, keys, algorithms=[TOKEN_ALGORITHM]).claims
        except (JoseError, ValueError, TypeError) as error:
            raise TokenRefusedError("the access token is not valid") from error

    async def _from_service(self, sid: str) -> PersonSessionRecord | None:
        try:
            return await self._rpc.call(
                "session",
                "person_lookup",
                PersonSessionRequest(sid=sid),
                PersonSessionRecord,
                timeout_s=CALL_TIMEOUT_S,
            )
        except ProblemError as error:
            if error.problem.code is ProblemCode.NOT_FOUND:
                return None
            raise


def _holder(record: PersonSessionRecord, expires_at: datetime) -> TokenHolder:
    return TokenHolder(
        record.username,
        record.sid,
        SCOPES_BY_ROLE[record.role],
        record.must_change_password,
        record.confirm_required,
        record.epoch,
        expires_at,
    )
