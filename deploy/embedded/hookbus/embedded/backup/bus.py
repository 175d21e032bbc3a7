"""Streams of the bus, consumers included, as nats-server's own snapshots: out while it runs, and back in.

Source: the JetStream API (``$JS.API.STREAM.SNAPSHOT``, ``$JS.API.STREAM.RESTORE``).
"""

import asyncio
import json
from pathlib import Path
from typing import Any, Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

API_TIMEOUT_S: Final = 30.0
CHUNK_TIMEOUT_S: Final = 60.0
"""Without a chunk for so long the server has given up."""
CHUNK_BYTES: Final = 128 * 1024
CHUNKS_WAITING_MAX: Final = 64
"""The server waits for answers to the chunks it sent; what arrives meanwhile is far below this."""
CONFIG_SUFFIX: Final = ".json"
DATA_SUFFIX: Final = ".snapshot"


class BusError(Exception):
    """The server refused, or did not answer."""


async def stream_names(client: Client) -> list[str]:
    """Every stream, buckets included."""
    names: list[str] = []
    while True:
        answer = await _ask(client, "$JS.API.STREAM.NAMES", {"offset": len(names)})
        names += answer.get("streams") or []
        if len(names) >= int(answer.get("total", 0)):
            return sorted(names)


async def save_stream(client: Client, name: str, folder: Path) -> int:
    """Write ``<name>.json`` (configuration, state) and ``<name>.snapshot``; the sequence number of its last message.

    Not how many it holds: while the stream is copied, messages leave it that every service has acknowledged.
    """
    inbox = client.new_inbox()
    chunks: asyncio.Queue[Msg] = asyncio.Queue(CHUNKS_WAITING_MAX)
    subscription = await client.subscribe(inbox, cb=chunks.put)  # pyright: ignore[reportUnknownMemberType]  # nats-py leaves the type of its future open
    try:
        order = {"deliver_subject": inbox, "chunk_size": CHUNK_BYTES, "jsck": True}
        about = await _ask(client, f"$JS.API.STREAM.SNAPSHOT.{name}", order)
        (folder / f"{name}{CONFIG_SUFFIX}").write_text(
            json.dumps({"config": about["config"], "state": about["state"]}), encoding="utf-8"
        )
        with (folder / f"{name}{DATA_SUFFIX}").open("wb") as target:
            while True:
                async with asyncio.timeout(CHUNK_TIMEOUT_S):
                    chunk = await chunks.get()
                if not chunk.data:
                    _require_whole(name, chunk)
                    break
                target.write(chunk.data)
                if chunk.reply:  # the server asks for an answer where it wants to be slowed down
                    await client.publish(chunk.reply, b"")
    except TimeoutError as error:
        raise BusError(f"the snapshot of the stream {name} stopped half way") from error
    finally:
        await subscription.unsubscribe()
    return int(about["state"]["last_seq"])


def _require_whole(name: str, last: Msg) -> None:
    headers = last.headers or {}
    status = headers.get("Status", "")
    if status and not status.startswith("2"):
        raise BusError(f"the snapshot of the stream {name} failed: {status} {headers.get('Description', '')}")


async def load_stream(client: Client, name: str, folder: Path) -> int:
    """Make the stream from what :func:`save_stream` wrote; its last message's sequence number. It must not exist."""
    about: dict[str, Any] = json.loads((folder / f"{name}{CONFIG_SUFFIX}").read_text(encoding="utf-8"))
    answer = await _ask(client, f"$JS.API.STREAM.RESTORE.{name}", about)
    target = str(answer["deliver_subject"])
    with (folder / f"{name}{DATA_SUFFIX}").open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            await _request(client, target, chunk)
    done = _read(name, await _request(client, target, b""))
    return int(done["state"]["last_seq"])


async def _ask(client: Client, subject: str, order: dict[str, Any]) -> dict[str, Any]:
    return _read(subject, await _request(client, subject, json.dumps(order).encode()))


async def _request(client: Client, subject: str, body: bytes) -> bytes:
    try:
        return (await client.request(subject, body, timeout=API_TIMEOUT_S)).data
    except (NatsError, TimeoutError) as error:
        raise BusError(f"the bus did not answer to {subject}: {type(error).__name__}") from error


def _read(what: str, body: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(body)
    if "error" in answer:
        raise BusError(f"{what}: {answer['error'].get('description', 'refused')}")
    return answer
