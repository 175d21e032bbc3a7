"""An operation's accounts as columns."""

from typing import Any

from hookbus.budget.accounts import Chain


def chain_columns(chain: Chain) -> tuple[int | None, ...]:
    """Agent, project, team, session and subagent account."""
    return (chain.agent, chain.project, chain.team, chain.session, chain.subagent)


def chain_of(row: Any) -> Chain:
    """The inverse of :func:`chain_columns`."""
    return Chain(
        row["agent_account"],
        row["project_account"],
        row["team_account"],
        row["session_account"],
        row["subagent_account"],
    )
