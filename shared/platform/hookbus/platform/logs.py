"""Structured logs: one JSON object a line on stderr, with the trace they belong to."""

import logging
import sys

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, WrappedLogger

from hookbus.platform.settings import LogLevel


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event


def configure(service: str, level: LogLevel) -> None:
    """Send structlog and the standard library's loggers to stderr as JSON."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for own_handlers in ("faststream", "faststream.access", "faststream.access.nats"):
        # FastStream writes coloured text through handlers of its own; its records belong among the others.
        logger = logging.getLogger(own_handlers)
        logger.handlers = []
        logger.propagate = True
    structlog.contextvars.bind_contextvars(service=service)
    for noisy in ("uvicorn.access", "faststream", "opentelemetry.exporter"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
