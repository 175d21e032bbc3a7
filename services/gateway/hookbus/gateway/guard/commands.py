"""Commands, judged by what they would run: the words a shell would hand over, never the text's look.

The rules are few and name what no coding session needs: wiping a file system or a home, writing to a raw device,
handing out credentials, running what was just downloaded, stopping the machine, switching this guard off. Everything
else passes. What a shell itself could not read is asked about, not refused.
"""

import posixpath
import re
from itertools import pairwise
from typing import Final

from hookbus.contracts import limits
from hookbus.contracts.decisions import DecisionCode
from hookbus.gateway.guard.findings import Finding, asked, denied, shown
from hookbus.gateway.guard.paths import Workspace, is_credential, judge_path
from hookbus.gateway.guard.shell import Command, UnreadableShellError, read_commands

INNER_SHELLS_MAX: Final = 8
"""``sh -c`` inside ``sh -c``: how deep the guard follows."""
INNER_CHARS_MAX: Final = 64 * 1024
"""Text of an inner shell times its level: bounds the reading again of the same text."""
COMMANDS_MAX: Final = 1_000
"""Commands of one text that are judged. No coding session sends more; a person is asked about the rest."""
COMMAND_CHARS_MAX: Final = limits.EVENT_BYTES_MAX

_SHELLS: Final = frozenset({"sh", "bash", "zsh", "dash", "ksh", "fish", "pwsh"})
_INTERPRETERS: Final = _SHELLS | {"python", "python3", "perl", "ruby", "node"}
_DOWNLOADERS: Final = frozenset({"curl", "wget", "fetch"})
_WRAPPERS: Final[dict[str, frozenset[str]]] = {
    "sudo": frozenset({"-u", "-g", "-h", "-p", "-C", "-T", "-r", "-t", "-U"}),
    "doas": frozenset({"-u", "-C"}),
    "env": frozenset({"-u", "-C", "-S"}),
    "nohup": frozenset(),
    "time": frozenset({"-f", "-o"}),
    "timeout": frozenset({"-s", "-k"}),
    "nice": frozenset({"-n"}),
    "ionice": frozenset({"-c", "-n"}),
    "stdbuf": frozenset({"-i", "-o", "-e"}),
    "xargs": frozenset({"-n", "-P", "-I", "-d", "-L", "-s", "-a", "-E"}),
    "command": frozenset(),
    "builtin": frozenset(),
    "exec": frozenset({"-a"}),
    "setsid": frozenset(),
}
"""Programs that run the rest of their words, and which of their options take a value."""
_STOPPERS: Final = frozenset({"shutdown", "reboot", "halt", "poweroff"})
_FORMATTERS: Final = frozenset({"mkfs", "wipefs", "fdisk", "sfdisk", "parted", "mkswap"})
_TREE_CHANGERS: Final = frozenset({"chmod", "chown", "chgrp"})
_DEVICE: Final = re.compile(r"/dev/(sd|hd|vd|xvd|nvme|mmcblk|disk|loop|md|dm-|mapper/|mem|kmem|port)")
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_HOME_WORDS: Final = frozenset({"~", "$HOME", "${HOME}"})
_FORK_BOMB: Final = re.compile(r"([A-Za-z0-9_:.]{1,32})\(\)\{\1\|\1&\};\1")


def judge_command(text: str, workspace: Workspace, *, level: int = 0) -> list[Finding]:
    """The objections to running ``text`` in a shell. Time is linear in its length, for each level of inner shells."""
    if len(text) > COMMAND_CHARS_MAX:
        return [_refused(f"a command is over {COMMAND_CHARS_MAX} characters")]
    if "\0" in text:
        return [_refused("a command holds a NUL character")]
    if _FORK_BOMB.search(re.sub(r"[ \t\n]", "", text[:COMMAND_CHARS_MAX])):
        return [_refused("the command is a fork bomb")]
    if level >= INNER_SHELLS_MAX or len(text) * level > INNER_CHARS_MAX:
        return [asked(DecisionCode.COMMAND_REFUSED, "the shells inside one another are too many to read")]
    try:
        commands = read_commands(text)
    except UnreadableShellError as error:
        return [asked(DecisionCode.COMMAND_REFUSED, f"the command cannot be read as shell text: {error}")]
    findings: list[Finding] = []
    downloading: set[int] = set()
    if len(commands) > COMMANDS_MAX:
        findings.append(asked(DecisionCode.COMMAND_REFUSED, f"holds over {COMMANDS_MAX} commands"))
    for command in commands[:COMMANDS_MAX]:
        findings.extend(_judge(command, workspace, level))
        words = _unwrapped(command.words)
        name = posixpath.basename(words[0]) if words else ""
        if name in _DOWNLOADERS:
            downloading.add(command.pipeline)
        elif name in _INTERPRETERS and command.pipeline in downloading:
            findings.append(asked(DecisionCode.COMMAND_REFUSED, f"runs what it downloads: {shown(name)}"))
    return findings


def judge_argv(argv: list[str], workspace: Workspace) -> list[Finding]:
    """The objections to running ``argv`` without a shell."""
    return _judge(Command(words=argv), workspace, 0)


def _judge(command: Command, workspace: Workspace, level: int) -> list[Finding]:
    findings: list[Finding] = []
    for target in command.writes:
        if _DEVICE.match(target):
            findings.append(_refused(f"writes to the device {shown(target)}"))
        elif "$" not in target and "*" not in target and (finding := judge_path(target, workspace, write=True)):
            findings.append(finding)
    words = _unwrapped(command.words)
    if words:
        name = posixpath.basename(words[0])
        for check in _CHECKS:
            finding = check(name, words[1:], workspace)
            if finding is not None:
                findings.append(finding)
        findings.extend(_inner(name, words[1:], workspace, level))
    return findings


def _unwrapped(words: list[str]) -> list[str]:
    """Without assignments before it and without the programs that only run another one."""
    at = 0
    while at < len(words):
        if _ASSIGNMENT.match(words[at]):
            at += 1
            continue
        name = posixpath.basename(words[at])
        if name not in _WRAPPERS:
            break
        at += 1
        while at < len(words) and words[at].startswith("-"):
            at += 2 if words[at] in _WRAPPERS[name] else 1
        if name == "timeout" and at < len(words):
            at += 1  # its duration
    return words[at:]


def _inner(name: str, arguments: list[str], workspace: Workspace, level: int) -> list[Finding]:
    """What an inner shell would run."""
    if name == "eval":
        return judge_command(" ".join(arguments), workspace, level=level + 1)
    if name in _SHELLS:
        for option, script in pairwise(arguments):
            if option.startswith("-") and not option.startswith("--") and option.endswith("c"):
                return judge_command(script, workspace, level=level + 1)
    if name == "find" and level < INNER_SHELLS_MAX:
        for option in ("-exec", "-execdir", "-ok"):
            if option in arguments:
                return _judge(Command(words=arguments[arguments.index(option) + 1 :]), workspace, level + 1)
    return []


def _check_removal(name: str, arguments: list[str], workspace: Workspace) -> Finding | None:
    if name == "rm" and "--no-preserve-root" in arguments:
        return _refused("rm --no-preserve-root")
    if not _changes_tree(name, arguments):
        return None
    for target in (word for word in arguments if not word.startswith("-")):
        if _is_broad(target, workspace):
            return _refused(f"{name} on all of {shown(target)}")
        if name != "find" and _is_outside(target, workspace):
            return _refused(f"{name} -r outside the workspace: {shown(target)}")
    return None


def _changes_tree(name: str, arguments: list[str]) -> bool:
    """Whether the command removes or changes whole trees."""
    short = "".join(word[1:] for word in arguments if word.startswith("-") and not word.startswith("--"))
    if name == "rm":
        return "r" in short or "R" in short or "--recursive" in arguments
    if name in _TREE_CHANGERS:
        return "R" in short or "--recursive" in arguments
    return name == "find" and "-delete" in arguments


def _is_broad(target: str, workspace: Workspace) -> bool:
    """Whether ``target`` is the root, a folder directly below it, or a home."""
    bare = target.rstrip("/*").rstrip("/") if target not in ("/", "*") else target
    if target in ("/", "/*", "/.") or (target.startswith("/") and not bare) or bare in _HOME_WORDS:
        return True
    if bare.startswith("~") and "/" not in bare:
        return True
    if not bare.startswith("/"):
        return False
    normal = posixpath.normpath(bare)
    if any(normal == root.rstrip("/") for root in workspace.roots):
        return False
    depth = normal.count("/")
    return depth == 1 or (depth == 2 and normal.startswith(("/home/", "/Users/", "/usr/", "/etc/", "/var/")))


def _is_outside(target: str, workspace: Workspace) -> bool:
    if "$" in target or workspace.cwd is None:
        return False
    finding = judge_path(target.rstrip("*") or ".", workspace, write=True)
    return finding is not None and finding.code is DecisionCode.PATH_OUTSIDE_WORKSPACE


def _check_device(name: str, arguments: list[str], _workspace: Workspace) -> Finding | None:
    if name.partition(".")[0] in _FORMATTERS and any(_DEVICE.match(word) for word in arguments):
        return _refused(f"{name} on a device")
    for word in arguments:
        target = word.partition("of=")[2] if name == "dd" else word
        if name in ("dd", "shred", "tee", "cp") and _DEVICE.match(target):
            return _refused(f"{name} writes to the device {shown(target)}")
    return None


def _check_stop(name: str, arguments: list[str], _workspace: Workspace) -> Finding | None:
    if name in _STOPPERS or (name == "systemctl" and _STOPPERS.intersection(arguments[:1])):
        return _refused(f"{name} stops the machine")
    if name in ("init", "telinit") and arguments[:1] in (["0"], ["6"]):
        return _refused(f"{name} {arguments[0]} stops the machine")
    return None


def _check_guard(name: str, arguments: list[str], _workspace: Workspace) -> Finding | None:
    if name == "hookbus" and arguments[:1] and arguments[0] in ("down", "uninstall"):
        return _refused(f"hookbus {arguments[0]} switches the guard off")
    return None


def _check_credentials(_name: str, arguments: list[str], workspace: Workspace) -> Finding | None:
    for word in arguments:
        if len(word) > limits.FILE_NAME_CHARS_MAX or "/" not in word:
            continue
        path = word.removeprefix("@")
        for home_word in ("${HOME}", "$HOME", "~"):
            if path.startswith(f"{home_word}/"):
                path = f"/root{path.removeprefix(home_word)}"  # any home: only the part below it is judged
        if not path.startswith("/") and workspace.cwd is not None:
            path = f"{workspace.cwd}/{path}"
        if path.startswith("/") and is_credential(posixpath.normpath(path)):
            return _refused(f"touches credentials: {shown(word)}")
    return None


_CHECKS: Final = (_check_removal, _check_device, _check_stop, _check_guard, _check_credentials)


def _refused(reason: str) -> Finding:
    return denied(DecisionCode.COMMAND_REFUSED, reason)
