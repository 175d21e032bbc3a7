"""``hookbus audit export|erase|rotate-key|witness``: taking the log away, and keeping its keys."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from hookbus.cli import output
from hookbus.cli.api import VERIFY_TIMEOUT_S, Api
from hookbus.cli.commands.audit_check import read_passphrase, require_audit
from hookbus.cli.commands.audit_pages import AgentOption, KindOption, SinceOption, UntilOption, pages
from hookbus.cli.commands.options import AsJson
from hookbus.cli.errors import EXIT_USAGE, CliError

WITNESS_PORT_DEFAULT: Final = 8790


class Wrapping(StrEnum):
    """What the data keys can be wrapped under."""

    PASSPHRASE = "passphrase"  # noqa: S105 - the name of a kind
    KEY_FILE = "key-file"


def export(
    out: Annotated[Path, typer.Option("--output", "-o", help="The file; - for stdout.", dir_okay=False)] = Path("-"),
    *,
    agent: AgentOption = None,
    kind: KindOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    bundle: Annotated[
        bool, typer.Option("--bundle", help="The whole log, encrypted as it is, as one zip for checking offline.")
    ] = False,
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="The data keys too, under a passphrase: who has it reads everything.")
    ] = False,
    passphrase_file: Annotated[
        Path | None, typer.Option("--passphrase-file", help="The passphrase for --with-keys; asked for without.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the count as JSON (with --output).")] = False,
) -> None:
    """Write entries as JSON lines, or the whole log for an offline check (--bundle).

    Data keys need the admin scope, and each time they are let out is an entry of the log.
    """
    if (with_keys and not bundle) or (passphrase_file is not None and not with_keys):
        raise CliError("keys go with a bundle: --bundle --with-keys [--passphrase-file FILE]", EXIT_USAGE)
    wanted = {"agent": agent, "kind": kind, "since": since, "until": until}
    with Api.from_settings() as api:
        if bundle:
            if str(out) == "-" or any(value is not None for value in wanted.values()):
                raise CliError("--bundle takes the whole log into a file: give --output and no filter", EXIT_USAGE)
            require_audit()
            from hookbus.cli.commands.audit_bundle import export_bundle  # noqa: PLC0415 - needs the log's package

            passphrase = _passphrase(passphrase_file) if with_keys else None
            count = export_bundle(api, out, passphrase, silent=as_json)
        elif str(out) == "-":
            for entry in pages(api, None, wanted):
                output.show_line(entry)
            return
        else:
            count = 0
            with out.open("w", encoding="utf-8") as file:
                for entry in pages(api, None, wanted):
                    file.write(json.dumps(entry, separators=(",", ":"), ensure_ascii=False) + "\n")
                    count += 1
    if as_json:
        output.show_json({"entries": count, "file": str(out)})
    else:
        output.show(output.cell(f"{count} entries in {out}"))


def _passphrase(file: Path | None) -> bytes:
    if file is not None:
        return read_passphrase(file)
    typed: str = typer.prompt("Passphrase for the keys", hide_input=True, confirmation_prompt=True)
    return typed.encode()


def erase(
    agent: Annotated[str, typer.Argument(help="Agent id.", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", help="Why, for the tombstone. Name no person in it.")] = "",
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make everything the log holds about an agent unreadable, for good. Proofs still hold."""
    if not yes and not typer.confirm(f"Destroy the keys of everything the log holds about {agent}?"):
        raise typer.Abort
    with Api.from_settings() as api:
        reply = api.delete(f"/api/v1/audit/subjects/{agent}", reason=reason)
    if as_json:
        output.show_json(reply)
    else:
        output.show(output.cell(f"{reply.get('entries')} entries are unreadable, {reply.get('keys')} keys destroyed"))


def rotate_key(
    *,
    signing: Annotated[bool, typer.Option("--signing", help="The key that signs checkpoints.")] = False,
    to: Annotated[Wrapping | None, typer.Option("--to", help="Turn from a passphrase to a key file, or back.")] = None,
    as_json: AsJson = False,
) -> None:
    """Wrap the data keys under a new passphrase or key file (no entry changes), or hand over to a new signing key."""
    if signing and to is not None:
        raise CliError("--to is for the wrapping of data keys, --signing for the other key", EXIT_USAGE)
    which = "signing" if signing else "wrapping"
    kind = None if to is None else to.value
    with Api.from_settings() as api:
        reply = api.post(f"/api/v1/audit/keys/{which}/rotate", timeout_s=VERIFY_TIMEOUT_S, to=kind)
    if as_json:
        output.show_json(reply)
    elif signing:
        output.console().out(str(reply.get("note")), highlight=False, end="")
    else:
        output.show(output.cell(f"{reply.get('keys')} data keys are wrapped anew"))


def witness(
    folder: Annotated[Path, typer.Option("--folder", help="Where the witness keeps its key and its memory.")],
    log: Annotated[list[str], typer.Option("--log", help="Public key of a log to watch (`hookbus audit key`).")],
    name: Annotated[str, typer.Option("--name", help="The witness's name: a URL without its scheme.")],
    host: Annotated[str, typer.Option("--host")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port")] = WITNESS_PORT_DEFAULT,
) -> None:
    """Run a witness: it cosigns what continues the checkpoint it saw last, and nothing else. Prints its public key."""
    require_audit()
    from hookbus.audit.note import NoteInvalidError  # noqa: PLC0415 - only a witness needs the log's package
    from hookbus.audit.witness.__main__ import run  # noqa: PLC0415 - as above

    try:
        run(name, folder, log, host, port)
    except (NoteInvalidError, ValueError) as error:
        raise CliError(str(error), EXIT_USAGE) from error
