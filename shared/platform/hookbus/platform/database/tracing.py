"""A span for each statement, under the span that runs it. Parameters are never recorded: they hold what users wrote."""

from typing import Any, Final, cast

from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, ExceptionContext, ExecutionContext

from hookbus.platform import telemetry

STATEMENT_CHARS_MAX: Final = 1_000
_SPANS: Final = "hookbus_spans"
"""Where a connection keeps the spans of the statements under way."""


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
        if not trace.get_current_span().is_recording():
            return
        operation = statement.lstrip().split(maxsplit=1)[0].upper()
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
        if spans := _spans(connection):
            spans.pop().end()

    def failed(context: ExceptionContext) -> None:
        if context.connection is not None and (spans := _spans(context.connection)):
            span = spans.pop()
            span.set_status(StatusCode.ERROR, type(context.original_exception).__name__)
            span.end()

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    event.listen(engine, "handle_error", failed)


def _spans(connection: Connection) -> list[trace.Span]:
    return cast("list[trace.Span]", connection.info.setdefault(_SPANS, []))
