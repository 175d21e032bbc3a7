"""The data keys for whoever takes the log away to check it with decryption elsewhere."""

import base64
from typing import Final

from hookbus.audit.exported_keys import seal_keys
from hookbus.audit.log import Log
from hookbus.audit.opened import own_entry
from hookbus.contracts import audit as wire
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.bus.rpc import RpcServer

KEYS_PER_PAGE_MAX: Final = 2_000
"""Some 140 bytes each, well within a message of the bus."""
LEAD_RETRY_AFTER_S: Final = 1.0


class ExportRequests:
    """The RPC method that lets keys out. Only the process that appends serves it: each page is logged first."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def register(self, server: RpcServer) -> None:
        """Answer the method."""
        server.method("export_keys", wire.ExportKeysRequest, self.export_keys)

    async def export_keys(self, request: wire.ExportKeysRequest) -> wire.ExportKeysReply:
        """The next page of data keys, in the order of their ids."""
        opened = self._log.opened
        after = bytes.fromhex(request.after or "")
        stored = sorted(key_id for key_id in await opened.keyring.periods() if key_id > after)
        page = stored[:KEYS_PER_PAGE_MAX]
        keys = await opened.keyring.open_keys(page)
        found = [keys[key_id] for key_id in page if key_id in keys]
        try:
            sealed = seal_keys(found, bytes.fromhex(request.public_key))
        except ValueError as error:
            raise ProblemError(ProblemCode.BODY_INVALID, "the public key is none") from error
        await opened.sequencer.append([own_entry("keys_exported", {"keys": len(found), "actor": request.actor})])
        position = opened.sequencer.position
        if position is None:
            raise ProblemError(ProblemCode.UNAVAILABLE, "the lead has just changed", retry_after_s=LEAD_RETRY_AFTER_S)
        return wire.ExportKeysReply(
            sealed=base64.b64encode(sealed).decode(),
            keys=len(found),
            size=position.tree.frontier.size,
            after=page[-1].hex() if len(stored) > len(page) else None,
        )
