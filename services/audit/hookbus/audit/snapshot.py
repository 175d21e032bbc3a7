"""One state of the log to check: the database's, and every data key that belonged to it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from hookbus.audit.inspection import FaultError
from hookbus.audit.keyring import Keyring
from hookbus.audit.keys import KeyUnusableError
from hookbus.audit.repository import keys as key_store
from hookbus.audit.repository import leading, reading
from hookbus.audit.stretches import RawKeys

Keys = RawKeys | KeyUnusableError | None
"""The keys, why they cannot be used, or None where none were asked for."""


@asynccontextmanager
async def snapshot(
    connection: leading.Connection, keyring: Keyring | None
) -> AsyncGenerator[tuple[leading.LogState | None, Keys]]:
    """One state of the database, and every data key that belonged to it. Without ``keyring`` no keys.

    A key that is erased, or wrapped anew, the moment after is at hand all the same: no erasure comes between the
    database's state and the reading of the keys.
    """
    held = keyring is not None
    if held:
        await key_store.lock_erasures(connection, alone=False)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            # Before the snapshot: a partition dropped after it would be missing without a record in it.
            await reading.hold_partitions(connection)
            state = await leading.read_state(connection)
            keys: Keys = None
            if keyring is not None:
                try:
                    keys = await keyring.all_keys()
                except KeyUnusableError as error:
                    keys = error
                await key_store.unlock_erasures(connection, alone=False)
                held = False
            yield state, keys
    finally:
        if held:
            await key_store.unlock_erasures(connection, alone=False)


def require_usable(keys: Keys) -> RawKeys | None:
    """The keys; raises FaultError where one was tampered with."""
    if isinstance(keys, KeyUnusableError):
        raise FaultError(None, str(keys))
    return keys
