"""What becomes of an agent while hookbus cannot do its part: a fail mode for each kind of event.

``open``: the agent goes on, and a person is told. ``closed``: it does not. ``cached``, for what is decided: what was
denied last stays denied (a killed session, a spent budget for a while, the very operation), all else goes on.

A pre-task fails when the gateway does not decide it. Any other event fails only when it could neither be sent nor
stored in the spool; ``closed`` then blocks where the agent's protocol lets that event block, which is a prompt.

A setting is one word for all kinds, or a list: ``open,pre-task=cached,prompt=closed``, the last word for a kind counts.
"""

from __future__ import annotations

from hookbus.client.adapters.base import KINDS

OPEN = "open"
CLOSED = "closed"
CACHED = "cached"
MODES = frozenset({OPEN, CLOSED, CACHED})
DECIDED_KIND = "pre-task"


class FailModes:
    """A setting, read. ``fault`` says that it is not understood: it was meant to change the default, so it closes."""

    def __init__(self, text: str) -> None:
        self.fault: str | None = None
        self._default = OPEN
        self._by_kind: dict[str, str] = {}
        for word in text.lower().replace(",", " ").split():
            kind, equals, mode = word.rpartition("=")
            if mode not in MODES or (equals and kind not in KINDS):
                self.fault = (
                    "HOOKBUS_FAIL_MODE is none of open, closed, cached, nor a list such as "
                    "pre-task=cached,prompt=closed (taken as closed)"
                )
                self._default, self._by_kind = CLOSED, {}
                return
            if equals:
                self._by_kind[kind] = mode
            else:
                self._default, self._by_kind = mode, {}

    def of(self, kind: str) -> str:
        """The mode of a kind. What is not decided has no denials to remember: ``cached`` is ``open`` there."""
        mode = self._by_kind.get(kind, self._default)
        return OPEN if mode == CACHED and kind != DECIDED_KIND else mode

    @property
    def text(self) -> str:
        """The setting in its shortest form."""
        return ",".join([self._default, *(f"{kind}={mode}" for kind, mode in self._by_kind.items())])
