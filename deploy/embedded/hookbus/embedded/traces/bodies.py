"""The body of an OTLP/HTTP request: protobuf, plain or gzip, bounded before and after inflating. Pure."""

import zlib
from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from hookbus.contracts.problems import ProblemCode, ProblemError

BODY_BYTES_MAX: Final = 8 * 1024**2
MEDIA_TYPE: Final = "application/x-protobuf"

_GZIP_WINDOW_BITS: Final = 16 + zlib.MAX_WBITS


def export_of(body: bytes, *, content_type: str, content_encoding: str) -> ExportTraceServiceRequest:
    """The export a request carries.

    Raises:
        ProblemError: another media type or encoding, a body that is too large or no such message.
    """
    if content_type.partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise ProblemError(ProblemCode.MEDIA_TYPE_UNSUPPORTED, f"send {MEDIA_TYPE}")
    match content_encoding.strip().lower():
        case "gzip":
            body = _inflate(body)
        case "" | "identity":
            pass
        case _:
            raise ProblemError(ProblemCode.MEDIA_TYPE_UNSUPPORTED, "send it plain or gzip")
    export = ExportTraceServiceRequest()
    try:
        export.ParseFromString(body)
    except DecodeError as error:
        raise ProblemError(ProblemCode.BODY_INVALID, "not an OTLP trace export") from error
    return export


def _inflate(body: bytes) -> bytes:
    inflater = zlib.decompressobj(_GZIP_WINDOW_BITS)
    try:
        plain = inflater.decompress(body, BODY_BYTES_MAX)
    except zlib.error as error:
        raise ProblemError(ProblemCode.BODY_INVALID, "not gzip") from error
    if inflater.unconsumed_tail:
        raise ProblemError(ProblemCode.TOO_LARGE, f"over {BODY_BYTES_MAX} bytes when inflated")
    if not inflater.eof:
        raise ProblemError(ProblemCode.BODY_INVALID, "gzip that ends early")
    return plain
