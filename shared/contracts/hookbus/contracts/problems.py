"""Problem codes: the stable words of an error answer, over HTTP (RFC 9457) and over the bus alike."""

from enum import StrEnum
from typing import Final

from hookbus.contracts.fields import WireModel


class ProblemCode(StrEnum):
    """Every error a client can meet. The text never changes; the detail beside it may."""

    NOT_JSON = "not_json"
    BODY_INVALID = "body_invalid"
    INPUT_REFUSED = "input_refused"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    CONFIRM_REQUIRED = "confirm_required"
    NOT_FOUND = "not_found"
    GONE = "gone"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    TOO_LARGE = "too_large"
    MEDIA_TYPE_UNSUPPORTED = "media_type_unsupported"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


STATUS_BY_CODE: Final[dict[ProblemCode, int]] = {
    ProblemCode.NOT_JSON: 400,
    ProblemCode.BODY_INVALID: 422,
    ProblemCode.INPUT_REFUSED: 422,
    ProblemCode.UNAUTHENTICATED: 401,
    ProblemCode.FORBIDDEN: 403,
    ProblemCode.CONFIRM_REQUIRED: 403,
    ProblemCode.NOT_FOUND: 404,
    ProblemCode.GONE: 410,
    ProblemCode.METHOD_NOT_ALLOWED: 405,
    ProblemCode.CONFLICT: 409,
    ProblemCode.IDEMPOTENCY_CONFLICT: 409,
    ProblemCode.TOO_LARGE: 413,
    ProblemCode.MEDIA_TYPE_UNSUPPORTED: 415,
    ProblemCode.RATE_LIMITED: 429,
    ProblemCode.UNAVAILABLE: 503,
    ProblemCode.INTERNAL: 500,
}

TITLE_BY_CODE: Final[dict[ProblemCode, str]] = {
    ProblemCode.NOT_JSON: "The body is not acceptable JSON",
    ProblemCode.BODY_INVALID: "The body does not fit its schema",
    ProblemCode.INPUT_REFUSED: "The input guard refused the body",
    ProblemCode.UNAUTHENTICATED: "No valid credential",
    ProblemCode.FORBIDDEN: "The credential lacks the scope",
    ProblemCode.CONFIRM_REQUIRED: "The session must be confirmed with its password",
    ProblemCode.NOT_FOUND: "No such resource",
    ProblemCode.GONE: "The resource was here and is not kept any longer",
    ProblemCode.METHOD_NOT_ALLOWED: "The method is not allowed here",
    ProblemCode.CONFLICT: "The state of the resource forbids this",
    ProblemCode.IDEMPOTENCY_CONFLICT: "The idempotency key was used with another body",
    ProblemCode.TOO_LARGE: "The body is too large",
    ProblemCode.MEDIA_TYPE_UNSUPPORTED: "The content type is not supported",
    ProblemCode.RATE_LIMITED: "Too many requests",
    ProblemCode.UNAVAILABLE: "A part of hookbus is away",
    ProblemCode.INTERNAL: "A fault inside hookbus",
}


class FieldError(WireModel):
    """One validation error: where, and what is wrong. Never the offending value, which may be a secret."""

    loc: str
    msg: str


class Problem(WireModel):
    """An error as a service puts it on the bus; the gateway adds ``type``, ``status`` and ``trace_id``."""

    code: ProblemCode
    detail: str
    errors: tuple[FieldError, ...] = ()
    retry_after_s: float | None = None


class ProblemError(Exception):
    """Raised where a request cannot be served; mapped to a reply or an HTTP answer once, at the edge."""

    def __init__(
        self,
        code: ProblemCode,
        detail: str,
        *,
        errors: tuple[FieldError, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.problem = Problem(code=code, detail=detail, errors=errors, retry_after_s=retry_after_s)
