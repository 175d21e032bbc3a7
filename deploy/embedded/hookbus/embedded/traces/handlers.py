"""Exports and requests in, spans stored and given back."""

import base64
import binascii
from datetime import datetime, timedelta
from typing import Final

import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from sqlalchemy.exc import SQLAlchemyError

from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.traces import TraceListReply, TraceListRequest, TraceReply, TraceRequest
from hookbus.embedded.traces import repository
from hookbus.embedded.traces.spans import spans_of
from hookbus.platform.database.engine import Database, is_transient

RETRY_AFTER_S: Final = 1.0
TRACE_ID_CHARS: Final = 32

log = structlog.get_logger(__name__)


class Traces:
    """The trace store's work."""

    def __init__(self, database: Database, *, age_max: timedelta, spans_max: int) -> None:
        self._database = database
        self._age_max = age_max
        self._spans_max = spans_max

    async def take(self, export: ExportTraceServiceRequest) -> int:
        """Store an export; how many of its spans were refused.

        Raises:
            ProblemError: ``unavailable`` while the database is away; the sender repeats the export.
        """
        spans, refused = spans_of(export)
        if spans:
            try:
                async with self._database.begin() as connection:
                    await repository.store(connection, spans)
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                raise _away(error) from error
        return refused

    async def get(self, request: TraceRequest) -> TraceReply:
        """One trace. Its last spans arrive up to a second after the event they belong to."""
        try:
            async with self._database.begin() as connection:
                trace_id = request.trace_id
                if trace_id is None and request.event_id is not None:
                    trace_id = await repository.trace_of_event(connection, request.event_id)
                found = await repository.spans_of(connection, trace_id) if trace_id is not None else []
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise _away(error) from error
        if trace_id is None or not found:
            raise ProblemError(ProblemCode.NOT_FOUND, f"no trace of {request.event_id or request.trace_id}")
        kept = tuple(found[: repository.SPANS_PER_REPLY_MAX])
        return TraceReply(trace_id=trace_id, spans=kept, truncated=len(found) > len(kept))

    async def list(self, request: TraceListRequest) -> TraceListReply:
        """A page of traces, newest first."""
        before = _position_of(request.cursor)
        try:
            async with self._database.begin() as connection:
                page = await repository.newest(connection, request, before=before)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise _away(error) from error
        full = len(page) == request.page_items_max
        return TraceListReply(
            traces=tuple(page), cursor=_cursor_of(page[-1].started_at, page[-1].trace_id) if full else None
        )

    async def prune(self) -> None:
        """Bring the store back within its bounds."""
        while True:
            async with self._database.begin() as connection:
                pruned = await repository.prune(connection, age_max=self._age_max, spans_max=self._spans_max)
            if not pruned:
                return
            log.info("traces pruned", traces=pruned)


def _cursor_of(start: datetime, trace_id: str) -> str:
    return base64.urlsafe_b64encode(f"{start.isoformat()} {trace_id}".encode()).decode()


def _position_of(cursor: str | None) -> tuple[datetime, str] | None:
    if cursor is None:
        return None
    try:
        start, _, trace_id = base64.b64decode(cursor, altchars=b"-_", validate=True).decode().partition(" ")
        position = datetime.fromisoformat(start), bytes.fromhex(trace_id).hex()
    except (binascii.Error, ValueError) as error:
        raise ProblemError(ProblemCode.BODY_INVALID, "not a cursor of this list") from error
    if position[0].tzinfo is None or len(position[1]) != TRACE_ID_CHARS:
        raise ProblemError(ProblemCode.BODY_INVALID, "not a cursor of this list")
    return position


def _away(error: Exception) -> ProblemError:
    """The problem of a database that cannot answer now.

    Raises:
        Exception: ``error`` itself where it is a fault and not an absence.
    """
    if not is_transient(error):
        raise error
    return ProblemError(ProblemCode.UNAVAILABLE, "the trace database is away", retry_after_s=RETRY_AFTER_S)
