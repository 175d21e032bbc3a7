"""Names and times an event carries: event ids, trace contexts, legal identifiers, host and user."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_ALPHANUMERIC = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
AGENT_ID_ALPHABET = _ALPHANUMERIC + "_-"
SCOPE_NAME_ALPHABET = _ALPHANUMERIC + "._-"
IDENTIFIER_ALPHABET = _ALPHANUMERIC + "._:-"
_HEX_LOWER = "0123456789abcdef"

AGENT_ID_CHARS_MAX = 64
SCOPE_NAME_CHARS_MAX = 64
IDENTIFIER_CHARS_MAX = 128
FINGERPRINT_CHARS_MAX = 128


def consists_of(text: str, alphabet: str, chars_max: int) -> bool:
    """Whether the text is 1 to ``chars_max`` characters of the alphabet, to the last character."""
    return 0 < len(text) <= chars_max and not text.strip(alphabet)


def is_agent_id(text: str) -> bool:
    """Whether the gateway accepts the text as an agent id."""
    return consists_of(text, AGENT_ID_ALPHABET, AGENT_ID_CHARS_MAX)


def is_identifier(text: str) -> bool:
    """Whether the gateway accepts the text as an event, session or operation id."""
    return consists_of(text, IDENTIFIER_ALPHABET, IDENTIFIER_CHARS_MAX)


def identifier(text: str) -> str:
    """The text where it is a legal identifier, else one derived from it: equal texts stay equal, others differ."""
    if is_identifier(text):
        return text
    return "x-" + digest(text.encode("utf-8", "surrogatepass"))[:40]


def digest(content: bytes) -> str:
    """SHA-256 in hex, by the interpreter's own small module where it has one: ``hashlib`` loads all of OpenSSL."""
    try:
        from _sha256 import sha256  # pyright: ignore[reportMissingImports, reportUnknownVariableType]  # gone in 3.12
    except ImportError:
        try:
            from _sha2 import sha256  # pyright: ignore[reportMissingImports, reportUnknownVariableType]  # since 3.12
        except ImportError:
            from hashlib import sha256
    return sha256(content).hexdigest()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # as above


def scope_name(text: str) -> str | None:
    """A legal project name as near to the text as can be, or None where nothing of it is legal."""
    name = "".join(letter if letter in SCOPE_NAME_ALPHABET else "-" for letter in text[:SCOPE_NAME_CHARS_MAX])
    return name if name.strip("-") else None


def event_id() -> str:
    """A new UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def is_traceparent(text: str) -> bool:
    """Whether the text is a W3C trace context of version 00 with ids that are not all zero."""
    parts = text.split("-")
    return (
        [len(part) for part in parts] == [2, 32, 16, 2]
        and not "".join(parts).strip(_HEX_LOWER)
        and parts[0] == "00"
        and parts[1].strip("0") != ""
        and parts[2].strip("0") != ""
    )


def tracestate(environ: Mapping[str, str]) -> str:
    """Which span the hook's own lies under: ``hookbus=<span id>``, zeros where there is none.

    With it the gateway records the hook's span, which exports nothing itself.
    """
    for name in ("HOOKBUS_TRACEPARENT", "TRACEPARENT"):
        given = environ.get(name, "")
        if is_traceparent(given):
            return f"hookbus={given[36:52]}"
    return f"hookbus={'0' * 16}"


def traceparent(environ: Mapping[str, str]) -> str:
    """A new span of the trace the hook runs in (HOOKBUS_TRACEPARENT, then TRACEPARENT), or of a new sampled one."""
    for name in ("HOOKBUS_TRACEPARENT", "TRACEPARENT"):
        given = environ.get(name, "")
        if is_traceparent(given):
            return f"{given[:36]}{os.urandom(8).hex()}{given[52:]}"
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01"


def time_text(unix_s: float | None = None) -> str:
    """A moment as RFC 3339 in UTC with milliseconds; now where none is given."""
    moment_s = time.time() if unix_s is None else unix_s
    whole_s = int(moment_s)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole_s))}.{int((moment_s - whole_s) * 1000):03d}Z"


def fingerprint(environ: Mapping[str, str]) -> dict[str, str]:
    """Where this process runs: host, user and, where the environment tells it, the agent's version."""
    found = {
        "host": os.uname().nodename,
        "user": environ.get("USER") or environ.get("LOGNAME") or str(os.getuid()),
        "agent_version": environ.get("HOOKBUS_AGENT_VERSION", ""),
    }
    return {name: value[:FINGERPRINT_CHARS_MAX] for name, value in found.items() if value}
