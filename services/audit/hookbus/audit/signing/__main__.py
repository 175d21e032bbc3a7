"""``python -m hookbus.audit.signing KEY_FILE [--create] [--listen SOCKET]``.

Takes orders on stdin and answers on stdout, as the audit service starts it, and ends with its stdin; or listens on a
Unix socket (mode 0600), where it runs as another user or in another container than the service.
"""

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from hookbus.audit.note import Checkpoint, NoteInvalidError
from hookbus.audit.signing.files import SECRET_MODE, KeyFileError, create_key_file
from hookbus.audit.signing.protocol import (
    LINE_BYTES_MAX,
    ORDERS,
    Answer,
    AnyOrder,
    OpenOrder,
    PruneOrder,
    RotateOrder,
)
from hookbus.audit.signing.signer import Signer, SigningRefusedError, SignRequest

EXIT_CODE_USAGE: Final = 2


class Desk:
    """Answers orders; one signer for the life of the process, whatever connects."""

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file
        self._signer: Signer | None = None

    def answer(self, line: bytes) -> Answer:
        """The answer to one order. Never raises: a signer that dies of an order could be silenced by one."""
        try:
            return self._answer(ORDERS.validate_json(line))
        except ValidationError:
            return Answer(refused="the order is malformed")
        except (SigningRefusedError, KeyFileError, NoteInvalidError, ValueError, OSError) as error:
            return Answer(refused=str(error))

    def _answer(self, order: AnyOrder) -> Answer:
        if isinstance(order, OpenOrder):
            if self._signer is None:
                self._signer = Signer(order.origin, self._key_file)
            if self._signer.origin != order.origin:
                return Answer(refused=f"this key signs for {self._signer.origin}")
            self._signer.refresh()
            return _state(self._signer, None)
        if self._signer is None:
            return Answer(refused="say first which log this is")
        if isinstance(order, RotateOrder):
            return _state(self._signer, self._signer.rotate())
        if isinstance(order, PruneOrder):
            root, ids = bytes.fromhex(order.root), bytes.fromhex(order.ids)
            proof = tuple(bytes.fromhex(item) for item in order.proof)
            return _state(self._signer, self._signer.prune(order.cut, root, ids, proof))
        checkpoint = Checkpoint(self._signer.origin, order.size, bytes.fromhex(order.root))
        proof = tuple(bytes.fromhex(item) for item in order.proof)
        return _state(
            self._signer, self._signer.sign(SignRequest(checkpoint, order.from_size, proof), int(time.time()))
        )


def _state(signer: Signer, note: str | None) -> Answer:
    last = signer.last
    return Answer(
        note=note,
        verifier_key=signer.verifier_key.text,
        last_size=None if last is None else last.size,
        last_root=None if last is None else last.root.hex(),
        handovers=signer.handovers,
    )


def serve_pipe(desk: Desk) -> None:
    """Orders from stdin until it ends."""
    while line := sys.stdin.buffer.readline(LINE_BYTES_MAX):
        sys.stdout.buffer.write(desk.answer(line).model_dump_json().encode() + b"\n")
        sys.stdout.buffer.flush()


async def serve_socket(desk: Desk, path: Path) -> None:
    """Orders from a Unix socket that only its owner may open."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(desk.answer(line).model_dump_json().encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass
        finally:
            writer.close()

    previous = os.umask(0o777 & ~SECRET_MODE)
    try:
        server = await asyncio.start_unix_server(connected, path, limit=LINE_BYTES_MAX)
    finally:
        os.umask(previous)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Run the signer."""
    parser = argparse.ArgumentParser(prog="python -m hookbus.audit.signing")
    parser.add_argument("key_file", type=Path)
    parser.add_argument("--create", action="store_true", help="make the key file where it is absent")
    parser.add_argument("--listen", type=Path, help="Unix socket to listen on, in place of stdin")
    arguments = parser.parse_args()
    key_file: Path = arguments.key_file
    listen: Path | None = arguments.listen
    if arguments.create and not key_file.exists() and not key_file.with_name(key_file.name + ".next").exists():
        key_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        create_key_file(key_file)
    desk = Desk(key_file)
    if listen is None:
        serve_pipe(desk)
    else:
        listen.unlink(missing_ok=True)
        asyncio.run(serve_socket(desk, listen))


main()
