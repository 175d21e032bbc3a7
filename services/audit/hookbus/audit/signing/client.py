"""The service's side of the signer: a child process, or a socket where the signer runs elsewhere."""

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog
from pydantic import ValidationError

from hookbus.audit.note import Checkpoint, VerifierKey
from hookbus.audit.signing.protocol import LINE_BYTES_MAX, Answer, OpenOrder, PruneOrder, RotateOrder, SignOrder
from hookbus.audit.signing.signer import SigningRefusedError, SignRequest
from hookbus.audit.trust import Handover, Trust
from hookbus.contracts.fields import WireModel

ANSWER_TIMEOUT_S: Final = 10.0
STOP_TIMEOUT_S: Final = 3.0
INHERITED_VARIABLES: Final = ("PATH", "LANG", "LC_ALL", "TMPDIR", "TZ", "PYTHONPATH")
"""What the signer's process sees of the service's environment: no address, no password."""

log = structlog.get_logger(__name__)


class SignerAwayError(Exception):
    """The signer does not answer; it is asked again later."""


class RemoteSigner:
    """A signer in another process. Restarted, or connected to again, at the next order after it went away."""

    def __init__(self, origin: str, *, key_file: Path, create: bool = False, socket: Path | None = None) -> None:
        self._origin = origin
        self._key_file = key_file
        self._create = create
        self._socket = socket
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._lock = asyncio.Lock()
        self._state: Answer | None = None
        self.restarts = 0

    @property
    def _known(self) -> Answer:
        if self._state is None:
            raise SignerAwayError("the signer was not reached yet")
        return self._state

    @property
    def last(self) -> Checkpoint | None:
        """The newest checkpoint it signed."""
        state = self._known
        if state.last_size is None or state.last_root is None:
            return None
        return Checkpoint(self._origin, state.last_size, bytes.fromhex(state.last_root))

    @property
    def handovers(self) -> tuple[str, ...]:
        """The notes by which its keys handed over, oldest first."""
        return self._known.handovers

    @property
    def trust(self) -> Trust:
        """The keys of the log, as the signer states them."""
        state = self._known
        current = VerifierKey.parse(state.verifier_key)
        first = Handover.open(state.handovers[0]).old if state.handovers else current
        return Trust(self._origin, first, state.handovers)

    async def refresh(self) -> None:
        """Reach the signer and learn its state as it is now; raises SignerAwayError or SigningRefusedError."""
        async with self._lock:
            if self._writer is None:
                await self._connect()
            else:
                await self._exchange(OpenOrder(origin=self._origin))

    async def sign(self, request: SignRequest) -> str:
        """The signed note of a checkpoint.

        Raises:
            SigningRefusedError: it does not continue what was signed before.
            SignerAwayError: no answer.
        """
        order = SignOrder(
            size=request.checkpoint.size,
            root=request.checkpoint.root.hex(),
            from_size=request.from_size,
            proof=tuple(item.hex() for item in request.proof),
        )
        return await self._noted(order)

    async def rotate(self) -> str:
        """Hand over to a new key; the note of the handover. Raises as :meth:`sign`."""
        return await self._noted(RotateOrder())

    async def prune(self, cut: int, root: bytes, ids: bytes, proof: Sequence[bytes]) -> str:
        """The signed record that entries below ``cut`` may go. Raises as :meth:`sign`.

        Args:
            cut: how many entries.
            root: of the tree of so many.
            ids: the digest of their ids.
            proof: consistency from ``cut`` to the size signed last.
        """
        hashes = tuple(item.hex() for item in proof)
        return await self._noted(PruneOrder(cut=cut, root=root.hex(), ids=ids.hex(), proof=hashes))

    async def close(self) -> None:
        """End the child process, or the connection."""
        async with self._lock:
            await self._disconnect()

    async def _noted(self, order: WireModel) -> str:
        async with self._lock:
            if self._writer is None:
                await self._connect()
            answer = await self._exchange(order)
        assert answer.note is not None
        return answer.note

    async def _connect(self) -> None:
        if self._socket is not None:
            try:
                self._reader, self._writer = await asyncio.open_unix_connection(self._socket, limit=LINE_BYTES_MAX)
            except OSError as error:
                raise SignerAwayError(f"the signer's socket: {error.strerror}") from error
        else:
            await self._start()
        await self._exchange(OpenOrder(origin=self._origin))

    async def _start(self) -> None:
        arguments = [str(self._key_file), *(["--create"] if self._create else [])]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "hookbus.audit.signing",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ},
            limit=LINE_BYTES_MAX,
        )
        self._reader, self._writer = self._process.stdout, self._process.stdin
        self.restarts += 1
        log.info("signer started", pid=self._process.pid)

    async def _exchange(self, order: WireModel) -> Answer:
        assert self._reader is not None
        assert self._writer is not None
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                self._writer.write(order.model_dump_json().encode() + b"\n")
                await self._writer.drain()
                answer = Answer.model_validate_json(await self._reader.readline())
        except (OSError, TimeoutError, ValueError, ValidationError) as error:
            await self._disconnect()
            raise SignerAwayError("the signer did not answer") from error
        except BaseException:
            # An order without its answer leaves the line out of step: begin anew.
            await self._disconnect()
            raise
        if answer.refused is not None:
            if isinstance(order, OpenOrder):
                await self._disconnect()
            raise SigningRefusedError(answer.refused)
        self._state = answer
        return answer

    async def _disconnect(self) -> None:
        writer, process = self._writer, self._process
        self._reader = self._writer = self._process = None
        if writer is not None:
            writer.close()
        if process is not None:
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await process.wait()
            except TimeoutError:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
