"""SQL of ``session.terminals`` and ``session.terminal_output``."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, TypeAlias

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from hookbus.session.domain.terminals import Output, Terminal

TerminalName: TypeAlias = tuple[str, str]
"""Agent id and terminal id."""

_COLUMNS: Final = "agent_id, id, opened_at, session_id, shell, cwd, closed_at, exit_code, output_bytes, truncated"
# One statement: a terminal that one finds might be forgotten before another locks it. The update locks it, in the order
# of names that everybody keeps to.
_OPEN_AND_LOCK: Final = text(f"""
    INSERT INTO session.terminals (agent_id, id, opened_at)
    SELECT * FROM unnest(CAST(:agents AS text[]), CAST(:ids AS text[]), CAST(:opened AS timestamptz[]))
        AS new (a, i, o) ORDER BY a, i
    ON CONFLICT (agent_id, id) DO UPDATE SET opened_at = terminals.opened_at
    RETURNING {_COLUMNS}
""")  # noqa: S608 - constant columns
_SAVE: Final = text("""
    UPDATE session.terminals t SET
        opened_at = new.opened_at, session_id = new.session_id, shell = new.shell, cwd = new.cwd,
        closed_at = new.closed_at, exit_code = new.exit_code, output_bytes = new.output_bytes,
        truncated = new.truncated
    FROM unnest(
        CAST(:agents AS text[]), CAST(:ids AS text[]), CAST(:opened AS timestamptz[]), CAST(:sessions AS text[]),
        CAST(:shells AS text[]), CAST(:cwds AS text[]), CAST(:closed AS timestamptz[]), CAST(:exits AS bigint[]),
        CAST(:bytes AS bigint[]), CAST(:truncated AS boolean[])
    ) AS new (agent_id, id, opened_at, session_id, shell, cwd, closed_at, exit_code, output_bytes, truncated)
    WHERE t.agent_id = new.agent_id AND t.id = new.id
""")
_OUTPUT: Final = text("""
    INSERT INTO session.terminal_output (event_id, agent_id, terminal_id, sequence, stream, text, at)
    SELECT * FROM unnest(
        CAST(:events AS text[]), CAST(:agents AS text[]), CAST(:terminals AS text[]), CAST(:sequences AS bigint[]),
        CAST(:streams AS text[]), CAST(:texts AS text[]), CAST(:ats AS timestamptz[])
    )
    ON CONFLICT (event_id) DO NOTHING
""")
_FIND: Final = text(f"SELECT {_COLUMNS} FROM session.terminals WHERE agent_id = :agent_id AND id = :id")  # noqa: S608 - constant columns
_OF_SESSION: Final = text(f"""
    SELECT {_COLUMNS} FROM session.terminals
    WHERE session_id = :session_id ORDER BY opened_at DESC, id DESC LIMIT :items_max
""")  # noqa: S608 - constant columns
_OUTPUTS: Final = text("""
    SELECT event_id, agent_id, terminal_id, sequence, stream, text, at FROM session.terminal_output
    WHERE agent_id = :agent_id AND terminal_id = :id AND sequence > :after
    ORDER BY sequence, event_id LIMIT :items_max
""")
_LOCK_OLD: Final = text("""
    WITH old AS MATERIALIZED (
        SELECT agent_id, id FROM session.terminals
        WHERE (CAST(:agent_id AS text) IS NULL AND opened_at < :before) OR agent_id = :agent_id
        ORDER BY opened_at LIMIT :items_max
    )
    SELECT t.agent_id, t.id FROM session.terminals t JOIN old USING (agent_id, id)
    ORDER BY t.agent_id, t.id FOR UPDATE OF t
""")
_FORGET_OUTPUT: Final = text("""
    DELETE FROM session.terminal_output o
    USING unnest(CAST(:agents AS text[]), CAST(:ids AS text[])) AS old (agent_id, id)
    WHERE o.agent_id = old.agent_id AND o.terminal_id = old.id
""")
_FORGET: Final = text("""
    DELETE FROM session.terminals t
    USING unnest(CAST(:agents AS text[]), CAST(:ids AS text[])) AS old (agent_id, id)
    WHERE t.agent_id = old.agent_id AND t.id = old.id
""")


async def find(connection: AsyncConnection, agent_id: str, terminal_id: str) -> Terminal | None:
    """One terminal."""
    row = (await connection.execute(_FIND, {"agent_id": agent_id, "id": terminal_id})).mappings().first()
    return None if row is None else _terminal(row)


async def of_session(connection: AsyncConnection, session_id: str, items_max: int) -> Sequence[Terminal]:
    """The terminals of a session, newest first."""
    rows = await connection.execute(_OF_SESSION, {"session_id": session_id, "items_max": items_max})
    return [_terminal(row) for row in rows.mappings()]


async def outputs(
    connection: AsyncConnection, agent_id: str, terminal_id: str, *, after: int, items_max: int
) -> Sequence[Output]:
    """What a terminal printed after the piece numbered ``after``, in its order."""
    parameters = {"agent_id": agent_id, "id": terminal_id, "after": after, "items_max": items_max}
    rows = await connection.execute(_OUTPUTS, parameters)
    return [Output(**row) for row in rows.mappings()]


async def forget(connection: AsyncConnection, *, before: datetime, items_max: int, agent_id: str | None = None) -> int:
    """Forget terminals opened before a moment, or all of one agent, with what they printed; returns how many."""
    # Once it is locked a terminal prints nothing more, and the next statement sees all it has printed.
    parameters = {"before": before, "items_max": items_max, "agent_id": agent_id}
    old = (await connection.execute(_LOCK_OLD, parameters)).all()
    if old:
        names = {"agents": [row.agent_id for row in old], "ids": [row.id for row in old]}
        await connection.execute(_FORGET_OUTPUT, names)
        await connection.execute(_FORGET, names)
    return len(old)


async def open_and_lock(connection: AsyncConnection, terminals: Iterable[Terminal]) -> dict[TerminalName, Terminal]:
    """The named terminals as stored, created where absent, locked until the transaction ends."""
    new = list(terminals)
    names = {"agents": [t.agent_id for t in new], "ids": [t.id for t in new]}
    rows = await connection.execute(_OPEN_AND_LOCK, {**names, "opened": [t.opened_at for t in new]})
    return {(str(row["agent_id"]), str(row["id"])): _terminal(row) for row in rows.mappings()}


async def save(connection: AsyncConnection, terminals: Sequence[Terminal], outputs: Sequence[Output]) -> None:
    """Write locked terminals back and add what they printed."""
    await connection.execute(
        _SAVE,
        {
            "agents": [t.agent_id for t in terminals],
            "ids": [t.id for t in terminals],
            "opened": [t.opened_at for t in terminals],
            "sessions": [t.session_id for t in terminals],
            "shells": [t.shell for t in terminals],
            "cwds": [t.cwd for t in terminals],
            "closed": [t.closed_at for t in terminals],
            "exits": [t.exit_code for t in terminals],
            "bytes": [t.output_bytes for t in terminals],
            "truncated": [t.truncated for t in terminals],
        },
    )
    if outputs:
        await connection.execute(
            _OUTPUT,
            {
                "events": [o.event_id for o in outputs],
                "agents": [o.agent_id for o in outputs],
                "terminals": [o.terminal_id for o in outputs],
                "sequences": [o.sequence for o in outputs],
                "streams": [o.stream for o in outputs],
                "texts": [o.text for o in outputs],
                "ats": [o.at for o in outputs],
            },
        )


def _terminal(row: RowMapping) -> Terminal:
    return Terminal(
        agent_id=row["agent_id"],
        id=row["id"],
        opened_at=row["opened_at"],
        session_id=row["session_id"],
        shell=row["shell"],
        cwd=row["cwd"],
        closed_at=row["closed_at"],
        exit_code=row["exit_code"],
        output_bytes=row["output_bytes"],
        truncated=row["truncated"],
    )
