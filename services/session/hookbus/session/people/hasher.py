"""Password hashes: Argon2id, a few at a time, the same work whether or not there is a user."""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from hookbus.contracts.problems import ProblemCode, ProblemError

MEMORY_KIB: Final = 19 * 1024
PASSES: Final = 2
LANES: Final = 1
"""OWASP's parameters for Argon2id where memory is shared with other work."""
HASH_BYTES: Final = 32
SALT_BYTES: Final = 16
TURNS_CONCURRENT_MAX: Final = 2
TURNS_WAITING_MAX: Final = 128
RETRY_AFTER_S: Final = 2.0


class Hasher:
    """Hashes and verifies off the event loop. Callers take a turn first, which bounds memory and guesses in flight."""

    def __init__(self) -> None:
        self._argon = PasswordHasher(
            time_cost=PASSES,
            memory_cost=MEMORY_KIB,
            parallelism=LANES,
            hash_len=HASH_BYTES,
            salt_len=SALT_BYTES,
            type=Type.ID,
        )
        self._nobody = self._argon.hash(secrets.token_hex(HASH_BYTES))
        self._running = asyncio.Semaphore(TURNS_CONCURRENT_MAX)
        self._waiting = 0
        self.computed = 0
        """Verifications computed so far."""

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """Wait for one of :data:`TURNS_CONCURRENT_MAX` places.

        Raises:
            ProblemError: ``unavailable`` where :data:`TURNS_WAITING_MAX` wait already.
        """
        if self._waiting >= TURNS_WAITING_MAX:
            raise ProblemError(ProblemCode.UNAVAILABLE, "too many logins at once", retry_after_s=RETRY_AFTER_S)
        self._waiting += 1
        try:
            async with self._running:
                yield
        finally:
            self._waiting -= 1

    async def hash(self, password: str) -> str:
        """The hash to store."""
        return await asyncio.to_thread(self._argon.hash, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether ``password`` is the one of ``stored``; without a stored hash the same work for nobody's."""
        self.computed += 1
        return await asyncio.to_thread(self._verified, stored, password)

    def _verified(self, stored: str | None, password: str) -> bool:
        try:
            self._argon.verify(self._nobody if stored is None else stored, password)
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None
