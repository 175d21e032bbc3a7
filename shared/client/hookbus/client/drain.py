"""The replay of the spool: in order, in batches, under the same ids, by one process at a time."""

from __future__ import annotations

import os
import time

from hookbus.client import identity, spool
from hookbus.client.compactjson import NotJsonError, as_object, dumps, loads
from hookbus.client.gateway import EventRefusedError, GatewayAwayError, GatewayError, Receipt
from hookbus.client.spool_files import SEALED, FileLock, OtherKeyError, SpoolError, decode_line, sync_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from hookbus.client.spool import Spool

    Send = Callable[[list[dict[str, Any]]], Receipt]

BATCH_EVENTS_MAX = 100
BATCH_BYTES_MAX = 1024 * 1024


class DrainReport:
    """What one replay did. ``error`` is what ended it early, ``busy`` that another process was replaying."""

    def __init__(self) -> None:
        self.sent: dict[str, int] = {}
        self.refused: dict[str, tuple[str, str]] = {}
        self.quarantined = 0
        self.sealed_otherwise: dict[str, int] = {}
        """Events set aside because they are sealed with another key than the configured one, by that key's id."""
        self.busy = False
        self.error: GatewayError | SpoolError | None = None

    @property
    def handled(self) -> int:
        """How many events have left the spool."""
        return len(self.sent) + len(self.refused)


def drain(
    store: Spool,
    send: Send,
    *,
    events_max: int | None = None,
    deadline: float | None = None,
    wait_s: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
) -> DrainReport:
    """Send what waits until nothing does, ``events_max`` are handled, or ``deadline`` (of ``clock``) has come.

    ``wait_s`` is how long to wait for another process's replay; one that writes is waited for until the deadline.
    Never raises for what the gateway or the disk does: the report says it. What was not accepted stays where it is.
    """
    report = DrainReport()
    if deadline is not None:
        store = store.within(deadline)

    def spent() -> bool:
        over = deadline is not None and clock() >= deadline
        return over or (events_max is not None and report.handled >= events_max)

    try:
        # Whoever appended while the lock was held here found it taken and left: so look again after each release.
        while store.segments() and not spent() and report.error is None:
            with FileLock(store.path(spool.DRAIN_LOCK), wait_s) as locked:
                if not locked:
                    report.busy = True
                    return report
                _drain_locked(store, send, report, events_max, spent)
    except SpoolError as error:
        report.error = error
    except OSError as error:
        report.error = SpoolError(f"the spool {store.folder} cannot be read: {error.strerror}")
    except GatewayError as error:
        report.error = error
    return report


def _drain_locked(
    store: Spool, send: Send, report: DrainReport, events_max: int | None, spent: Callable[[], bool]
) -> None:
    for name in store.segments():
        segment, offset = store.read_cursor()
        if segment != name or offset > os.stat(store.path(name)).st_size:  # noqa: PTH116  # pathlib doubles the start time
            offset = 0
        while True:
            if spent():
                return
            lines = _whole_lines(_read(store, name, offset))
            if not lines:
                if _remove_if_done(store, name, offset, report):
                    break
                continue
            room = BATCH_EVENTS_MAX if events_max is None else min(BATCH_EVENTS_MAX, events_max - report.handled)
            taken = _send_lines(store, send, report, lines, room)
            offset += taken
            store.write_cursor(name, offset)


def _read(store: Spool, name: str, offset: int) -> bytes:
    with store.append_lock():
        return store.read_from(name, offset)


def _whole_lines(content: bytes) -> list[bytes]:
    return content.split(b"\n")[:-1]


def _send_lines(store: Spool, send: Send, report: DrainReport, lines: list[bytes], room: int) -> int:
    """Send as many lines as fit one batch; return how many bytes of the segment are done with."""
    batch: list[dict[str, Any]] = []
    batch_bytes = 0
    taken = 0
    for line in lines:
        if len(batch) >= room or (batch and batch_bytes + len(line) > BATCH_BYTES_MAX):
            break
        try:
            event = _event_of(store, line, report)
        except SpoolError:
            if batch:
                break  # first those before it
            raise
        if event is not None:
            batch.append(event)
            batch_bytes += len(line)
        taken += len(line) + 1
    if batch:
        _send_batch(store, send, report, batch)
    return taken


def _event_of(store: Spool, line: bytes, report: DrainReport) -> dict[str, Any] | None:
    """The event of a line; None where the line was set aside. Raises SpoolError where that cannot be done either."""
    try:
        content = store.event_of(line)
        event = None if content is None else as_object(loads(content.decode("ascii")))
    except (NotJsonError, UnicodeDecodeError):
        event = None
    except OtherKeyError as error:
        store.set_aside(f"{error.key_id}{spool.ASIDE_SUFFIX}", line + b"\n")
        report.sealed_otherwise[error.key_id] = report.sealed_otherwise.get(error.key_id, 0) + 1
        return None
    if event is not None and isinstance(event.get("id"), str):
        return event
    _quarantine(store, line, report)
    return None


def _send_batch(store: Spool, send: Send, report: DrainReport, batch: list[dict[str, Any]]) -> None:
    try:
        receipt = send(batch)
    except EventRefusedError as error:
        if len(batch) > 1:
            # One event may spoil the request: each gets an answer of its own.
            for event in batch:
                _send_batch(store, send, report, [event])
            return
        receipt = Receipt()
        receipt.refused[batch[0]["id"]] = (error.code, error.detail)
    unanswered = False
    for event in batch:
        name = event["id"]
        if name in receipt.refused:
            reject(store, event, *receipt.refused[name])
            report.refused[name] = receipt.refused[name]
        elif name in receipt.accepted:
            report.sent[name] = receipt.accepted[name]
        else:
            unanswered = True
    if unanswered:
        raise GatewayAwayError("the gateway left events of a batch unanswered")


def reject(store: Spool, event: dict[str, Any], code: str, detail: str) -> None:
    """Keep a refused event, with the reason, where it no longer holds up the others."""
    entry = {"at": identity.time_text(), "code": code, "detail": detail, "event": event}
    content = dumps(entry)
    store.set_aside(spool.REJECTED_FILE, content + b"\n" if store.key_file is None else store.line_of(content))


def _quarantine(store: Spool, content: bytes, report: DrainReport) -> None:
    if content:
        store.set_aside(spool.QUARANTINE_FILE, content + b"\n")
        report.quarantined += 1


def _remove_if_done(store: Spool, name: str, offset: int, report: DrainReport) -> bool:
    """Remove a segment whose whole lines are all done with. False where a line was appended meanwhile."""
    with store.append_lock():
        tail = store.read_from(name, offset)
        if b"\n" in tail:
            return False
        # No writer is at work under this lock, so a line without its end is one that a dead process left.
        if tail:
            store.set_aside_locked(spool.QUARANTINE_FILE, tail + b"\n")
            report.quarantined += 1
        os.unlink(store.path(name))  # noqa: PTH108  # as above
        sync_folder(store.folder)
        return True


def status(store: Spool) -> dict[str, Any]:
    """What waits: events, bytes, since when; what was rejected and quarantined."""
    segment, offset = store.read_cursor()
    waiting = waiting_bytes = 0
    names = store.segments()
    for name in names:
        content = store.read_from(name, offset if name == segment else 0)
        waiting_bytes += len(content)
        waiting += sum(
            decode_line(line) is not None or decode_line(line, SEALED) is not None for line in _whole_lines(content)
        )
    oldest = spool.segment_number(names[0]) / 1e9 if waiting and names else None
    return {
        "folder": store.folder,
        "waiting_events": waiting,
        "waiting_bytes": waiting_bytes,
        "bytes_max": store.bytes_max,
        "oldest_at": None if oldest is None else identity.time_text(oldest),
        "rejected_events": _content(store, spool.REJECTED_FILE).count(b"\n"),
        "quarantined_bytes": len(_content(store, spool.QUARANTINE_FILE)),
        "sealed_otherwise": _set_aside_by_key(store),
    }


def rejected(store: Spool) -> list[bytes]:
    """What the gateway refused, each as its JSON. Raises SpoolError where one is sealed and cannot be opened."""
    found: list[bytes] = []
    for line in _whole_lines(_content(store, spool.REJECTED_FILE)):
        sealed = decode_line(line, SEALED)
        content = line if sealed is None else store.sealer().open(sealed)
        if content is not None:
            found.append(content)
    return found


def _set_aside_by_key(store: Spool) -> dict[str, int]:
    try:
        names = os.listdir(store.folder)  # noqa: PTH208  # as above
    except OSError:
        return {}
    return {
        name.removesuffix(spool.ASIDE_SUFFIX): _content(store, name).count(b"\n")
        for name in sorted(names)
        if name.endswith(spool.ASIDE_SUFFIX)
    }


def _content(store: Spool, name: str) -> bytes:
    try:
        return store.read_from(name, 0)
    except FileNotFoundError:
        return b""
