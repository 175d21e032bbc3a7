"""``hookbus demo``: starts a stack of its own, plays the recording, shows what came of it, stops everything."""

import io
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Annotated, Final, NoReturn

import typer

from hookbus.cli import output
from hookbus.cli.api import Api
from hookbus.cli.commands.stack import embedded
from hookbus.cli.demo import recording, report
from hookbus.cli.demo.player import AGENT_ID, PROJECT, Player
from hookbus.cli.errors import EXIT_DONE, EXIT_NO, CliError
from hookbus.client.settings import Settings

TOKENS_PER_HOUR: Final = 40_000
TOKENS_PER_DAY: Final = 500_000
MAX_COST_PER_OPERATION_USD: Final = "0.50"
COST_PER_DAY_USD: Final = "5.00"
EXIT_SIGNAL_BASE: Final = 128
"""A shell's way to say that a signal ended a command."""


def demo(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the data folder and say where it is.")] = False,
) -> None:
    """Play a recorded coding-agent session through a stack of its own, and show what hookbus made of it."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="hookbus-demo-"))
    workspace = Path(tempfile.mkdtemp(prefix="hookbus-demo-shop-"))
    signals = _Signals()
    try:
        with _stack(folder, signals) as url:
            good = play(url, folder, workspace, started_s=time.monotonic() - began)
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_SIGNAL_BASE + (signals.seen or signal.SIGINT)) from None
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
        if keep:
            output.show(output.cell(f"data: {folder}"))
        else:
            shutil.rmtree(folder, ignore_errors=True)
        signals.restore()
    output.show(output.cell(f"{'done' if good else 'NOT as promised'} in {time.monotonic() - began:.1f} s"))
    raise typer.Exit(EXIT_DONE if good else EXIT_NO)


def play(url: str, folder: Path, workspace: Path, *, started_s: float) -> bool:
    """Play the recording through the stack at ``url`` and show what came of it; whether that is what is promised.

    Args:
        url: of a running gateway.
        folder: the client's, its ``client.toml`` with a key of every scope.
        workspace: an empty folder, in which the recorded agent works.
        started_s: how long the stack took to start, to be shown.
    """
    run = secrets.token_hex(4)
    session = f"demo-{run}"
    placeholders = {"session": session, "run": run, "workspace": str(workspace), "home": str(workspace)}
    api_key = Settings({"HOOKBUS_DATA_DIR": str(folder)}).api_key
    with Api(url, api_key) as api:
        output.show(output.cell(f"hookbus runs at {url}: gateway, budget, session, audit ({started_s:.1f} s to start)"))
        api.post(
            f"/api/v1/budget/init/{AGENT_ID}",
            {
                "limits": [
                    {"unit": "tokens", "window": "hour", "amount": TOKENS_PER_HOUR},
                    {"unit": "tokens", "window": "day", "amount": TOKENS_PER_DAY},
                    {"unit": "usd", "window": "operation", "amount": MAX_COST_PER_OPERATION_USD},
                    {"unit": "usd", "window": "day", "amount": COST_PER_DAY_USD},
                ],
                "project": PROJECT,
            },
        )
        player = Player(api, data_dir=folder, workspace=workspace, session=session, say=_say)
        player.play(recording.load(placeholders))
        findings = report.show(
            api,
            url=url,
            session=session,
            played=player.played,
            events=len(player.played) + player.usage_events,
        )
    return report.show_findings(findings)


def _say(line: str) -> None:
    for part in line.split("\n"):
        output.console().print(output.plain(part), soft_wrap=True, markup=False)


@contextmanager
def _stack(folder: Path, signals: "_Signals") -> Generator[str]:
    """A detached stack on free ports; stopped at the end, whatever happened."""
    commands = embedded()
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            code = commands.up(folder, port=0, detach=True)
        if signals.seen is not None:
            # ``up`` itself stopped what it had begun to start, and said no more than that it did not come up.
            raise KeyboardInterrupt
        url = commands.status_report(folder)["url"] if code == EXIT_DONE else None
        if url is None:
            raise CliError(f"the stack did not start: {said.getvalue().strip() or 'see the lines above'}")
        yield url
    finally:
        signals.ignore()
        with redirect_stdout(said):
            stopped = commands.down(folder)
        if stopped != EXIT_DONE:
            output.complain(f"the stack on {folder} did not stop: {said.getvalue().strip()}")


class _Signals:
    """SIGINT and SIGTERM end the demo as an interrupt, so that everything is stopped; from then on they are ignored,
    because an impatient second one would leave the stack running."""

    def __init__(self) -> None:
        self.seen: int | None = None
        self._before = {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}

    def _interrupt(self, number: int, _frame: FrameType | None) -> NoReturn:
        self.seen = number
        raise KeyboardInterrupt

    def ignore(self) -> None:
        """Let the clean-up run to its end."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def restore(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
