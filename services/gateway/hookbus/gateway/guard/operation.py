"""One operation of an agent: which of its fields are paths, which are commands, and what the guard says of them."""

from typing import Final

from pydantic import JsonValue

from hookbus.gateway.guard.commands import judge_argv, judge_command
from hookbus.gateway.guard.findings import Finding, gravest
from hookbus.gateway.guard.paths import Workspace, judge_path

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


def judge_operation(data: dict[str, JsonValue], configured_roots: tuple[str, ...]) -> Finding | None:
    """The gravest objection to a pre-task's ``data``, or None.

    Args:
        data: ``tool``, ``tool_input`` and ``cwd`` as the hook sent them; other fields are not looked at.
        configured_roots: folders in which every agent may work.
    """
    tool_input = data.get("tool_input")
    fields = tool_input if isinstance(tool_input, dict) else data
    tool = data.get("tool")
    name = tool.casefold() if isinstance(tool, str) else ""
    cwd = data.get("cwd")
    workspace = Workspace.of(cwd if isinstance(cwd, str) else None, configured_roots)
    findings: list[Finding] = []
    for field in PATH_FIELDS:
        value = fields.get(field)
        for path in value if isinstance(value, list) else (value,):
            if isinstance(path, str) and path:
                finding = judge_path(path, workspace, write=name not in READING_TOOLS)
                if finding is not None:
                    findings.append(finding)
    if name in SHELL_TOOLS or not name:
        for field in COMMAND_FIELDS:
            findings.extend(_judge_command_field(fields.get(field), workspace))
    return gravest(findings)


def _judge_command_field(value: JsonValue, workspace: Workspace) -> list[Finding]:
    if isinstance(value, str) and value:
        return judge_command(value, workspace)
    if isinstance(value, list) and value:
        return judge_argv([word for word in value if isinstance(word, str)], workspace)
    return []
