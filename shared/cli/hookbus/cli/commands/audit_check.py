"""``hookbus audit verify|prove|key``: the log checked, by the service or on this machine with a key of one's own.

What is checked here uses the log's own verifier (``hookbus.audit``), imported only when it is needed: the other
commands work without that package.
"""

import hashlib
import importlib.util
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.text import Text

from hookbus.cli import output
from hookbus.cli.api import VERIFY_TIMEOUT_S, Api, JsonObject, settings
from hookbus.cli.commands.audit_progress import polled, shown
from hookbus.cli.commands.options import AsJson
from hookbus.cli.errors import EXIT_NO, EXIT_USAGE, CliError

if TYPE_CHECKING:
    from hookbus.cli.commands.audit_local import Wanted

SEEN_FOLDER: Final = "audit-checkpoints"
"""In the data folder: the newest checkpoint of each log that this machine has seen verified."""
FORK_FILE_DEFAULT: Final = Path("audit-fork-proof.json")


class Depth(StrEnum):
    """How much is recomputed."""

    CHECKPOINTS = "checkpoints"
    LEAVES = "leaves"
    ALL = "all"


NOT_COMPARED: Final[dict[Depth, list[str]]] = {
    Depth.CHECKPOINTS: ["entries", "search terms"],
    Depth.LEAVES: ["search terms"],
    Depth.ALL: [],
}
"""What a check of the live log does not look at. What an entry is found by can be told only once it is decrypted."""

KeyOption = Annotated[
    str | None, typer.Option("--key", help="The log's public key, or a file that holds it. Keep your own copy.")
]
DepthOption = Annotated[
    Depth,
    typer.Option(
        "--depth", help="checkpoints: every checkpoint; leaves: every hash too; all: every entry decrypted too."
    ),
]
AnchorOption = Annotated[
    Path | None, typer.Option("--anchor", help="An anchor file: the log must lead to every checkpoint in it.")
]
WitnessOption = Annotated[
    list[str] | None, typer.Option("--witness", help="A witness's public key: it must have cosigned a checkpoint.")
]
PassphraseFileOption = Annotated[
    Path | None, typer.Option("--passphrase-file", help="The passphrase of an export that was made --with-keys.")
]
ForkFileOption = Annotated[
    Path, typer.Option("--fork-proof", help="Where to write the proof, should the log have told two stories.")
]


def verify(
    file: Annotated[
        Path | None, typer.Argument(help="A receipt, an exported log or the proof of a fork; without, the live log.")
    ] = None,
    *,
    key: KeyOption = None,
    depth: DepthOption = Depth.ALL,
    anchor: AnchorOption = None,
    witness: WitnessOption = None,
    passphrase_file: PassphraseFileOption = None,
    fork_proof: ForkFileOption = FORK_FILE_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Check the log; exit code 1 names the first bad entry.

    The live log is recomputed by its service and must lead to the checkpoint this machine saw last; with --key it is
    recomputed on this machine instead, from what the API serves, and asked of the service only what needs its keys.
    A file is checked here, against --key alone.
    """
    outside = Outside(key, anchor, tuple(witness or ()), fork_proof)
    if file is not None:
        reply = _verify_file(file, outside, depth, passphrase_file, silent=as_json)
    else:
        if passphrase_file is not None:
            raise CliError("--passphrase-file is for an export", EXIT_USAGE)
        reply = _verify_live(outside, depth, silent=as_json)
    good = bool(reply.get("ok"))
    if as_json:
        output.show_json(reply)
    elif good:
        words = reply.get("words") or f"{reply.get('checked')} entries, root {output.plain(reply.get('root_hash'))}"
        output.show(Text("verified", style="green").append(f"  {words}", style="default"))
        if reply.get("not_compared"):
            output.show(output.cell(f"Not compared: {' and '.join(reply['not_compared'])}. --depth all does."))
    else:
        where = f" at index {reply.get('first_bad_index')}" if reply.get("first_bad_index") is not None else ""
        output.show(Text(f"NOT intact{where}: {output.plain(reply.get('fault'))}", style="bold red"))
        if reply.get("fork_proof"):
            output.show(Text(f"The log was forked. The proof is in {reply['fork_proof']}", style="bold red"))
    if not good:
        raise typer.Exit(EXIT_NO)


def prove(
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the receipt to this file, for checking offline.", dir_okay=False)
    ] = None,
    key: KeyOption = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Fetch an event's receipt and check it on this machine."""
    require_audit()
    from hookbus.audit.receipt import ReceiptInvalidError, check_receipt  # noqa: PLC0415 - see the module's docstring
    from hookbus.cli.commands.audit_local import parse_key  # noqa: PLC0415 - as above

    with Api.from_settings() as api:
        receipt = api.get(f"/api/v1/audit/receipts/{event_id}")
        pinned = parse_key(key if key is not None else str(api.get("/api/v1/audit/key").get("verifier_key")))
    text = str(receipt.get("tlog_proof"))
    fault: str | None = None
    size = 0
    try:
        proven = check_receipt(text, pinned)
        size = proven.size
        if proven.event_id != event_id:
            fault = "the receipt is that of another event"
    except ReceiptInvalidError as error:
        fault = str(error)
    if fault is None and out is not None:
        out.write_text(text, encoding="utf-8")
    if as_json:
        output.show_json({**receipt, "proven": fault is None, "fault": fault})
    elif fault is None:
        output.show(
            Text("included", style="green").append(f"  entry {receipt['index']} of a log of {size}", style="default"),
            output.cell(f"leaf {receipt['leaf_hash']}"),
        )
        if key is None:
            output.show(output.cell("Checked against the key the server states; pin your own copy with --key."))
    else:
        output.show(Text(f"NOT proven: {output.plain(fault)}", style="bold red"))
    if fault is not None:
        raise typer.Exit(EXIT_NO)


def key(*, as_json: AsJson = False) -> None:
    """Print the log's first public key: keep it where the log's keeper does not rule."""
    with Api.from_settings() as api:
        reply = api.get("/api/v1/audit/key")
    if as_json:
        output.show_json({"verifier_key": reply.get("verifier_key"), "handovers": reply.get("handovers")})
    else:
        output.console().out(str(reply.get("verifier_key")), highlight=False)


def require_audit() -> None:
    """Say clearly what is absent where the log's package is not installed beside the command line."""
    if importlib.util.find_spec("hookbus.audit") is None:
        raise CliError("this needs the package hookbus-audit: install it beside hookbus-cli", EXIT_USAGE)


@dataclass(frozen=True, slots=True)
class Outside:
    """What the caller holds where the log's keeper does not rule."""

    key: str | None
    anchor: Path | None
    witnesses: tuple[str, ...]
    fork_file: Path


def _verify_live(outside: Outside, depth: Depth, *, silent: bool) -> JsonObject:
    if outside.key is None and (outside.anchor is not None or outside.witnesses):
        raise CliError("an anchor or a witness is checked against a key of your own: give --key", EXIT_USAGE)
    with Api.from_settings() as api:
        newest = _newest(api)
        seen = None if newest is None else _seen_file(newest)
        remembered = seen.read_text(encoding="utf-8") if seen is not None and seen.exists() else None
        reply: JsonObject = {"ok": True}
        if outside.key is not None:
            reply = _verify_here(api, outside, depth, remembered, silent=silent)
        if reply.get("ok") and (outside.key is None or depth is Depth.ALL):
            reply |= _verify_there(api, depth, remembered, silent=silent)
        if not reply.get("ok") and outside.key is None:
            reply |= _proof_of_fork(api, outside, remembered)
    reply["not_compared"] = NOT_COMPARED[depth]
    if reply.get("ok") and newest is not None and seen is not None:
        seen.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = seen.with_suffix(".new")
        temporary.write_text(newest, encoding="utf-8")
        temporary.replace(seen)
    return reply


def _verify_there(api: Api, depth: Depth, remembered: str | None, *, silent: bool) -> JsonObject:
    """By the service, which has the keys."""
    with shown("checking", silent=silent) as advance, polled(api, advance) as watch:
        body = {"decrypt": depth is Depth.ALL, "depth": depth.value, "checkpoint": remembered, "watch": watch}
        return api.post("/api/v1/audit/verify", body, timeout_s=VERIFY_TIMEOUT_S)


def _verify_here(api: Api, outside: Outside, depth: Depth, remembered: str | None, *, silent: bool) -> JsonObject:
    """On this machine, from what the API serves."""
    require_audit()
    from hookbus.cli.commands.audit_local import check_live  # noqa: PLC0415 - see the module's docstring

    return check_live(
        api, _wanted(outside, str(outside.key), remembered, silent=silent), leaves=depth is not Depth.CHECKPOINTS
    )


def _proof_of_fork(api: Api, outside: Outside, remembered: str | None) -> JsonObject:
    """A log found wrong may have been forked: look whether what it signed contradicts itself."""
    if importlib.util.find_spec("hookbus.audit") is None:
        return {}
    from hookbus.cli.commands.audit_local import check_live  # noqa: PLC0415 - see the module's docstring

    try:
        stated = str(api.get("/api/v1/audit/key").get("verifier_key"))
        found = check_live(api, _wanted(outside, stated, remembered, silent=True), leaves=False)
    except CliError:
        return {}
    return {name: found[name] for name in ("fork_proof",) if name in found}


def _wanted(outside: Outside, key: str, seen: str | None, *, silent: bool) -> "Wanted":
    from hookbus.cli.commands.audit_local import Wanted, parse_key, parse_witness  # noqa: PLC0415 - as above

    return Wanted(
        parse_key(key),
        outside.anchor,
        [parse_witness(text) for text in outside.witnesses],
        seen,
        outside.fork_file,
        silent,
    )


def _newest(api: Api) -> str | None:
    """The newest checkpoint; None where the log has not signed one, and is checked all the same."""
    try:
        return api.text("/api/v1/audit/checkpoint")
    except CliError as error:
        if error.code != EXIT_NO:
            raise
        return None


def _seen_file(note: str) -> Path:
    """Where this machine remembers the log that ``note`` is of: by its name, the note's first line."""
    name = hashlib.sha256(note.partition("\n")[0].encode()).hexdigest()[:32]
    return Path(settings().data_dir) / SEEN_FOLDER / f"{name}.note"


def _verify_file(
    file: Path, outside: Outside, depth: Depth, passphrase_file: Path | None, *, silent: bool
) -> JsonObject:
    if outside.key is None:
        raise CliError("a file is checked against a key of your own: give --key", EXIT_USAGE)
    if not file.is_file():
        raise CliError(f"{file} is no file", EXIT_USAGE)
    require_audit()
    from hookbus.cli.commands.audit_local import check_file  # noqa: PLC0415 - see the module's docstring

    return check_file(
        file,
        _wanted(outside, outside.key, None, silent=silent),
        leaves=depth is not Depth.CHECKPOINTS,
        decrypt=depth is Depth.ALL,
        passphrase=None if passphrase_file is None else read_passphrase(passphrase_file),
    )


def read_passphrase(file: Path) -> bytes:
    """The passphrase in a file, without the newline at its end; raises CliError."""
    try:
        return file.read_bytes().removesuffix(b"\n")
    except OSError as error:
        raise CliError(f"--passphrase-file: {error.strerror}", EXIT_USAGE) from error
