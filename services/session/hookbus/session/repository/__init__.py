"""Every SQL statement of the session service, by table."""

from typing import TYPE_CHECKING, Any, Protocol

import asyncpg

if TYPE_CHECKING:
    DriverConnection = asyncpg.Connection[asyncpg.Record]
    """An asyncpg connection with plain records; the class takes a parameter only in its stubs."""
else:
    DriverConnection = asyncpg.Connection


class Row(Protocol):
    """A row of SQLAlchemy's or of asyncpg's, by the names of its columns."""

    def __getitem__(self, column: str, /) -> Any: ...
