"""The library for programs with an event loop: the same calls, each in a thread of its own."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from hookbus.client.client import Client, Published, Reservation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import Any

    from hookbus.client.gateway import Decision
    from hookbus.client.receipts import LogReceipt


class AsyncClient:
    """As :class:`hookbus.client.Client`, awaited; it takes the same arguments. Safe to share between tasks."""

    def __init__(self, url: str | None = None, api_key: str | None = None, **options: Any) -> None:
        self._client = Client(url, api_key, **options)

    async def publish(self, kind: str, data: dict[str, Any] | None = None, **options: Any) -> Published:
        """See :meth:`hookbus.client.Client.publish`."""
        return await asyncio.to_thread(self._client.publish, kind, data, **options)

    async def decide(self, tool: str, tool_input: dict[str, Any] | None = None, **options: Any) -> Decision:
        """See :meth:`hookbus.client.Client.decide`."""
        return await asyncio.to_thread(self._client.decide, tool, tool_input, **options)

    async def receipt(self, event_id: str, *, deadline_s: float | None = None) -> LogReceipt | None:
        """See :meth:`hookbus.client.Client.receipt`."""
        return await asyncio.to_thread(self._client.receipt, event_id, deadline_s=deadline_s)

    @asynccontextmanager
    async def reserve(
        self, tool: str, tool_input: dict[str, Any] | None = None, **options: Any
    ) -> AsyncGenerator[Reservation]:
        """See :meth:`hookbus.client.Client.reserve`."""
        reservation = await asyncio.to_thread(self._client.open_reservation, tool, tool_input, **options)
        try:
            yield reservation
        except BaseException:
            await asyncio.to_thread(reservation.close, failed=True)
            raise
        await asyncio.to_thread(reservation.close, failed=False)
