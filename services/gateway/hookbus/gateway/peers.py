"""The services behind the gateway, asked over the bus."""

from typing import Final, TypeVar

from faststream.exceptions import IncorrectState
from faststream.nats import NatsBroker

from hookbus.contracts.fields import WireModel
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.bus.rpc import RpcClient

CALL_TIMEOUT_S: Final = 1.5
"""A hook must have its answer, be it that a service is away, within two seconds."""
SLOW_CALL_TIMEOUT_S: Final = 120.0
"""For what reads a whole log."""
RETRY_AFTER_S: Final = 1.0

ReplyT = TypeVar("ReplyT", bound=WireModel)


class Peers:
    """Asks budget, session, audit and traces."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker
        self.rpc: Final = RpcClient(broker)

    def check_connected(self) -> None:
        """Raise ``unavailable`` at once where the bus is away: a request written now would only wait."""
        try:
            connected = self._broker.connection.is_connected
        except IncorrectState:
            connected = False
        if not connected:
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
