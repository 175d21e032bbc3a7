"""``backup`` and ``restore`` as the command line calls them: they print and return an exit code."""

import json
import os
import sys
from pathlib import Path
from typing import Final, TextIO

from hookbus.embedded import commands
from hookbus.embedded.backup import restore as restoring
from hookbus.embedded.backup.bus import BusError
from hookbus.embedded.backup.files import BackupError
from hookbus.embedded.backup.take import checkpoint_size, newest_anchor, take
from hookbus.embedded.layout import layout_of

ANCHOR_VARIABLE: Final = "HOOKBUS_AUDIT_ANCHOR_FILE"


def backup(target: Path, data_dir: Path | None = None, *, as_json: bool = False) -> int:
    """Write the running stack of a data folder into one file (0600). It holds every secret of the installation.

    Returns:
        0 when it is written; 1 when nothing runs there or something failed, said on stderr.
    """
    layout = layout_of(data_dir)
    target = target.expanduser().absolute()
    running = commands.run_of(layout)
    if running is None or not running.ready:
        return _fail(f"hookbus does not run on {layout.root}: start it, or copy the stopped folder as it is")
    if target.exists():
        return _fail(f"{target} exists: a backup never replaces a file")
    if not target.parent.is_dir():
        return _fail(f"there is no folder {target.parent}")
    try:
        manifest = take(layout, running, target)
    except (BackupError, BusError, OSError) as error:
        return _fail(str(error))
    entries = 0 if manifest.checkpoint is None else checkpoint_size(manifest.checkpoint)
    size = target.stat().st_size
    if as_json:
        _say(json.dumps({"file": str(target), "bytes": size, "streams": manifest.streams, "audit_entries": entries}))
        return commands.EXIT_DONE
    _say(f"{target}: {size / 1e6:.1f} MB, audit log of {entries} entries or more, {len(manifest.streams)} streams")
    _say("It holds every secret of this installation, unencrypted: keep it as you keep the data folder.")
    return commands.EXIT_DONE


def restore(source: Path, data_dir: Path | None = None, *, anchor: Path | None = None) -> int:
    """Bring a backup into an empty data folder, start it once, and verify the audit log.

    Args:
        source: what :func:`backup` wrote.
        data_dir: where to; it must be empty or absent.
        anchor: an anchor file of the audit log; by default the one of ``HOOKBUS_AUDIT_ANCHOR_FILE``.

    Returns:
        0 when it is there and its log verifies; 1 otherwise, said on stderr. A log that does not verify is left in
        place, stopped.
    """
    layout = layout_of(data_dir)
    anchor = anchor or (Path(os.environ[ANCHOR_VARIABLE]) if os.environ.get(ANCHOR_VARIABLE) else None)
    try:
        anchored = None if anchor is None else newest_anchor(anchor)
    except (OSError, ValueError, KeyError, IndexError) as error:
        return _fail(f"the anchor file {anchor} cannot be read: {error}")
    try:
        manifest = restoring.restore(source.expanduser().absolute(), layout)
    except (BackupError, BusError, OSError) as error:
        return _fail(str(error))
    notes = {} if manifest.checkpoint is None else {"the backup": manifest.checkpoint}
    if anchored is not None:
        notes[f"the anchor file {anchor}"] = anchored
    return _start_and_verify(layout.root, notes)


def _start_and_verify(root: Path, notes: dict[str, str]) -> int:
    layout = layout_of(root)
    if commands.up(root, port=0, detach=True, environment=restoring.without_anchors()) != commands.EXIT_DONE:
        return _fail(f"the restored stack does not start; its logs are in {layout.logs}")
    try:
        running = commands.run_of(layout)
        if running is None:
            return _fail("the restored stack ended at once")
        verdict = restoring.verify(layout, running.url, notes)
    except BackupError as error:
        return _fail(str(error))
    finally:
        commands.down(root)
    if verdict.fault is not None:
        _fail(verdict.fault)
        return _fail(f"the restored data is in {root}, stopped. docs/operating/backup.md says what now")
    _say(
        f"restored to {root}: the audit log of {verdict.size} entries verifies. "
        f"Start it with: hookbus up --data-dir {root}"
    )
    return commands.EXIT_DONE


def _fail(text: str) -> int:
    _say(f"hookbus: {text}", sys.stderr)
    return commands.EXIT_NO


def _say(text: str, stream: TextIO | None = None) -> None:
    print(text, file=stream or sys.stdout, flush=True)
