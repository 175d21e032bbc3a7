"""``up``, ``down``, ``status``: the embedded stack."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from hookbus.cli.commands.options import AsJson
from hookbus.cli.errors import EXIT_USAGE, CliError

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Data folder (HOOKBUS_DATA_DIR, else ~/.hookbus).", file_okay=False)
]


def embedded(module: str = "hookbus.embedded.commands") -> ModuleType:
    """A module of the embedded stack, which brings the servers: only these commands need it.

    Raises:
        CliError: hookbus-embedded is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in {"hookbus.embedded", module}:
            raise
        raise CliError("the embedded stack is not installed: it comes with hookbus-embedded", EXIT_USAGE) from error


def up(
    data_dir: DataDir = None,
    host: Annotated[str, typer.Option(help="Where the gateway listens.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Its port; 0 for any free one. [default: 8787]")
    ] = None,
    *,
    detach: Annotated[bool, typer.Option("--detach", help="Return once it is ready and leave it running.")] = False,
) -> None:
    """Start the embedded stack: nats-server, PostgreSQL and every service."""
    raise typer.Exit(embedded().up(data_dir, host=host, port=port, detach=detach))


def down(data_dir: DataDir = None) -> None:
    """Stop the embedded stack; its data stays."""
    raise typer.Exit(embedded().down(data_dir))


def status(data_dir: DataDir = None, *, as_json: AsJson = False) -> None:
    """Show each process of the embedded stack; exit code 0 when all are ready."""
    raise typer.Exit(embedded().status(data_dir, as_json=as_json))


def backup(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist.", show_default=False)],
    data_dir: DataDir = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Write the whole running embedded stack into one file, secrets included (mode 0600, not encrypted)."""
    raise typer.Exit(embedded("hookbus.embedded.backup.commands").backup(file, data_dir, as_json=as_json))


def restore(
    file: Annotated[Path, typer.Argument(help="What `hookbus backup` wrote.", show_default=False)],
    data_dir: DataDir = None,
    anchor: Annotated[
        Path | None, typer.Option(help="An anchor file of the audit log (HOOKBUS_AUDIT_ANCHOR_FILE).", dir_okay=False)
    ] = None,
) -> None:
    """Bring a backup into an empty data folder, start it once, verify the audit log, stop it."""
    raise typer.Exit(embedded("hookbus.embedded.backup.commands").restore(file, data_dir, anchor=anchor))
