"""Errors as answers: RFC 9457 ``application/problem+json``, the one place where a problem becomes HTTP."""

import math
from typing import Any, Final

import structlog
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hookbus.contracts.problems import (
    STATUS_BY_CODE,
    TITLE_BY_CODE,
    FieldError,
    Problem,
    ProblemCode,
    ProblemError,
)
from hookbus.gateway import metrics
from hookbus.platform import telemetry
from hookbus.platform.bus.rpc import field_errors

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:hookbus:problem:"
FIELD_ERRORS_MAX: Final = 50
"""Errors listed in one answer; a body can hold more faults than anybody reads."""
LOCATION_CHARS_MAX: Final = 256

_CODE_BY_STATUS: Final = {
    400: ProblemCode.NOT_JSON,
    404: ProblemCode.NOT_FOUND,
    405: ProblemCode.METHOD_NOT_ALLOWED,
}

log = structlog.get_logger(__name__)


def problem_document(problem: Problem) -> dict[str, Any]:
    """The JSON members of the answer."""
    document: dict[str, Any] = {
        "type": f"{TYPE_PREFIX}{problem.code}",
        "title": TITLE_BY_CODE[problem.code],
        "status": STATUS_BY_CODE[problem.code],
        "detail": problem.detail,
        "code": problem.code,
        "trace_id": telemetry.current_trace_id(),
    }
    if problem.errors:
        document["errors"] = [
            {"loc": error.loc[:LOCATION_CHARS_MAX], "msg": error.msg} for error in problem.errors[:FIELD_ERRORS_MAX]
        ]
    return document


def problem_response(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    """The answer to a request that failed. A 401 names the scheme, a 429 and a 503 say when to come again."""
    metrics.PROBLEMS.labels(problem.code.value).inc()
    all_headers = dict(headers or {})
    if problem.code is ProblemCode.UNAUTHENTICATED:
        all_headers["WWW-Authenticate"] = 'Bearer realm="hookbus"'
    if problem.retry_after_s is not None:
        all_headers["Retry-After"] = str(max(1, math.ceil(problem.retry_after_s)))
    return _ProblemResponse(problem_document(problem), status_code=STATUS_BY_CODE[problem.code], headers=all_headers)


class _ProblemResponse(JSONResponse):
    media_type = MEDIA_TYPE


class RateLimitedError(ProblemError):
    """A problem with the ``RateLimit-*`` headers of the limit that was met."""

    def __init__(self, detail: str, *, limit: int, remaining: int, reset_s: float) -> None:
        super().__init__(ProblemCode.RATE_LIMITED, detail, retry_after_s=reset_s)
        self.headers = {
            "RateLimit-Limit": str(limit),
            "RateLimit-Remaining": str(max(0, remaining)),
            "RateLimit-Reset": str(max(1, math.ceil(reset_s))),
        }


def invalid(error: ValidationError, prefix: str = "") -> ProblemError:
    """A body that does not fit its model: where and what, never the value."""
    errors = tuple(
        FieldError(loc=f"{prefix}{fault.loc}", msg=fault.msg) for fault in field_errors(error)[:FIELD_ERRORS_MAX]
    )
    return ProblemError(ProblemCode.BODY_INVALID, "the body does not fit its schema", errors=errors)


async def on_problem(_request: Request, error: Exception) -> Response:
    """A problem raised anywhere below."""
    assert isinstance(error, ProblemError)
    headers = error.headers if isinstance(error, RateLimitedError) else None
    return problem_response(error.problem, headers)


async def on_validation_error(_request: Request, error: Exception) -> Response:
    """A path or query parameter that does not fit."""
    assert isinstance(error, RequestValidationError)
    errors = tuple(
        FieldError(loc=".".join(str(part) for part in fault["loc"]), msg=str(fault["msg"])) for fault in error.errors()
    )
    return problem_response(Problem(code=ProblemCode.BODY_INVALID, detail="a parameter is invalid", errors=errors))


async def on_invalid_request(_request: Request, error: Exception) -> Response:
    """A parameter that fits its own type and not the request it becomes. What a service replied is never meant: that
    it fits is checked where the reply comes in."""
    assert isinstance(error, ValidationError)
    return problem_response(invalid(error).problem)


async def on_http_exception(_request: Request, error: Exception) -> Response:
    """What the router itself refuses: no such path, no such method."""
    assert isinstance(error, HTTPException)
    code = _CODE_BY_STATUS.get(error.status_code, ProblemCode.NOT_FOUND)
    headers = {"Allow": error.headers["Allow"]} if error.headers and "Allow" in error.headers else None
    return problem_response(Problem(code=code, detail=TITLE_BY_CODE[code]), headers)


def fault_response() -> Response:
    """The answer where hookbus itself failed. Says nothing of how: that is in the log, under the trace id."""
    return problem_response(Problem(code=ProblemCode.INTERNAL, detail="the fault is logged under this trace id"))
