"""Usage from Claude Code's transcripts: the fallback for an agent that exports no telemetry.

A transcript is read on from where the last hook stopped. One response is many lines: it is counted once for its message
and request id, by its largest figures, and only when another response follows or the agent has stopped, because the
first lines of a response may hold placeholders. What is counted here and by telemetry as well is charged once: both
name the request.
"""

from __future__ import annotations

import os
import stat
import time

from hookbus.client import identity
from hookbus.client.compactjson import NotJsonError, as_list, as_object, as_text, dumps, loads
from hookbus.client.spool_files import FILE_MODE, FOLDER_MODE, FileLock, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Deliver = Callable[[list[dict[str, Any]]], None]

STATE_FOLDER = "transcripts"
READ_BYTES = 4 * 1024 * 1024
RUN_MAX_S = 5.0
SUBAGENT_FILES_MAX = 64
SEEN_MAX = 512
"""Responses remembered as counted; a line that repeats an older one is recognised by its event id alone."""

TOKENS_MAX = 10_000_000
SOURCE = "hookbus/transcript"
PROVENANCE = "transcript"


class State:
    """How far one transcript was read, which response is not whole yet, and which were counted."""

    def __init__(self, known: dict[str, Any] | None = None) -> None:
        known = known or {}
        offset, inode = known.get("offset"), known.get("inode")
        self.offset = offset if isinstance(offset, int) and offset >= 0 else 0
        self.inode = inode if isinstance(inode, int) else 0
        self.open: dict[str, dict[str, Any]] = {
            key: usage for key, value in (as_object(known.get("open")) or {}).items() if (usage := as_object(value))
        }
        self.seen = [key for key in as_list(known.get("seen")) or [] if isinstance(key, str)]

    def content(self) -> bytes:
        """The state as it is kept."""
        return dumps({"offset": self.offset, "inode": self.inode, "open": self.open, "seen": self.seen[-SEEN_MAX:]})


def take(state: State, content: bytes) -> None:
    """Add the whole lines of a piece of a transcript; a last line without its end is left for the next time."""
    whole = content.rfind(b"\n") + 1
    if whole == 0 and len(content) >= READ_BYTES:
        whole = len(content)  # no usage line is that long: what is left of it is no JSON and is passed over
    for line in content[:whole].split(b"\n"):
        if b'"usage"' in line:
            _take_line(state, line)
    state.offset += whole


def _take_line(state: State, line: bytes) -> None:
    try:
        entry = as_object(loads(line.decode("utf-8", "replace"))) or {}
    except NotJsonError:
        return
    message = as_object(entry.get("message")) or {}
    usage = as_object(message.get("usage"))
    message_id, request_id = as_text(message.get("id")), as_text(entry.get("requestId"))
    if usage is None or (message_id is None and request_id is None):
        return
    key = f"{message_id}|{request_id}"
    if key in state.seen:
        return
    counts = _counts(usage)
    known = state.open.get(key)
    if known is not None and sum(counts.values()) <= sum(_counts_of(known).values()):
        return
    # Put at the end: the last one is the response that may still grow.
    state.open.pop(key, None)
    state.open[key] = {
        **counts,
        "request_id": identity.identifier(request_id or message_id or ""),
        "message_id": message_id,
        "model": (as_text(message.get("model")) or "")[:128],
        "session": as_text(entry.get("sessionId")),
        "time": as_text(entry.get("timestamp")),
        "sidechain": entry.get("isSidechain") is True,
    }


_COUNTED = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")


def _counts_of(usage: dict[str, Any]) -> dict[str, int]:
    return {name: _tokens(usage.get(name)) for name in _COUNTED}


def _counts(usage: dict[str, Any]) -> dict[str, int]:
    by_age = as_object(usage.get("cache_creation")) or {}
    written = _tokens(usage.get("cache_creation_input_tokens"))
    one_hour = min(_tokens(by_age.get("ephemeral_1h_input_tokens")), written)
    return {
        "input_tokens": _tokens(usage.get("input_tokens")),
        "output_tokens": _tokens(usage.get("output_tokens")),
        "cache_read_tokens": _tokens(usage.get("cache_read_input_tokens")),
        "cache_write_5m_tokens": written - one_hour,
        "cache_write_1h_tokens": one_hour,
    }


def _tokens(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= TOKENS_MAX else 0


def finished(state: State, *, final: bool) -> list[str]:
    """The keys of responses that are whole: all but the last one, and that too where the agent has stopped."""
    keys = list(state.open)
    return keys if final else keys[:-1]


def events(state: State, keys: list[str], *, agent_id: str, project: str | None) -> list[dict[str, Any]]:
    """A ``usage`` event in short form for each of the responses that used any tokens."""
    made: list[dict[str, Any]] = []
    for key in keys:
        usage = dict(state.open[key])
        session, moment = usage.pop("session", None), usage.pop("time", None)
        if sum(_counts_of(usage).values()) == 0:
            continue
        event: dict[str, Any] = {
            "id": "transcript-" + identity.digest(dumps([agent_id, key]))[:40],
            "kind": "usage",
            "agent_id": agent_id,
            "source": SOURCE,
            "data": {
                **{name: value for name, value in usage.items() if value not in (None, "", False)},
                "provider": "anthropic",
                "provenance": PROVENANCE,
            },
        }
        if isinstance(moment, str) and len(moment) <= 40 and moment[:4].isdigit() and moment.endswith("Z"):
            event["time"] = moment
        if isinstance(session, str):
            event["session"] = identity.identifier(session)
        if project is not None:
            event["project"] = project
        made.append(event)
    return made


def forget(state: State, keys: list[str]) -> None:
    """Take responses as counted."""
    for key in keys:
        state.open.pop(key, None)
        state.seen.append(key)


def files_of(transcript: str, subagent: str | None) -> list[str]:
    """A session's transcript and those of its subagents."""
    stem = transcript.removesuffix(".jsonl")
    folder = f"{stem}/subagents"
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".jsonl"))  # noqa: PTH208  # pathlib doubles the start time
    except OSError:
        names = []
    found = [transcript, *(f"{folder}/{name}" for name in names[-SUBAGENT_FILES_MAX:])]
    if subagent is not None and subagent not in found:
        found.append(subagent)
    return found


class Reader:
    """Reads transcripts on and hands over what they say was used."""

    def __init__(self, data_dir: str, deliver: Deliver, *, agent_id: str, project: str | None) -> None:
        self._folder = f"{data_dir}/{STATE_FOLDER}"
        self._deliver = deliver
        self._agent_id = agent_id
        self._project = project

    def read(
        self,
        paths: list[str],
        *,
        final: bool,
        run_max_s: float = RUN_MAX_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> int:
        """Read each file on for at most ``run_max_s`` altogether; returns how many events were handed over.

        ``final`` says that the agent has stopped, so that the last response is whole too. What is left when the time
        is over is read the next time. Raises OSError where the state cannot be kept, and what ``deliver`` raises: the
        events of that step are then handed over again, under the same ids.
        """
        os.makedirs(self._folder, FOLDER_MODE, exist_ok=True)  # noqa: PTH103  # as above
        until = clock() + run_max_s
        count = 0
        for path in paths:
            base = f"{self._folder}/{identity.digest(os.fsencode(path))[:40]}"
            with FileLock(f"{base}.lock", 0.0) as locked:
                while locked and clock() < until:
                    taken, more = self._step(path, f"{base}.json", final=final)
                    count += taken
                    if not more:
                        break
        return count

    def _step(self, path: str, state_path: str, *, final: bool) -> tuple[int, bool]:
        """One piece of a file; how many events were handed over, and whether more of it is there."""
        state = _load(state_path)
        content = _read_on(path, state)
        if content is None:
            return 0, False
        before = state.offset
        take(state, content)
        more = len(content) >= READ_BYTES and state.offset > before
        keys = finished(state, final=final and not more)
        made = events(state, keys, agent_id=self._agent_id, project=self._project)
        if made:
            self._deliver(made)
        forget(state, keys)
        if state.offset != before or keys:
            _save(state_path, state)
        return len(made), more


def _read_on(path: str, state: State) -> bytes | None:
    """What was added to a regular file since; a file that was replaced or cut is read from its beginning."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return None
        if found.st_ino != state.inode or found.st_size < state.offset:
            state.offset, state.inode = 0, found.st_ino
        return os.pread(descriptor, READ_BYTES, state.offset)
    finally:
        os.close(descriptor)


def _load(path: str) -> State:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return State()
    try:
        return State(as_object(loads(os.read(descriptor, READ_BYTES).decode("utf-8", "replace"))))
    except NotJsonError:
        return State()
    finally:
        os.close(descriptor)


def _save(path: str, state: State) -> None:
    temporary = f"{path}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
    try:
        write_all(descriptor, state.content())
    finally:
        os.close(descriptor)
    os.rename(temporary, path)  # noqa: PTH104  # as above
