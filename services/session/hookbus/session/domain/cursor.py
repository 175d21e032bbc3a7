"""Page cursors: where a newest-first list goes on, as opaque text."""

import base64
import binascii
from datetime import UTC, datetime
from typing import Final

from hookbus.contracts.problems import FieldError, ProblemCode, ProblemError

CURSOR_CHARS_MAX: Final = 512
_SEPARATOR: Final = "~"


def encode(at: datetime, name: str) -> str:
    """The cursor of the last item of a page."""
    return base64.urlsafe_b64encode(f"{at.astimezone(UTC).isoformat()}{_SEPARATOR}{name}".encode()).decode()


def decode(cursor: str | None) -> tuple[datetime, str] | None:
    """Time and name of the item to go on after; None for the first page.

    Raises:
        ProblemError: ``body_invalid`` for text that no page returned.
    """
    if cursor is None:
        return None
    if len(cursor) > CURSOR_CHARS_MAX:
        raise _not_ours()
    try:
        moment, separator, name = base64.b64decode(cursor, altchars=b"-_", validate=True).decode().partition(_SEPARATOR)
        at = datetime.fromisoformat(moment)
    except (ValueError, binascii.Error):
        raise _not_ours() from None
    if not separator or at.tzinfo is None or not name.isprintable():
        raise _not_ours()
    return at, name


def _not_ours() -> ProblemError:
    errors = (FieldError(loc="cursor", msg="not a cursor that a page returned"),)
    return ProblemError(ProblemCode.BODY_INVALID, "the cursor is not one of ours", errors=errors)
