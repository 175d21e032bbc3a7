"""What an installation, or its removal, makes of each file: read and worked out, nothing written yet."""

from dataclasses import dataclass, field
from pathlib import Path

from hookbus.cli.errors import EXIT_NO, CliError
from hookbus.cli.install import agents, documents, otel
from hookbus.cli.install.agents import Mode, Options, Scope
from hookbus.cli.install.files import Target
from hookbus.cli.install.jsontext import JsonTextError
from hookbus.cli.install.variables import Added, Stripped, Written, with_variables, without_variables


@dataclass(frozen=True)
class Change:
    """One file, as it is and as it is to be."""

    target: Target
    before: bytes | None
    """What was there before any installation: the backup."""
    now: bytes | None
    after: bytes | None
    private: bool = False
    removes: bool = False
    """Nothing of hookbus is in the file afterwards."""
    added: dict[str, str] = field(default_factory=dict[str, str])
    """What the file holds beside the hooks: for the note, by which it is known again."""

    def apply(self) -> None:
        """Write it. Raises OSError."""
        if self.removes or self.after is None:
            self.target.restore(self.after)
        else:
            self.target.install(self.before, self.after, private=self.private, added=self.added)


def installation(
    agent: str, scope: Scope, options: Options, *, home: Path, project: Path, data_dir: Path
) -> tuple[list[Change], list[str]]:
    """Each file's change, and what a person should know.

    Raises:
        CliError: a file cannot be read, or is no settings file.
    """
    notes: list[str] = []
    changes: list[Change] = []
    variables = agents.telemetry_variables(options, scope) if agent == "claude-code" else {}
    for path in _files(agent, scope, home, project):
        target = Target(path, data_dir)
        now = _read(target)
        known, before = target.original(now)
        if not known and now is not None:
            stripped = _stripped(target, agent, options, now, installing=True)
            before = stripped.text.encode()
            # A variable that is left is told of below, where it keeps hookbus's own from being set.
            notes += [_still(path, name) for name in stripped.left if _is_toml(path)]
        if _is_toml(path) and not options.telemetry:
            changes.append(Change(target, before, now, before, removes=True))
            continue
        added = _added(target, agent, options, before, variables)
        if added is None:
            notes.append(f"{path} has an [otel] table of its own: Codex's usage is exported there")
            continue
        notes += [f"{path} sets {name} itself: left as it is" for name in added.left]
        private = options.api_key is not None and options.api_key in added.text
        changes.append(Change(target, before, now, added.text.encode(), private, added=added.values))
    if variables and scope is Scope.PROJECT:
        notes.append(
            "A project's settings hold no key: for usage by telemetry set OTEL_EXPORTER_OTLP_LOGS_HEADERS="
            '"Authorization=Bearer <key>" where the agent starts.'
        )
    if options.mode is Mode.HTTP:
        notes.append("HTTP hooks read the key from HOOKBUS_API_KEY: set it where the agent starts.")
    return changes, notes


def removal(
    agent: str, scope: Scope, options: Options, *, home: Path, project: Path, data_dir: Path
) -> tuple[list[Change], list[str]]:
    """Each file's change, and what is left in it.

    Raises:
        CliError: as above.
    """
    notes: list[str] = []
    changes: list[Change] = []
    for path in _files(agent, scope, home, project):
        target = Target(path, data_dir)
        now = _read(target)
        if now is None:
            continue
        known, after = target.original(now)
        if not known:
            stripped = _stripped(target, agent, options, now, installing=False)
            after = stripped.text.encode()
            told = _is_toml(path) or target.written() is not None or after != now
            notes += [_still(path, name) for name in stripped.left if told]
        changes.append(Change(target, None, now, after, removes=True))
    return changes, notes


def _files(agent: str, scope: Scope, home: Path, project: Path) -> list[Path]:
    """Each file an installation may have written."""
    files = [agents.settings_path(agent, scope, home=home, project=project)]
    if agent == "codex" and scope is Scope.USER:
        files.append(home / ".codex" / "config.toml")
    return files


def _read(target: Target) -> bytes | None:
    try:
        return target.read()
    except OSError as error:
        raise CliError(f"{target.path} cannot be read: {error.strerror or error}", EXIT_NO) from error


def _is_toml(path: Path) -> bool:
    return path.suffix == ".toml"


def _added(
    target: Target, agent: str, options: Options, before: bytes | None, variables: dict[str, str]
) -> Added | None:
    base = None if before is None else before.decode()
    try:
        if _is_toml(target.path):
            return otel.with_telemetry(base or "", options.url, options.agent_id)
        return with_variables(documents.with_hooks(base, agent, options), variables)
    except JsonTextError as error:
        raise CliError(f"{target.path}: {error}; nothing was changed", EXIT_NO) from error


def _stripped(target: Target, agent: str, options: Options, content: bytes, *, installing: bool) -> Stripped:
    """The file's text without what an installation wrote there."""
    try:
        return _strip(target.path, content.decode(), agent, options, target.written(), installing=installing)
    except (UnicodeDecodeError, JsonTextError) as error:
        raise CliError(f"{target.path}: {error}; nothing was changed", EXIT_NO) from error


def _still(path: Path, name: str) -> str:
    return f"{path} still sets {name}: hookbus does not know that value as its own, so it is left as it is"


def _strip(
    path: Path, text: str, agent: str, options: Options, written: Written | None, *, installing: bool
) -> Stripped:
    if not text.strip():
        return Stripped(text)
    if _is_toml(path):
        return otel.without_telemetry(text, written)
    bare = documents.without_hooks(text, agent)
    if installing and written is None and bare == text:
        # No earlier installation is to be seen here: what stands there a person wrote, also where it is what hookbus
        # would write.
        return Stripped(text)
    return without_variables(bare, written, options.url) if agent == "claude-code" else Stripped(bare)
