"""The wrapped keys of a log, in a file of their own: no backup of the database holds them, and none brings one back.

SQLite, mode 0600. A key that is destroyed is overwritten in the file (``secure_delete``), where a database server keeps
old rows and a log of them. Every change is one transaction and synced before it returns. Processes of one log share
the file, and open it anew for each call: so does a thread, and nothing is held over a fork.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from hookbus.audit.keys import KekParameters, KeyUnusableError
from hookbus.audit.signing.files import OTHERS_MASK, SECRET_MODE, KeyFileError, sync_folder

BUSY_TIMEOUT_S: Final = 5.0
"""How long a call waits for another process's transaction."""
FOLDER_MODE: Final = 0o700

_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS log (log_id BLOB PRIMARY KEY) STRICT",
    """
    CREATE TABLE IF NOT EXISTS key_encryption_keys (
        kek_id INTEGER PRIMARY KEY,
        kdf TEXT NOT NULL,
        iterations INTEGER NOT NULL,
        salt BLOB NOT NULL,
        check_value BLOB NOT NULL,
        search_key_wrapped BLOB NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE IF NOT EXISTS data_keys (
        key_id BLOB PRIMARY KEY,
        kek_id INTEGER NOT NULL,
        subject BLOB NOT NULL,
        period TEXT NOT NULL,
        wrapped BLOB NOT NULL,
        commitment BLOB NOT NULL
    ) STRICT
    """,
    "CREATE INDEX IF NOT EXISTS data_keys_subject ON data_keys (subject, period)",
)
_SELECT: Final = "SELECT key_id, kek_id, subject, period, wrapped, commitment FROM data_keys"

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class StoredKek:
    """The newest key-encryption key's parameters, and the search key it wraps."""

    kek_id: int
    parameters: KekParameters
    search_key_wrapped: bytes


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key at rest. ``subject`` is blinded."""

    key_id: bytes
    kek_id: int
    subject: bytes
    period: str
    wrapped: bytes
    commitment: bytes


class KeyStore:
    """The key file of one log. Every method raises KeyFileError where the file cannot be read or written."""

    def __init__(self, path: Path, log_id: bytes) -> None:
        self._path = path
        self._log_id = log_id

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self._path

    async def open(self) -> None:
        """Make the file where it is absent; refuse one that others may read, or that is another log's."""
        await asyncio.to_thread(self._open)

    async def read_kek(self) -> StoredKek | None:
        """The newest parameters; None in a new file."""
        return await self._run(_read_kek)

    async def create_kek(self, kek: StoredKek) -> StoredKek:
        """Keep the first parameters; of two processes that make them at once the first one's stay, and are returned."""

        def create(connection: sqlite3.Connection) -> StoredKek:
            existing = _read_kek(connection)
            if existing is not None:
                return existing
            _insert_kek(connection, kek)
            return kek

        return await self._run(create)

    async def read(self, key_ids: Collection[bytes]) -> list[WrappedKey]:
        """The data keys of these ids that still exist."""

        def read(connection: sqlite3.Connection) -> list[WrappedKey]:
            found = (connection.execute(_SELECT + " WHERE key_id = ?", (key_id,)).fetchone() for key_id in key_ids)
            return [WrappedKey(*row) for row in found if row is not None]

        return await self._run(read)

    async def of_subjects(self, subjects: Collection[bytes], period: str | None = None) -> list[WrappedKey]:
        """The data keys of these subjects, of one period or of all, in the order they were made."""
        which = " WHERE subject = ?1 AND (?2 IS NULL OR period = ?2) ORDER BY rowid"

        def read(connection: sqlite3.Connection) -> list[WrappedKey]:
            return [
                WrappedKey(*row)
                for subject in subjects
                for row in connection.execute(_SELECT + which, (subject, period))
            ]

        return await self._run(read)

    async def read_all(self) -> list[WrappedKey]:
        """Every data key."""
        return await self._run(lambda connection: [WrappedKey(*row) for row in connection.execute(_SELECT)])

    async def add(self, keys: Sequence[WrappedKey], kek_id: int) -> bool:
        """Keep new data keys, before anything is encrypted under them for good; whether they are kept.

        None is where ``kek_id``, which they are wrapped under, is no longer the newest: nobody could ever unwrap them.
        One that is there already stays.
        """

        def add(connection: sqlite3.Connection) -> bool:
            newest = _read_kek(connection)
            if newest is None or newest.kek_id != kek_id:
                return False
            _insert_keys(connection, keys)
            return True

        return await self._run(add)

    async def rewrap(self, kek: StoredKek, wrap: Callable[[WrappedKey], bytes]) -> int:
        """Put every data key under the key-encryption key after the newest, all or none; how many there are.

        Raises:
            KeyUnusableError: another process has rotated meanwhile, or ``wrap`` says so; nothing is changed.
        """

        def rewrap(connection: sqlite3.Connection) -> int:
            newest = _read_kek(connection)
            if newest is None or newest.kek_id != kek.kek_id - 1:
                raise KeyUnusableError("another process has rotated the key-encryption key meanwhile")
            _insert_kek(connection, kek)
            rows = [WrappedKey(*row) for row in connection.execute(_SELECT)]
            connection.executemany(
                "UPDATE data_keys SET kek_id = ?, wrapped = ? WHERE key_id = ?",
                [(kek.kek_id, wrap(row), row.key_id) for row in rows],
            )
            connection.execute("DELETE FROM key_encryption_keys WHERE kek_id < ?", (kek.kek_id,))
            return len(rows)

        return await self._run(rewrap)

    async def destroy(self, key_ids: Collection[bytes]) -> int:
        """Overwrite and remove data keys; how many there were. What they encrypt is unreadable from then on."""

        def destroy(connection: sqlite3.Connection) -> int:
            ids = [(key_id,) for key_id in key_ids]
            return connection.executemany("DELETE FROM data_keys WHERE key_id = ?", ids).rowcount if ids else 0

        return await self._run(destroy)

    async def adopt(self, kek: StoredKek, keys: Sequence[WrappedKey]) -> None:
        """Take over keys that an earlier version kept in the database; what is here already stays."""

        def adopt(connection: sqlite3.Connection) -> None:
            if _read_kek(connection) is None:
                _insert_kek(connection, kek)
            _insert_keys(connection, keys)

        await self._run(adopt)

    async def _run(self, work: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        return await asyncio.to_thread(self._in_transaction, work)

    def _in_transaction(self, work: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        try:
            with self._connected() as connection:
                return work(connection)
        except sqlite3.Error as error:
            raise KeyFileError(f"{self._path}: the key store fails: {error}") from error

    @contextmanager
    def _connected(self) -> Generator[sqlite3.Connection]:
        if not self._path.exists():
            raise KeyFileError(f"{self._path}: the key store is gone; without it no entry of the log can be read")
        if self._path.stat().st_mode & OTHERS_MASK:
            raise KeyFileError(f"{self._path}: others may read the key store; its mode must be 600")
        with closing(sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as connection:
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _open(self) -> None:
        if not self._path.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
            # SQLite gives its journal the mode of the file, which is made before SQLite sees it.
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT, SECRET_MODE))
            sync_folder(self._path.parent)

        def prepare(connection: sqlite3.Connection) -> None:
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute("INSERT INTO log SELECT ? WHERE NOT EXISTS (SELECT * FROM log)", (self._log_id,))
            if connection.execute("SELECT log_id FROM log").fetchall() != [(self._log_id,)]:
                raise KeyFileError(f"{self._path}: the key store of another log")

        self._in_transaction(prepare)


def _read_kek(connection: sqlite3.Connection) -> StoredKek | None:
    row = connection.execute(
        "SELECT kek_id, kdf, salt, iterations, check_value, search_key_wrapped FROM key_encryption_keys"
        " ORDER BY kek_id DESC LIMIT 1"
    ).fetchone()
    return None if row is None else StoredKek(row[0], KekParameters(*row[2:5], kdf=row[1]), row[5])


def _insert_kek(connection: sqlite3.Connection, kek: StoredKek) -> None:
    parameters = kek.parameters
    connection.execute(
        "INSERT INTO key_encryption_keys (kek_id, kdf, salt, iterations, check_value, search_key_wrapped)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            kek.kek_id,
            parameters.kdf,
            parameters.salt,
            parameters.iterations,
            parameters.check,
            kek.search_key_wrapped,
        ),
    )


def _insert_keys(connection: sqlite3.Connection, keys: Sequence[WrappedKey]) -> None:
    connection.executemany(
        "INSERT INTO data_keys (key_id, kek_id, subject, period, wrapped, commitment) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        [(key.key_id, key.kek_id, key.subject, key.period, key.wrapped, key.commitment) for key in keys],
    )
