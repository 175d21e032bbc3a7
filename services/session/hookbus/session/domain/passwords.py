"""Which passwords are taken, and how one-time passwords are made."""

import base64
import unicodedata
from collections.abc import Collection
from typing import Final

from hookbus.contracts.problems import FieldError, ProblemCode, ProblemError

PASSWORD_CHARS_MIN: Final = 12
ONE_TIME_PASSWORD_BYTES: Final = 15
REPEATS_MIN: Final = 2


def one_time_password(random: bytes) -> str:
    """A password for handing over: 120 random bits in letters and digits that are not mistaken for each other."""
    text = base64.b32encode(random).decode().lower()
    return "-".join(text[at : at + 6] for at in range(0, len(text), 6))


def check(password: str, *, username: str, breached: Collection[str]) -> None:
    """Refuse a password that is short, holds the username, or is known from breaches.

    Raises:
        ProblemError: ``body_invalid``; says which rule, never the password.
    """
    if len(password) < PASSWORD_CHARS_MIN:
        raise refused(f"must have at least {PASSWORD_CHARS_MIN} characters")
    folded = unicodedata.normalize("NFKC", password).casefold()
    if username and username in folded:
        raise refused("must not hold the username")
    if any(form in breached for form in _forms(folded)):
        raise refused("is among the passwords known from breaches")


def refused(rule: str) -> ProblemError:
    """The problem of a password that breaks a rule."""
    fault = FieldError(loc="new_password", msg=rule)
    return ProblemError(ProblemCode.BODY_INVALID, f"the new password {rule}", errors=(fault,))


def _forms(folded: str) -> set[str]:
    """The password, without what people put before and after a word, and the word it repeats."""
    core = folded.strip("0123456789 !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
    forms = {folded, core}
    for form in (folded, core):
        # A text that repeats a shorter one is found in its own double before its end.
        period = (form + form).find(form, 1) if form else 0
        if period and len(form) // period >= REPEATS_MIN and len(form) % period == 0:
            forms.add(form[:period])
    return forms - {""}
