"""What the routes share: made once when the application is wired."""

from dataclasses import dataclass
from datetime import UTC, datetime

import uuid_utils
from starlette.requests import HTTPConnection, Request

from hookbus.gateway.auth import Authenticator, Principal
from hookbus.gateway.clients import client_network
from hookbus.gateway.decider import Decider
from hookbus.gateway.guard.effort import GuardMode
from hookbus.gateway.intake import Intake
from hookbus.gateway.peers import Peers
from hookbus.gateway.rates import Limiter
from hookbus.platform import telemetry
from hookbus.platform.bus.group_commit import GroupCommit
from hookbus.platform.bus.publisher import Publisher


@dataclass(frozen=True)
class State:
    """The parts of one gateway process."""

    authenticator: Authenticator
    peers: Peers
    publisher: Publisher
    hooks: GroupCommit
    decider: Decider
    keys: Limiter
    agents: Limiter
    guard_mode: GuardMode

    def intake(self, request: HTTPConnection) -> Intake:
        """What completes the events of one request."""
        return Intake(now(), new_id, telemetry.current_traceparent(), self.guard_mode, client_network(request))

    def limit_events(self, principal: Principal, counts: dict[str, int]) -> None:
        """Count events by agent; the request itself was counted for its key already.

        Raises:
            RateLimitedError: an agent, or the key, is over its limit.
        """
        extra = sum(counts.values()) - 1
        if extra > 0:
            self.keys.hit(principal.key_id, cost=extra)
        for agent_id, count in counts.items():
            self.agents.hit(agent_id, cost=count)


def state_of(request: Request) -> State:
    """The state of the application that serves ``request``."""
    state: State = request.app.state.gateway
    return state


def now() -> datetime:
    """The time in UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """A UUIDv7: unique, and sorted by time."""
    return str(uuid_utils.uuid7())
