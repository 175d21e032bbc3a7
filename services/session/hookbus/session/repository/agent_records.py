"""SQL of ``session.notes`` and ``session.objections``."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from hookbus.contracts.agents import NotesRequest, NoteView, ObjectionsRequest, ObjectionView
from hookbus.session.domain.agent_records import (
    NOTES_PER_AGENT_MAX,
    OBJECTIONS_PER_AGENT_MAX,
    Note,
    Objection,
)

_ADD_NOTES: Final = text("""
    INSERT INTO session.notes (event_id, agent_id, agent_category, project, intent, session_id, at, text)
    SELECT * FROM unnest(
        CAST(:ids AS text[]), CAST(:agents AS text[]), CAST(:categories AS text[]), CAST(:projects AS text[]),
        CAST(:intents AS text[]), CAST(:sessions AS text[]), CAST(:times AS timestamptz[]), CAST(:texts AS text[])
    ) ON CONFLICT (event_id) DO NOTHING
""")
_PRUNE_NOTES: Final = text("""
    DELETE FROM session.notes n USING unnest(CAST(:agents AS text[])) AS a (agent_id), LATERAL (
        SELECT event_id FROM session.notes s WHERE s.agent_id = a.agent_id
        ORDER BY s.at DESC, s.event_id DESC OFFSET :kept
    ) AS old WHERE n.event_id = old.event_id
""")
_ADD_OBJECTIONS: Final = text("""
    INSERT INTO session.objections
        (record_id, event_id, agent_id, session_id, at, decision, code, reason, tool)
    SELECT * FROM unnest(
        CAST(:records AS text[]), CAST(:ids AS text[]), CAST(:agents AS text[]), CAST(:sessions AS text[]),
        CAST(:times AS timestamptz[]), CAST(:decisions AS text[]), CAST(:codes AS text[]), CAST(:reasons AS text[]),
        CAST(:tools AS text[])
    ) ON CONFLICT (record_id) DO NOTHING
""")
_PRUNE_OBJECTIONS: Final = text("""
    DELETE FROM session.objections o USING unnest(CAST(:agents AS text[])) AS a (agent_id), LATERAL (
        SELECT record_id FROM session.objections s WHERE s.agent_id = a.agent_id
        ORDER BY s.at DESC, s.record_id DESC OFFSET :kept
    ) AS old WHERE o.record_id = old.record_id
""")
_NOTES: Final = text("""
    SELECT event_id, agent_id, agent_category, project, intent, session_id, at, text
    FROM session.notes
    WHERE (CAST(:agent AS text) IS NULL OR agent_id = :agent)
      AND (CAST(:category AS text) IS NULL OR agent_category = :category)
      AND (CAST(:project AS text) IS NULL OR project = :project)
      AND (CAST(:intent AS text) IS NULL OR intent = :intent)
      AND (CAST(:since AS timestamptz) IS NULL OR at >= :since)
      AND (CAST(:until AS timestamptz) IS NULL OR at < :until)
      AND (CAST(:query AS text) IS NULL OR words @@ websearch_to_tsquery('simple', CAST(:query AS text)))
      AND (CAST(:before_at AS timestamptz) IS NULL
           OR (at, event_id) < (CAST(:before_at AS timestamptz), CAST(:before_id AS text)))
    ORDER BY at DESC, event_id DESC LIMIT :items_max
""")
_OBJECTIONS: Final = text("""
    SELECT event_id, session_id, at, decision, code, reason, tool
    FROM session.objections
    WHERE agent_id = :agent AND (CAST(:session AS text) IS NULL OR session_id = :session)
    ORDER BY at DESC, record_id DESC LIMIT :items_max
""")
_FORGET_NOTES: Final = text("DELETE FROM session.notes WHERE agent_id = :agent")
_FORGET_OBJECTIONS: Final = text("DELETE FROM session.objections WHERE agent_id = :agent")


async def add_notes(connection: AsyncConnection, notes: Sequence[Note]) -> None:
    """Keep notes, and of each agent only its newest."""
    views = [note.view for note in notes]
    agents = [view.agent_id for view in views]
    await connection.execute(
        _ADD_NOTES,
        {
            "ids": [view.id for view in views],
            "agents": agents,
            "categories": [view.agent_category for view in views],
            "projects": [view.project for view in views],
            "intents": [view.intent for view in views],
            "sessions": [view.session for view in views],
            "times": [view.at for view in views],
            "texts": [view.text for view in views],
        },
    )
    await connection.execute(_PRUNE_NOTES, {"agents": sorted(set(agents)), "kept": NOTES_PER_AGENT_MAX})


async def add_objections(connection: AsyncConnection, objections: Sequence[Objection]) -> None:
    """Keep objections, and of each agent only its newest."""
    agents = [objection.agent_id for objection in objections]
    views = [objection.view for objection in objections]
    await connection.execute(
        _ADD_OBJECTIONS,
        {
            "records": [objection.record_id for objection in objections],
            "ids": [view.event_id for view in views],
            "agents": agents,
            "sessions": [view.session for view in views],
            "times": [view.at for view in views],
            "decisions": [view.decision for view in views],
            "codes": [view.code for view in views],
            "reasons": [view.reason for view in views],
            "tools": [view.tool for view in views],
        },
    )
    await connection.execute(_PRUNE_OBJECTIONS, {"agents": sorted(set(agents)), "kept": OBJECTIONS_PER_AGENT_MAX})


async def notes(
    connection: AsyncConnection, request: NotesRequest, before: tuple[datetime, str] | None
) -> list[NoteView]:
    """A page of notes, newest first, those after ``before`` in that order."""
    parameters = {
        "agent": request.agent_id,
        "category": request.agent_category,
        "project": request.project,
        "intent": request.intent,
        "since": request.since,
        "until": request.until,
        "query": request.query,
        "before_at": None if before is None else before[0],
        "before_id": None if before is None else before[1],
        "items_max": request.page_items_max,
    }
    rows = (await connection.execute(_NOTES, parameters)).mappings().all()
    return [
        NoteView(
            id=row["event_id"],
            agent_id=row["agent_id"],
            agent_category=row["agent_category"],
            project=row["project"],
            intent=row["intent"],
            session=row["session_id"],
            at=row["at"],
            text=row["text"],
        )
        for row in rows
    ]


async def objections(connection: AsyncConnection, request: ObjectionsRequest) -> list[ObjectionView]:
    """An agent's last objections, newest first."""
    parameters = {"agent": request.agent_id, "session": request.session, "items_max": request.page_items_max}
    rows = (await connection.execute(_OBJECTIONS, parameters)).mappings().all()
    return [
        ObjectionView(
            event_id=row["event_id"],
            session=row["session_id"],
            at=row["at"],
            decision=row["decision"],
            code=row["code"],
            reason=row["reason"],
            tool=row["tool"],
        )
        for row in rows
    ]


async def forget(connection: AsyncConnection, agent_id: str) -> tuple[int, int]:
    """Remove an agent's notes and objections; how many there were of each."""
    gone_notes = await connection.execute(_FORGET_NOTES, {"agent": agent_id})
    gone_objections = await connection.execute(_FORGET_OBJECTIONS, {"agent": agent_id})
    return gone_notes.rowcount, gone_objections.rowcount
