"""An open log: its parts, and the entries it writes about itself."""

import uuid
from dataclasses import dataclass

from pydantic import JsonValue

from hookbus.audit.entries import Incoming, own_event
from hookbus.audit.keyring import Keyring
from hookbus.audit.outreach import Outreach
from hookbus.audit.publishing import Publisher
from hookbus.audit.record import from_microseconds
from hookbus.audit.repository import reading
from hookbus.audit.sequencer import Sequencer, system_clock_us
from hookbus.audit.signing.client import RemoteSigner
from hookbus.platform.database.engine import Database


@dataclass(frozen=True, slots=True)
class OpenLog:
    """A log that can be read, and appended to while its sequencer leads."""

    origin: str
    keyring: Keyring
    signer: RemoteSigner
    sequencer: Sequencer
    publisher: Publisher
    outreach: Outreach


def own_entry(code: str, data: dict[str, JsonValue], event_id: str | None = None) -> Incoming:
    """An entry the log writes about itself, now."""
    moment = from_microseconds(system_clock_us())
    return own_event(code, event_id or f"{code.replace('_', '-')}-{uuid.uuid4()}", moment.isoformat(), data)


async def record_handovers(opened: OpenLog, database: Database, actor: str = "") -> None:
    """Put each handover of the signer into the log and its table, where it is not there yet (after a crash, say)."""
    async with database.raw() as connection:
        known = {stored.note for stored in await reading.read_handovers(connection)}
    for number, note in enumerate(opened.signer.handovers):
        if note in known:
            continue
        entry = own_entry("key_handover", {"note": note, "actor": actor}, f"key-handover-{number}")
        await opened.sequencer.append([entry])
        async with database.raw() as connection:
            await reading.insert_handover(connection, number, note)
