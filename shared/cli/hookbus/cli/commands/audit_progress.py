"""How far a check is: a bar with a rate on a terminal, a plain line now and then elsewhere, nothing under --json."""

import secrets
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from hookbus.cli import output
from hookbus.cli.api import Api
from hookbus.cli.errors import CliError

LINE_INTERVAL_S: Final = 5.0
"""Between two lines where there is no terminal."""
POLL_INTERVAL_S: Final = 0.5
"""Between two questions to the service that checks."""
WATCH_BYTES: Final = 8

Advance = Callable[[int, int], None]
"""Called with entries checked and entries in all."""


class _Rate(ProgressColumn):
    """Entries a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


@contextmanager
def shown(words: str, *, silent: bool) -> Generator[Advance]:
    """What to call as a check advances."""
    console = output.errors()
    if silent:
        yield _nothing
    elif not console.is_terminal:
        yield _Lines(words)
    else:
        columns = (
            TextColumn(words),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("entries"),
            _Rate(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(words, total=None)

            def advance(checked: int, size: int) -> None:
                bar.update(task, completed=checked, total=size)

            yield advance


@contextmanager
def polled(api: Api, advance: Advance) -> Generator[str]:
    """Ask the service how far its check is, beside the request that waits for it; the word to begin the check under."""
    watch = secrets.token_hex(WATCH_BYTES)
    done = threading.Event()

    def poll() -> None:
        while not done.wait(POLL_INTERVAL_S):
            try:
                reply = api.get("/api/v1/audit/verify/progress", watch=watch)
                checked, size = int(reply.get("checked") or 0), int(reply.get("size") or 0)
            except (CliError, ValueError, TypeError):
                # Not worth a word: the check itself says what there is to say.
                continue
            if size:
                advance(checked, size)

    thread = threading.Thread(target=poll, name="audit-progress", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        done.set()
        thread.join()


def _nothing(_checked: int, _size: int) -> None:
    """For whoever reads JSON."""


class _Lines:
    """A line on stderr every few seconds."""

    def __init__(self, words: str) -> None:
        self._words = words
        self._begun_s = self._last_s = time.monotonic()

    def __call__(self, checked: int, size: int) -> None:
        now_s = time.monotonic()
        if now_s - self._last_s < LINE_INTERVAL_S:
            return
        self._last_s = now_s
        rate = checked / (now_s - self._begun_s)
        output.errors().out(f"{self._words}: {checked:,} of {size:,} entries, {rate:,.0f}/s", highlight=False)
