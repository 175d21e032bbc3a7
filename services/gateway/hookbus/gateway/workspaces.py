"""Beneath which folder a session may work: where it began, whatever folder its agent changes to afterwards.

The first folder a session's hooks name is written to a bucket of the bus, created and never changed, so that every
gateway pins the same one and may hold it for ever. An agent that changes its folder then resolves its relative paths
there, and is still judged by where it began.
"""

import asyncio
import hashlib
from collections import OrderedDict
from enum import StrEnum
from typing import Final

from faststream.exceptions import IncorrectState
from faststream.nats import NatsBroker
from nats.errors import Error as NatsError
from nats.js.errors import KeyWrongLastSequenceError

from hookbus.contracts.events import Event
from hookbus.contracts.subjects import BUCKET_WORKSPACES
from hookbus.contracts.workspaces import WorkspaceRecord
from hookbus.gateway.guard.operation import working_folder
from hookbus.gateway.guard.paths import usable_folder
from hookbus.gateway.keys import LOOKUP_TIMEOUT_S, RecordSource
from hookbus.platform.bus.connection import jetstream

HELD_MAX: Final = 8_192


class WorkspaceRule(StrEnum):
    """Which folder is a session's workspace, beside the configured ones."""

    FIRST = "first"
    """The one it began in."""
    CURRENT = "current"
    """The one each hook names."""
    LISTED = "listed"
    """None: only the configured ones count."""


class Workspaces:
    """The roots of operations."""

    def __init__(
        self,
        broker: NatsBroker,
        rule: WorkspaceRule,
        roots: tuple[str, ...],
        project_roots: dict[str, tuple[str, ...]],
    ) -> None:
        self._broker = broker
        self._rule = rule
        self._roots = roots
        self._project_roots = project_roots
        self._source = RecordSource(broker, BUCKET_WORKSPACES, WorkspaceRecord, "the workspace cannot be checked now")
        self._held: OrderedDict[str, str] = OrderedDict()

    async def of(self, event: Event) -> tuple[str | None, tuple[str, ...]]:
        """The folder beneath which an operation may work, and the configured ones.

        Raises:
            ProblemError: ``unavailable`` when the session's folder can be neither read nor written.
        """
        own = self._project_roots.get(event.project or "")
        if own is not None:
            return None, (*own, *self._roots)
        folder = working_folder(event.data)
        if self._rule is WorkspaceRule.LISTED:
            return None, self._roots
        if self._rule is WorkspaceRule.CURRENT or event.session is None:
            return folder, self._roots
        return await self._first(event.session, folder), self._roots

    async def _first(self, session: str, folder: str | None) -> str | None:
        held = self._held.get(session)
        if held is not None:
            self._held.move_to_end(session)
            return held
        key = hashlib.sha256(session.encode()).hexdigest()
        record = await self._source.from_bucket(key)
        if record is None and usable_folder(folder) is not None:
            assert folder is not None
            record = await self._create(key, WorkspaceRecord(cwd=folder))
        if record is None:
            return None
        self._held[session] = record.cwd
        if len(self._held) > HELD_MAX:
            self._held.popitem(last=False)
        return record.cwd

    async def _create(self, key: str, record: WorkspaceRecord) -> WorkspaceRecord | None:
        """The record as it is now in the bucket: this one, or that of whoever was first."""
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                bucket = await jetstream(self._broker).key_value(BUCKET_WORKSPACES)
                await bucket.create(key, record.model_dump_json().encode())
        except KeyWrongLastSequenceError:
            return await self._source.from_bucket(key)
        except (NatsError, IncorrectState, TimeoutError, OSError) as error:
            raise self._source.unreadable() from error
        return record
