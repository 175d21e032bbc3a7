"""What a command prints, cut into events and sent by a thread of its own: the command never waits for the gateway."""

import codecs
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from hookbus.client import delivery
from hookbus.client.adapters.shaping import PATH_CHARS_MAX
from hookbus.client.gateway import Gateway, deadline_in
from hookbus.client.settings import Settings
from hookbus.client.spool import SpoolError

OUTPUT_BYTES_MAX: Final = 1024 * 1024
"""Recorded of one command, both streams together; what the service keeps of a terminal."""
CHUNK_CHARS_MAX: Final = 18 * 1024
"""One event's text. The longest character as it is sent, one outside the basic plane, is two escapes of six bytes: such
a text has 216 KiB, which leaves 40 KiB of an event's 256 KiB to what else it says."""
FLUSH_INTERVAL_S: Final = 0.25
"""A part is sent when it is full or this old, so that events come at most four a second from each stream."""
SEND_EVENTS_MAX: Final = 16
SEND_DEADLINE_S: Final = 2.0
END_DEADLINE_S: Final = 10.0
"""To send what is left when the command has ended; then it goes on in the spool."""


class Recorder:
    """Events of one terminal. ``new_event`` completes kind and data into an event in short form."""

    def __init__(
        self, settings: Settings, gateway: Gateway, terminal_id: str, new_event: Callable[[str, dict[str, Any]], Any]
    ) -> None:
        self._settings = settings
        self._gateway = gateway
        self._terminal_id = terminal_id
        self._new_event = new_event
        self._parts = {name: _Part() for name in ("stdout", "stderr")}
        self._sequence = 0
        self._waiting: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._send_all, name="hookbus-run-recorder", daemon=True)
        self.recorded_bytes = 0
        self.truncated = False
        self._end_by_s = float("inf")
        self.problem: str | None = None
        """Why something was spooled, refused or lost, for a person."""

    def open(self, shell: str, cwd: str) -> None:
        """Say that the terminal is open, and start to send."""
        self._put("terminal-opened", {"shell": shell, "cwd": cwd[:PATH_CHARS_MAX]})
        self._thread.start()

    def add(self, stream: str, content: bytes) -> None:
        """What came out on ``stdout`` or ``stderr``."""
        left = OUTPUT_BYTES_MAX - self.recorded_bytes
        if left < len(content):
            self.truncated = True
            content = content[: max(left, 0)]
        self.recorded_bytes += len(content)
        part = self._parts[stream]
        part.take(content)
        while len(part.text) >= CHUNK_CHARS_MAX:
            self._put_output(stream, part.cut(CHUNK_CHARS_MAX))

    def tick(self, now_s: float) -> None:
        """Send parts that have waited long enough; ``now_s`` is of ``time.monotonic``."""
        for stream, part in self._parts.items():
            if part.text and now_s - part.since_s >= FLUSH_INTERVAL_S:
                self._put_output(stream, part.cut(CHUNK_CHARS_MAX))

    def close(self, exit_code: int) -> None:
        """Send the rest and the end; what is not sent in time stays in the spool."""
        for stream, part in self._parts.items():
            part.finish()
            while part.text:
                self._put_output(stream, part.cut(CHUNK_CHARS_MAX))
        self._put("terminal-closed", {"exit_code": exit_code, "truncated": self.truncated})
        self._end_by_s = time.monotonic() + END_DEADLINE_S
        self._waiting.put(None)
        self._thread.join()

    def _put_output(self, stream: str, text: str) -> None:
        self._put("terminal-output", {"sequence": self._sequence, "stream": stream, "text": text})
        self._sequence += 1

    def _put(self, kind: str, data: dict[str, Any]) -> None:
        self._waiting.put(self._new_event(kind, {"terminal_id": self._terminal_id, **data}))

    def _send_all(self) -> None:
        ended = False
        while not ended:
            batch = [self._waiting.get()]
            while len(batch) < SEND_EVENTS_MAX and batch[-1] is not None and not self._waiting.empty():
                batch.append(self._waiting.get())
            ended = batch[-1] is None
            events = [event for event in batch if event is not None]
            if events:
                self._send(events)

    def _send(self, batch: list[dict[str, Any]]) -> None:
        try:
            done = delivery.deliver(
                self._settings, self._gateway, batch, deadline=min(deadline_in(SEND_DEADLINE_S), self._end_by_s)
            )
        except SpoolError as error:
            self.problem = f"NOT RECORDED: {error}"
        else:
            self.problem = done.problem or self.problem


class _Part:
    """Text of one stream that waits to be sent."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.text = ""
        self.since_s = 0.0

    def take(self, content: bytes) -> None:
        if not self.text:
            self.since_s = time.monotonic()
        self.text += self._decoder.decode(content)

    def cut(self, chars: int) -> str:
        piece, self.text = self.text[:chars], self.text[chars:]
        self.since_s = time.monotonic()
        return piece

    def finish(self) -> None:
        self.text += self._decoder.decode(b"", final=True)
