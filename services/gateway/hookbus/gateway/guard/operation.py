"""One operation of an agent: which of its fields are paths, which are commands, and what the guard says of them."""

from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from hookbus.contracts.decisions import DecisionCode
from hookbus.gateway.guard.commands import judge_argv, judge_command
from hookbus.gateway.guard.effort import EffortSpentError, GuardMode
from hookbus.gateway.guard.findings import Finding, denied, gravest
from hookbus.gateway.guard.paths import Workspace
from hookbus.gateway.guard.scene import Scene
from hookbus.gateway.guard.tags import tags_of, texts_of

PATH_FIELDS: Final = (
    "file_path",
    "path",
    "notebook_path",
    "filePath",
    "absolute_path",
    "target_file",
    "dir_path",
    "directory",
    "file_paths",
    "paths",
)
"""Under these names the agents' tools take the file or folder they open, or a list of them."""
COMMAND_FIELDS: Final = ("command", "cmd", "script")
READING_TOOLS: Final = frozenset(
    {
        "read",
        "grep",
        "glob",
        "ls",
        "notebookread",
        "read_file",
        "read_many_files",
        "list_directory",
        "search_file_content",
        "grep_search",
        "list_dir",
        "view",
    }
)
SHELL_TOOLS: Final = frozenset(
    {
        "bash",
        "shell",
        "local_shell",
        "exec_command",
        "run_shell_command",
        "run_terminal_cmd",
        "execute",
        "terminal",
        "powershell",
    }
)


@dataclass(frozen=True)
class Judgement:
    """What the guard says of one operation."""

    finding: Finding | None
    """The gravest objection."""
    tags: tuple[str, ...] = ()
    """Signs of injection in its texts, see :mod:`hookbus.gateway.guard.tags`."""


def working_folder(data: dict[str, JsonValue]) -> str | None:
    """Where the operation runs, as its hook says."""
    cwd = data.get("cwd")
    return cwd if isinstance(cwd, str) else None


def judge_within(
    data: dict[str, JsonValue], root: str | None, configured_roots: tuple[str, ...], mode: GuardMode
) -> Judgement:
    """The judgement on a pre-task's ``data``.

    Args:
        data: ``tool``, ``tool_input`` and ``cwd`` as the hook sent them; the other fields are only searched for tags.
        root: the folder beneath which the operation may work; None where that is only the configured ones.
        configured_roots: folders in which every agent may work.
        mode: whether doubt refuses or asks, and whether a tag refuses.
    """
    scene = Scene.of(Workspace.within(working_folder(data), root, configured_roots), mode)
    findings: list[Finding] = []
    tags: tuple[str, ...] = ()
    try:
        findings.extend(_judge_fields(data, scene))
        tags = tags_of(texts_of(data, scene.effort))
    except EffortSpentError:
        findings.append(scene.doubtful("the operation holds more than can be judged"))
    if tags and mode is GuardMode.STRICT:
        reason = f"shows signs of injection ({', '.join(tags)}), which strict mode refuses"
        findings.append(denied(DecisionCode.INPUT_REFUSED, reason))
    return Judgement(gravest(findings), tags)


def _judge_fields(data: dict[str, JsonValue], scene: Scene) -> list[Finding]:
    tool_input = data.get("tool_input")
    fields = tool_input if isinstance(tool_input, dict) else data
    tool = data.get("tool")
    name = tool.casefold() if isinstance(tool, str) else ""
    findings: list[Finding] = []
    if name in SHELL_TOOLS or not name:
        for field in COMMAND_FIELDS:
            findings.extend(_judge_command_field(fields.get(field), scene))
    for field in PATH_FIELDS:
        value = fields.get(field)
        for path in _listed(value, scene) if isinstance(value, list) else (value,):
            if isinstance(path, str) and path:
                finding = scene.judge_path(path, write=name not in READING_TOOLS)
                if finding is not None:
                    findings.append(finding)
    return findings


def _judge_command_field(value: JsonValue, scene: Scene) -> list[Finding]:
    if isinstance(value, str) and value:
        return judge_command(value, scene)
    if isinstance(value, list) and value:
        return judge_argv([word for word in _listed(value, scene) if isinstance(word, str)], scene)
    return []


def _listed(values: list[JsonValue], scene: Scene) -> list[JsonValue]:
    scene.effort.spend(len(values))
    return values
