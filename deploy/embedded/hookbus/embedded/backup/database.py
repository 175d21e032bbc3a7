"""The database out by PostgreSQL's own ``pg_basebackup`` while it runs, and back into a data folder."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from hookbus.embedded import postgres
from hookbus.embedded.backup.files import BackupError
from hookbus.embedded.ports import LOOPBACK

BACKUP_TIMEOUT_S: Final = 3_600.0
OUTPUT_CHARS_MAX: Final = 500


def save(folder: Path, *, port: int, password: str) -> None:
    """Copy the whole cluster, with the log that makes the copy consistent at its end, into ``folder``."""
    arguments = ["--pgdata", str(folder), "--host", LOOPBACK, "--port", str(port), "--username", postgres.SUPERUSER]
    arguments += ["--format=plain", "--wal-method=stream", "--checkpoint=fast", "--no-password"]
    _run("pg_basebackup", arguments, {"PGPASSWORD": password})


def place(folder: Path, root: Path) -> None:
    """Make a copy the cluster of a data folder, owned by whoever runs the server there."""
    home = root / "postgres"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = home / postgres.DATA_FOLDER_NAME
    shutil.move(folder, target)
    run_as = postgres.unprivileged_user()
    for path in (target, *target.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
        if run_as is not None:
            os.chown(path, run_as.uid, run_as.gid)


def _run(name: str, arguments: list[str], environment: dict[str, str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - the argument list is built here
            [str(postgres.binary(name)), *arguments],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=BACKUP_TIMEOUT_S,
            env={"LC_ALL": "C", "TZ": "UTC", **environment},
            cwd="/",
        )
    except subprocess.TimeoutExpired as error:
        raise BackupError(f"{name} took over {BACKUP_TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        raise BackupError(f"{name} failed: {done.stderr.strip()[-OUTPUT_CHARS_MAX:]}")
