"""Every SQL statement of the service, by what it is about. Each function works inside the caller's transaction."""

from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
    """An asyncpg connection with plain records; the class takes a parameter only in its stubs."""
else:
    Connection = asyncpg.Connection
