"""The services behind the gateway, asked over the bus."""

from typing import Final, TypeVar

from faststream.nats import NatsBroker

from hookbus.contracts.budget import ReserveManyReply, ReserveManyRequest, ReserveReply, ReserveRequest
from hookbus.contracts.fields import WireModel
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import AssessManyReply, AssessManyRequest, AssessReply, AssessRequest
from hookbus.platform.bus.connection import is_connected
from hookbus.platform.bus.rpc import RpcClient
from hookbus.platform.bus.rpc_gather import GatheredCalls

CALL_TIMEOUT_S: Final = 1.5
"""A hook must have its answer, be it that a service is away, within two seconds."""
DECISION_CALL_TIMEOUT_S: Final = 1.2
"""Of a call that a decision waits for."""
SLOW_CALL_TIMEOUT_S: Final = 120.0
"""For what reads a whole log."""
RETRY_AFTER_S: Final = 1.0

ReplyT = TypeVar("ReplyT", bound=WireModel)


class Peers:
    """Asks budget, session, audit and traces."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker
        self.rpc: Final = RpcClient(broker)
        self._assess = GatheredCalls(
            self.rpc,
            "session",
            "assess",
            gathered_class=AssessManyRequest,
            gathered_reply_class=AssessManyReply,
            reply_class=AssessReply,
            timeout_s=DECISION_CALL_TIMEOUT_S,
        )
        self._check = GatheredCalls(
            self.rpc,
            "budget",
            "check",
            gathered_class=ReserveManyRequest,
            gathered_reply_class=ReserveManyReply,
            reply_class=ReserveReply,
            timeout_s=DECISION_CALL_TIMEOUT_S,
        )

    def check_connected(self) -> None:
        """Raise ``unavailable`` at once where the bus is away: a request written now would only wait."""
        if not is_connected(self._broker):
            raise ProblemError(ProblemCode.UNAVAILABLE, "the bus is away", retry_after_s=RETRY_AFTER_S)

    async def call(
        self,
        service: str,
        method: str,
        request: WireModel,
        reply_class: type[ReplyT],
        *,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> ReplyT:
        """Ask and wait; raises what :meth:`hookbus.platform.bus.rpc.RpcClient.call` raises."""
        self.check_connected()
        return await self.rpc.call(service, method, request, reply_class, timeout_s=timeout_s)

    async def assess(self, request: AssessRequest) -> AssessReply:
        """May a session go on; asked together with others that are asked at this moment. Raises as :meth:`call`."""
        self.check_connected()
        return await self._assess.call(request)

    async def reserve(self, request: ReserveRequest) -> ReserveReply:
        """May an operation go ahead; asked together with others. Raises as :meth:`call`."""
        self.check_connected()
        return await self._check.call(request)
