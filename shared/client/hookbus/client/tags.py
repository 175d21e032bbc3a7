"""The tagging protocol: WHO, WHEN, PROJECT and WHY of an event, in any of the forms in which they are sent.

Nested: ``agent{name,category,capabilities}``, ``timestamp{iso,unix,readable}``, ``project``,
``intent{primary,description,task_id}``. Flat: the same joined by a dot, an underscore or in camel case
(``agent.category``, ``agent_category``, ``agentCategory``). Either at the top or inside ``tags`` or ``metadata``.

A word is brought into one spelling (``Code Quality`` is ``code-quality``) and is otherwise left to its sender. What
cannot be read says nothing; the data of the event keeps what was sent.
"""

from __future__ import annotations

from hookbus.client import identity
from hookbus.client.compactjson import as_object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CATEGORIES = (
    "code-quality",
    "bugfix",
    "testing",
    "documentation",
    "analysis",
    "security",
    "performance",
    "planning",
    "research",
)
INTENTS = (
    "bugfix",
    "code-quality-improvement",
    "security-fix",
    "performance-optimization",
    "documentation",
    "testing",
    "analysis",
    "planning",
    "research",
    "refactoring",
    "feature-implementation",
)
"""The words that the protocol names; others are taken too."""

TAG_CHARS_MAX = 64
SENT_CHARS_MAX = 256
"""Of a tag as it was sent: what is longer is no word."""

UNIX_MIN_S = 946_684_800.0
UNIX_MAX_S = 4_102_444_800.0
"""The years 2000 to 2099: a clock that says another is not set."""

MILLISECONDS_FROM = 100_000_000_000.0
"""A Unix time above it is one in milliseconds."""

_WRAPPERS = ("tags", "metadata")


class Tags:
    """What was said; None for what was not, or not in a form that can be read."""

    __slots__ = ("agent", "agent_category", "description", "intent", "project", "task_id", "time")

    def __init__(self, payload: dict[str, Any]) -> None:
        whole = [payload, *(found for name in _WRAPPERS if (found := as_object(payload.get(name))) is not None)]
        self.agent = _text(_first(whole, "agent", "name"))
        """The agent's name as it was sent, whether or not it is a legal agent id."""
        self.agent_category = tag(_first(whole, "agent", "category"))
        self.intent = tag(_first(whole, "intent", "primary") or _plain(whole, "intent"))
        self.description = _text(_first(whole, "intent", "description"))
        self.task_id = _text(_first(whole, "intent", "task_id"))
        self.project = _text(_plain(whole, "project") or _first(whole, "project", "name"))
        self.time = _time(_first(whole, "timestamp", "iso") or _plain(whole, "timestamp")) or _time(
            _first(whole, "timestamp", "unix")
        )
        """RFC 3339 in UTC."""

    def attributes(self) -> dict[str, str]:
        """The attributes of an event in short form that the tags name."""
        project = identity.scope_name(self.project) if self.project else None
        found = {
            "agent_category": self.agent_category,
            "intent": self.intent,
            "project": project,
            "time": self.time,
        }
        return {name: value for name, value in found.items() if value}


def tag(value: object) -> str | None:
    """A word in its one spelling: lower case, its parts joined by ``-``; None for what is no word."""
    if not isinstance(value, str) or len(value) > SENT_CHARS_MAX:
        return None
    letters = (letter if letter.isalnum() or letter == "." else " " for letter in value.lower())
    return "-".join("".join(letters).split())[:TAG_CHARS_MAX].rstrip("-") or None


def _first(whole: list[dict[str, Any]], name: str, field: str) -> object:
    """The first of the forms of one tag that is there, nested before flat."""
    camel = "".join(part.capitalize() for part in field.split("_"))
    for place in whole:
        nested = as_object(place.get(name)) or {}
        forms = (f"{name}_{field}", f"{name}.{field}", f"{name}{camel}", f"{name}{field}")
        for value in (nested.get(field), nested.get(field[0] + camel[1:]), *(place.get(form) for form in forms)):
            if value not in (None, "", [], {}):
                return value
    return None


def _plain(whole: list[dict[str, Any]], name: str) -> object:
    """A tag that was sent as a value of its own."""
    return next((place[name] for place in whole if isinstance(place.get(name), (str, int, float))), None)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _time(value: object) -> str | None:
    if isinstance(value, bool):
        return None
    moment_s: float | None = None
    if isinstance(value, (int, float)):
        moment_s = value / 1_000 if value >= MILLISECONDS_FROM else value
    elif isinstance(value, str) and len(value) <= SENT_CHARS_MAX and value[:4].isdigit():
        from datetime import UTC, datetime

        try:
            read = datetime.fromisoformat(value)
            # A time without a zone is taken as UTC.
            moment_s = (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None
    if moment_s is None or not UNIX_MIN_S <= moment_s < UNIX_MAX_S:
        return None
    return identity.time_text(moment_s)
