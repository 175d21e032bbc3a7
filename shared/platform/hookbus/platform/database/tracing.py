"""A measurement of each statement, and a span under the one that runs it where that is recorded.

Parameters are never recorded: they hold what users wrote.
"""

import time
from typing import Any, Final, cast

from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, ExceptionContext, ExecutionContext

from hookbus.platform import metrics, telemetry

STATEMENT_CHARS_MAX: Final = 1_000
_SPANS: Final = "hookbus_spans"
"""Where a connection keeps the spans of the statements under way, None for one outside a recorded trace."""
_BEGAN: Final = "hookbus_began"
"""Where it keeps their first words and when they began."""


def trace_statements(engine: Engine, database: str) -> None:
    """Trace every statement of ``engine`` that runs inside a recorded trace."""

    def before(
        connection: Connection,
        _cursor: object,
        statement: str,
        _parameters: object,
        _context: ExecutionContext | None,
        many: bool,
    ) -> None:
        operation = statement.lstrip().split(maxsplit=1)[0].upper()
        _began(connection).append((operation, time.perf_counter()))
        if not trace.get_current_span().is_recording():
            _spans(connection).append(None)
            return
        attributes = {
            "db.system.name": "postgresql",
            "db.namespace": database,
            "db.operation.name": operation,
            "db.query.text": statement[:STATEMENT_CHARS_MAX],
            "hookbus.many": many,
        }
        span = telemetry.tracer().start_span(operation, kind=SpanKind.CLIENT, attributes=attributes)
        _spans(connection).append(span)

    def after(connection: Connection, *_arguments: Any) -> None:
        _observe(connection)
        if (spans := _spans(connection)) and (span := spans.pop()) is not None:
            span.end()

    def failed(context: ExceptionContext) -> None:
        metrics.QUERY_ERRORS.inc()
        if context.connection is None:
            return
        _observe(context.connection)
        if (spans := _spans(context.connection)) and (span := spans.pop()) is not None:
            state: str | None = getattr(context.original_exception, "sqlstate", None)
            kind = type(context.original_exception).__name__
            span.set_attribute("error.type", state or kind)
            if state is not None:
                span.set_attribute("db.response.status_code", state)
            span.set_status(StatusCode.ERROR, kind)
            span.end()

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    event.listen(engine, "handle_error", failed)


def _observe(connection: Connection) -> None:
    if began := _began(connection):
        operation, at = began.pop()
        metrics.QUERY_SECONDS.labels(metrics.operation_label(operation)).observe(time.perf_counter() - at)


def _began(connection: Connection) -> list[tuple[str, float]]:
    return cast("list[tuple[str, float]]", connection.info.setdefault(_BEGAN, []))


def _spans(connection: Connection) -> list[trace.Span | None]:
    return cast("list[trace.Span | None]", connection.info.setdefault(_SPANS, []))
