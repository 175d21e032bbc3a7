"""``hookbus audit verify|prove|key``: the log checked, by the service or on this machine with a key of one's own.

What is checked here uses the log's own verifier (``hookbus.audit``), imported only when it is needed: the other
commands work without that package.
"""

import hashlib
import importlib.util
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from hookbus.cli import output
from hookbus.cli.api import VERIFY_TIMEOUT_S, Api, JsonObject, settings
from hookbus.cli.commands.options import AsJson
from hookbus.cli.errors import EXIT_NO, EXIT_USAGE, CliError

if TYPE_CHECKING:
    from hookbus.audit.note import VerifierKey

SEEN_FOLDER: Final = "audit-checkpoints"
"""In the data folder: the newest checkpoint of each log that this machine has seen verified."""
RECEIPT_SUFFIX: Final = ".tlog-proof"
FILE_BYTES_RECEIPT_MAX: Final = 1024 * 1024


class Depth(StrEnum):
    """How much is recomputed."""

    CHECKPOINTS = "checkpoints"
    LEAVES = "leaves"
    ALL = "all"


KeyOption = Annotated[
    str | None, typer.Option("--key", help="The log's public key, or a file that holds it. Keep your own copy.")
]


def verify(
    file: Annotated[Path | None, typer.Argument(help="A receipt or an exported log; without, the live log.")] = None,
    key: KeyOption = None,
    depth: Annotated[
        Depth, typer.Option("--depth", help="checkpoints only; leaves without decryption; all (the live log).")
    ] = Depth.ALL,
    anchor: Annotated[
        Path | None, typer.Option("--anchor", help="An anchor file: the log must lead to every checkpoint in it.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Check the log; exit code 1 names the first bad entry.

    The live log is recomputed from its rows, and must lead to the checkpoint this machine saw last. A receipt or an
    export is checked here, against --key alone.
    """
    reply = _verify_live(depth) if file is None else _verify_file(file, key, depth, anchor)
    good = bool(reply.get("ok"))
    if as_json:
        output.show_json(reply)
    elif good:
        words = reply.get("words") or f"{reply.get('checked')} entries, root {output.plain(reply.get('root_hash'))}"
        output.show(Text("verified", style="green").append(f"  {words}", style="default"))
    else:
        where = f" at index {reply.get('first_bad_index')}" if reply.get("first_bad_index") is not None else ""
        output.show(Text(f"NOT intact{where}: {output.plain(reply.get('fault'))}", style="bold red"))
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

    with Api.from_settings() as api:
        receipt = api.get(f"/api/v1/audit/receipts/{event_id}")
        pinned = _key(key) if key is not None else _key(str(api.get("/api/v1/audit/key").get("verifier_key")))
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


def _verify_live(depth: Depth) -> JsonObject:
    with Api.from_settings() as api:
        newest = _newest(api)
        seen = None if newest is None else _seen_file(newest)
        remembered = seen.read_text(encoding="utf-8") if seen is not None and seen.exists() else None
        body = {"decrypt": depth is Depth.ALL, "checkpoint": remembered}
        reply = api.post("/api/v1/audit/verify", body, timeout_s=VERIFY_TIMEOUT_S)
    if reply.get("ok") and newest is not None and seen is not None:
        seen.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = seen.with_suffix(".new")
        temporary.write_text(newest, encoding="utf-8")
        temporary.replace(seen)
    return reply


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


def _verify_file(file: Path, key: str | None, depth: Depth, anchor: Path | None) -> JsonObject:
    if key is None:
        raise CliError("a file is checked against a key of your own: give --key", EXIT_USAGE)
    if not file.is_file():
        raise CliError(f"{file} is no file", EXIT_USAGE)
    require_audit()
    pinned = _key(key)
    if file.suffix == RECEIPT_SUFFIX or file.read_bytes()[:4] == b"c2sp":
        return _verify_receipt(file, pinned)
    return _verify_export(file, pinned, depth, anchor)


def _verify_receipt(file: Path, pinned: "VerifierKey") -> JsonObject:
    from hookbus.audit.receipt import ReceiptInvalidError, check_receipt  # noqa: PLC0415 - see the module's docstring

    if file.stat().st_size > FILE_BYTES_RECEIPT_MAX:
        return {"ok": False, "fault": "the receipt is too large"}
    try:
        proven = check_receipt(file.read_text(encoding="utf-8"), pinned)
    except (ReceiptInvalidError, UnicodeDecodeError) as error:
        return {"ok": False, "fault": str(error)}
    return {
        "ok": True,
        "event_id": proven.event_id,
        "index": proven.index,
        "size": proven.size,
        "words": f"event {proven.event_id} is entry {proven.index} of a log of {proven.size}",
    }


def _verify_export(file: Path, pinned: "VerifierKey", depth: Depth, anchor: Path | None) -> JsonObject:
    from hookbus.audit.anchors import AnchorFile  # noqa: PLC0415 - see the module's docstring
    from hookbus.audit.bundle import Bundle, check_bundle  # noqa: PLC0415 - as above
    from hookbus.audit.inspection import FaultError  # noqa: PLC0415 - as above

    try:
        remembered = [] if anchor is None else AnchorFile(anchor).notes()
        bundle = Bundle(file)
    except (FaultError, OSError, ValueError, KeyError) as error:
        return {"ok": False, "fault": str(error)}
    columns = (TextColumn("checking"), BarColumn(), MofNCompleteColumn(), TextColumn("entries"), TimeRemainingColumn())
    with Progress(*columns, console=output.errors(), transient=True) as shown:
        task = shown.add_task("checking", total=None)

        def progress(checked: int, size: int) -> None:
            shown.update(task, completed=checked, total=size)

        found = check_bundle(
            bundle, pinned, leaves=depth is not Depth.CHECKPOINTS, remembered=remembered, progress=progress
        )
    bundle.close()
    fault = found.fault
    return {
        "ok": fault is None,
        "size": found.size,
        "root_hash": found.root.hex(),
        "checked": found.checked,
        "checkpoints": found.checkpoints,
        "first_bad_index": None if fault is None else fault.index,
        "fault": None if fault is None else str(fault),
    }


def _key(text: str) -> "VerifierKey":
    from hookbus.audit.note import NoteInvalidError, VerifierKey  # noqa: PLC0415 - see the module's docstring

    path = Path(text)
    if "+" not in text and path.is_file():
        text = path.read_text(encoding="utf-8")
    try:
        return VerifierKey.parse(text)
    except NoteInvalidError as error:
        raise CliError(f"--key: {error}", EXIT_USAGE) from error
