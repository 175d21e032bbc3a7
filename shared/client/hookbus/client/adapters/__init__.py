"""One file for each agent's hook protocol: payload in, events out, the decision back in the agent's own schema.

Adapters are pure: ids, times and settings come in by :class:`hookbus.client.adapters.base.Context`, nothing is read
or sent. So the gateway can use them for agents that speak HTTP themselves.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hookbus.client.adapters.base import Adapter

MODULE_BY_AGENT = {
    "claude-code": "claude_code",
    "codex": "codex",
    "gemini": "gemini",
    "cursor": "cursor",
    "copilot": "copilot",
    "generic": "generic",
}
"""Agent -> the module here whose ``ADAPTER`` speaks its protocol."""


def load(agent: str) -> Adapter:
    """The adapter of an agent. Raises KeyError for an unknown one."""
    module_name = f"{__name__}.{MODULE_BY_AGENT[agent]}"
    module = __import__(module_name, fromlist=["ADAPTER"])
    return module.ADAPTER
