"""The parts of an open log, made in order: its identity, its keys, its signer, its appender, its publisher."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import asyncpg
import structlog
from sqlalchemy.exc import SQLAlchemyError

from hookbus.audit.administration import finish_erasures
from hookbus.audit.anchor_bucket import AnchorBucket
from hookbus.audit.anchors import AnchorFile, Witness
from hookbus.audit.keyring import Keyring
from hookbus.audit.keystore import KeyStore
from hookbus.audit.opened import OpenLog, record_handovers
from hookbus.audit.outreach import Outreach
from hookbus.audit.passphrases import KekFiles
from hookbus.audit.publishing import Publisher
from hookbus.audit.record import LOG_ID_BYTES
from hookbus.audit.repository import leading
from hookbus.audit.sequencer import Sequencer
from hookbus.audit.settings import AuditSettings, may_create
from hookbus.audit.signing.client import RemoteSigner, SignerAwayError
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.bus.connection import Loop
from hookbus.platform.database.engine import Database, is_transient

REIGN_RETRY_S: Final = 0.5
OPEN_RETRY_S: Final = 1.0
LEAD_POLL_S: Final = 0.05

log = structlog.get_logger(__name__)


class Log:
    """The log of one process: opened once the database answers, led while no other process does."""

    def __init__(self, settings: AuditSettings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._open: OpenLog | None = None

    @property
    def opened(self) -> OpenLog:
        """The open log; raises ProblemError (``unavailable``) while the database was not reached yet."""
        if self._open is None:
            raise ProblemError(ProblemCode.UNAVAILABLE, "the audit log is not open yet", retry_after_s=OPEN_RETRY_S)
        return self._open

    async def open(self) -> OpenLog:
        """Read or make the identity and the keys.

        Raises:
            KeyUnusableError: wrong passphrase or weakened parameters.
            SigningRefusedError: the signing key or its last checkpoint do not fit this log.
            SignerAwayError: the signer does not answer.
        """
        if self._open is not None:
            return self._open
        settings = self._settings
        async with self._database.raw() as connection:
            log_id = os.urandom(LOG_ID_BYTES)
            await leading.create_log(connection, log_id, f"{settings.audit_origin}/{log_id.hex()}")
            state = await leading.read_state(connection)
            assert state is not None
            files = KekFiles(settings.audit_passphrase_file, settings.audit_kek_file, os.urandom)
            store = KeyStore(settings.audit_keys_file, state.log_id)
            keyring = await Keyring.open(connection, store, files, os.urandom)
        signer = RemoteSigner(
            state.origin,
            key_file=settings.audit_signing_key_file,
            create=may_create(settings),
            socket=settings.audit_signer_socket,
        )
        await signer.refresh()
        sequencer = Sequencer(keyring, os.urandom, partition_entries=settings.audit_partition_entries)
        outreach = Outreach(
            self._database,
            file=AnchorFile(settings.audit_anchor_file) if settings.audit_anchor_file is not None else None,
            url=settings.audit_anchor_url,
            bucket=None if settings.anchor_bucket is None else AnchorBucket(settings.anchor_bucket),
            witnesses=[Witness.parse(text) for text in settings.audit_witnesses],
        )
        publisher = Publisher(self._database, sequencer, signer, outreach)
        opened = OpenLog(state.origin, keyring, signer, sequencer, publisher, outreach)
        async with self._database.raw() as connection:
            # Before anything is read from the log: its keys may be an old copy.
            await finish_erasures(opened, connection)
        self._open = opened
        return opened

    async def open_at_start(self) -> None:
        """Open the log before requests are taken: a process that starts beside others shares theirs from its first
        moment, and would refuse what they could answer. Where that fails now, requests are told so, and
        :meth:`lead_forever` tries again."""
        try:
            await self.open()
        except Exception as error:  # noqa: BLE001 - whatever it is, lead_forever meets it again and judges it
            log.warning("audit log not open yet", error=type(error).__name__, reason=str(error))

    async def close(self) -> None:
        """End the signer."""
        if self._open is not None:
            await self._open.signer.close()

    async def lead_forever(self, loops: Sequence[Loop]) -> None:
        """Append whenever no other process does, pulling events only then. Runs until cancelled."""
        while True:
            try:
                opened = await self.open()
                async with self._database.raw() as connection:
                    await self._reign(opened, connection, loops)
            except SignerAwayError as error:
                log.warning("signer away, not appending", error=str(error))
            except leading.FencedError:
                log.warning("another process appends now")
            except (asyncpg.PostgresError, asyncpg.InterfaceError, SQLAlchemyError, OSError, TimeoutError) as error:
                if not is_transient(error):
                    raise
                log.warning("database away, not appending", error=type(error).__name__)
            await asyncio.sleep(REIGN_RETRY_S)

    async def _reign(self, opened: OpenLog, connection: leading.Connection, loops: Sequence[Loop]) -> None:
        """One reign. At its end: pull no more, finish what was pulled, give up the lead."""
        sequencer = opened.sequencer
        reign = asyncio.create_task(sequencer.reign(connection), name="audit-reign")
        reaching_out = asyncio.create_task(opened.outreach.run(), name="audit-outreach")
        running = [reign, reaching_out]
        try:
            while not sequencer.leads and not reign.done():
                await asyncio.wait((reign,), timeout=LEAD_POLL_S)
            if not reign.done():
                # Another process may have signed, or rotated, while this one stood by: a checkpoint whose proof begins
                # where this one last knew would be refused, and that is the alarm of a log that was tampered with.
                await opened.signer.refresh()
                running.append(asyncio.create_task(opened.publisher.run(), name="audit-publishing"))
                await record_handovers(opened, self._database)
                async with self._database.raw() as other:
                    await finish_erasures(opened, other)
                for loop in loops:
                    loop.start()
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in running:
                if task.done():
                    task.result()
        finally:
            for loop in loops:
                await loop.stop()
            for task in reversed(running):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task
            # Whether the log continues what was signed is the next one's question, whoever that is.
            opened.publisher.refused = None
