"""Clients in which people's access tokens are met, told to the session service, which weighs them.

A token in a client that this gateway has not met it in is weighed before it opens anything; later once a minute. While
the service is away, clients that were met before go on (the state of their session is read from the bucket all the
same), and others are not let in.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hookbus.contracts.people import ClientFacts, PersonSeenRequest, PersonSessionRecord
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.gateway.tokens import TokenRefusedError
from hookbus.platform.bus.rpc import RpcClient

TOLD_INTERVAL_S: Final = 60.0
CLIENTS_MAX: Final = 8_192
"""Clients remembered at once; the least recently met is told of again."""
CALL_TIMEOUT_S: Final = 1.5


@dataclass(frozen=True)
class _Key:
    sid: str
    client: ClientFacts


class Presence:
    """Tells where tokens are met."""

    def __init__(self, rpc: RpcClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._rpc = rpc
        self._clock = clock
        self._told: OrderedDict[_Key, float] = OrderedDict()
        self._telling: dict[_Key, asyncio.Task[PersonSessionRecord]] = {}

    async def met(self, sid: str, client: ClientFacts) -> PersonSessionRecord | None:
        """Note that the token of a live session was met in ``client``; its record where that was news.

        Raises:
            TokenRefusedError: the session has ended, perhaps for this.
            ProblemError: ``unavailable``: a client met for the first time cannot be weighed now.
        """
        key = _Key(sid, client)
        told_at = self._told.get(key)
        if told_at is not None and self._clock() - told_at < TOLD_INTERVAL_S:
            return None
        task = self._telling.get(key)
        if task is None:
            # A task of its own: a caller that leaves must not take the answer away from those who wait with it.
            task = asyncio.create_task(self._tell(key))
            self._telling[key] = task
            task.add_done_callback(lambda done: self._told_now(key, done))
        try:
            record = await asyncio.shield(task)
        except ProblemError as error:
            if error.problem.code is ProblemCode.NOT_FOUND:
                raise TokenRefusedError("the session has ended") from error
            if told_at is not None:
                return None
            raise
        if record.ended:
            raise TokenRefusedError("the session has ended")
        return record

    async def _tell(self, key: _Key) -> PersonSessionRecord:
        began = self._clock()
        request = PersonSeenRequest(sid=key.sid, client=key.client)
        record = await self._rpc.call("session", "person_seen", request, PersonSessionRecord, timeout_s=CALL_TIMEOUT_S)
        if not record.ended and not record.confirm_required:
            self._told[key] = began
            self._told.move_to_end(key)
            if len(self._told) > CLIENTS_MAX:
                self._told.popitem(last=False)
        return record

    def _told_now(self, key: _Key, task: asyncio.Task[PersonSessionRecord]) -> None:
        self._telling.pop(key, None)
        if not task.cancelled():
            task.exception()  # mark as seen, should every caller have left
