"""The bounds of the wire. Each is enforced by the gateway and relied on by the services behind it."""

from typing import Final

EVENT_BYTES_MAX: Final = 256 * 1024
BATCH_BYTES_MAX: Final = 8 * 1024 * 1024
BATCH_EVENTS_MAX: Final = 10_000
JSON_DEPTH_MAX: Final = 32
"""Nesting of arrays and objects in one request body."""

IDENTIFIER_CHARS_MAX: Final = 64
EVENT_ID_CHARS_MAX: Final = 128
DESCRIPTION_CHARS_MAX: Final = 1_000
FILE_NAME_CHARS_MAX: Final = 4_096
TERMINAL_TEXT_CHARS_MAX: Final = 64 * 1024
"""Characters of one terminal-output event."""
TERMINAL_SEQUENCE_MAX: Final = 2**53
EXTENSION_ATTRIBUTES_MAX: Final = 32
EXTENSION_CHARS_MAX: Final = 1_024

TOKENS_PER_REQUEST_MAX: Final = 10_000_000
COST_PER_REQUEST_USD_MAX: Final = 100
TOKENS_LIMIT_MAX: Final = 10**15
COST_LIMIT_USD_MAX: Final = 10**9
USD_DECIMAL_PLACES: Final = 6

RESERVATION_TTL_DEFAULT_S: Final = 60
RESERVATION_TTL_MIN_S: Final = 1
RESERVATION_TTL_MAX_S: Final = 24 * 60 * 60

ACCOUNT_NAME_CHARS_MAX: Final = 258
"""An agent, a session and a subagent, with what stands between them."""
CURSOR_CHARS_MAX: Final = 256
PAGE_ITEMS_DEFAULT: Final = 100
PAGE_ITEMS_MAX: Final = 1_000
