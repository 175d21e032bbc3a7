"""Commands, judged by what they would run: the words a shell would hand over, never the text's look.

The rules are few and name what no coding session needs: wiping a file system or a home, writing to a raw device,
handing out credentials, running what was just downloaded, stopping the machine, switching this guard off. Everything
else passes. What a shell itself could not read is asked about, not refused.
"""

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from hookbus.contracts import limits
from hookbus.contracts.decisions import DecisionCode
from hookbus.gateway.guard.effort import EffortSpentError
from hookbus.gateway.guard.findings import Finding, asked, denied, shown
from hookbus.gateway.guard.paths import Workspace, is_credential
from hookbus.gateway.guard.quoting import brace_expanded
from hookbus.gateway.guard.scene import Scene
from hookbus.gateway.guard.script import Command, Script
from hookbus.gateway.guard.shell import read_script

INNER_SHELLS_MAX: Final = 8
"""``sh -c`` inside ``sh -c``: how deep the guard follows."""
COMMAND_CHARS_MAX: Final = limits.EVENT_BYTES_MAX
COMMAND_UNITS: Final = 4
"""Judging one command, its words aside."""
WORD_UNITS: Final = 10
"""Judging a word that may name credentials or a tree."""

SHELLS: Final = frozenset({"sh", "bash", "zsh", "dash", "ksh"})
"""The five whose text is read as they would read it."""
_OTHER_SHELLS: Final = frozenset({"fish", "csh", "tcsh", "pwsh", "powershell", "cmd", "nu", "xonsh"})
_INTERPRETERS: Final = SHELLS | _OTHER_SHELLS | {"python", "python3", "perl", "ruby", "node"}
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


def judge_command(text: str, scene: Scene, *, level: int = 0) -> list[Finding]:
    """The objections to running ``text`` in a shell. Its work is counted against the scene's effort."""
    if len(text) > COMMAND_CHARS_MAX:
        return [_refused(f"a command is over {COMMAND_CHARS_MAX} characters")]
    if "\0" in text:
        return [_refused("a command holds a NUL character")]
    if level >= INNER_SHELLS_MAX:
        return [scene.doubtful("the shells inside one another are too many to read")]
    # What is read must still be judged, which costs about as much again.
    script = read_script(text, steps_max=scene.effort.left // 2)
    judging = _Judging(scene, level)
    findings = judging.findings
    if script.functions and _is_fork_bomb(script):
        findings.append(_refused("the command is a fork bomb"))
    try:
        scene.effort.spend(script.steps)
        for command in script.commands:
            _judge(command, judging)
    except EffortSpentError:
        script.cut = True
    if script.cut:
        findings.append(scene.doubtful("the command is too long to be judged: split it, or put it into a file"))
    if script.fault is not None:
        findings.append(scene.doubtful(f"the command cannot be read as shell text: {script.fault}"))
    return findings


def judge_argv(argv: list[str], scene: Scene) -> list[Finding]:
    """The objections to running ``argv`` without a shell."""
    judging = _Judging(scene)
    try:
        _judge(Command(words=argv), judging)
    except EffortSpentError:
        judging.findings.append(scene.doubtful("the command is too long to be judged"))
    return judging.findings


@dataclass
class _Judging:
    """The commands of one text under judgement. What was found stays, also where the effort is spent halfway."""

    scene: Scene
    level: int = 0
    findings: list[Finding] = field(default_factory=list[Finding])
    downloading: set[int] = field(default_factory=set[int])
    """Pipelines that fetch something."""


def _judge(command: Command, judging: _Judging) -> None:
    scene, findings = judging.scene, judging.findings
    scene.effort.spend(COMMAND_UNITS + len(command.words))
    scene.effort.spend(min(sum(map(_braced_parts, command.words)), scene.effort.left + 1))
    for target in command.writes:
        if _DEVICE.match(target):
            findings.append(_refused(f"writes to the device {shown(target)}"))
        elif "$" not in target and "*" not in target and (finding := scene.judge_path(target, write=True)):
            findings.append(finding)
    words = _unwrapped(command.words)
    if not words:
        return
    name, arguments = posixpath.basename(words[0]), words[1:]
    check = _CHECK_BY_NAME.get(name) or _CHECK_BY_NAME.get(name.partition(".")[0])
    if check is not None and (objection := check(name, arguments, scene)) is not None:
        findings.append(objection)
    if (objection := _check_credentials(arguments, scene)) is not None:
        findings.append(objection)
    if name in _DOWNLOADERS:
        judging.downloading.add(command.pipeline)
    elif command.pipeline in judging.downloading and name in _INTERPRETERS:
        findings.append(asked(DecisionCode.COMMAND_REFUSED, f"runs what it downloads: {shown(name)}"))
    if name in _RUNNERS:
        findings.extend(_inner(name, arguments, scene, judging.level))


def _braced_parts(word: str) -> int:
    """How many words braces may make of one."""
    return word.count(",") if word[:1] == "{" else 0


def _is_fork_bomb(script: Script) -> bool:
    """Whether a function of the script is piped into itself."""
    seen: set[tuple[int, str]] = set()
    for command in script.commands:
        name = command.words[0] if command.words else ""
        if name in script.functions:
            if (command.pipeline, name) in seen:
                return True
            seen.add((command.pipeline, name))
    return False


def _unwrapped(words: list[str]) -> list[str]:
    """Without assignments before it and without the programs that only run another one."""
    at = 0
    while at < len(words):
        if words[at][:1] == "{" and len(expanded := brace_expanded(words[at])) > 1:
            words = [*expanded, *words[at + 1 :]]
            at = 0
        if "=" in words[at] and _ASSIGNMENT.match(words[at]):
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
    return words[at:] if at else words


def _inner(name: str, arguments: list[str], scene: Scene, level: int) -> list[Finding]:
    """What an inner shell would run."""
    if name == "eval":
        return judge_command(" ".join(arguments), scene, level=level + 1)
    if name == "find":
        return _found(arguments, scene, level)
    for option, text in pairwise(arguments):
        if option.startswith("-") and not option.startswith("--") and option.endswith("c"):
            if name in _OTHER_SHELLS:
                return [scene.doubtful(f"{name} is none of the shells that can be read: {', '.join(sorted(SHELLS))}")]
            return judge_command(text, scene, level=level + 1)
    return []


def _found(arguments: list[str], scene: Scene, level: int) -> list[Finding]:
    """What ``find`` would run."""
    for option in ("-exec", "-execdir", "-ok"):
        if option in arguments:
            if level >= INNER_SHELLS_MAX:
                return [scene.doubtful("the commands inside one another are too many to read")]
            judging = _Judging(scene, level + 1)
            _judge(Command(words=arguments[arguments.index(option) + 1 :]), judging)
            return judging.findings
    return []


_RUNNERS: Final = SHELLS | _OTHER_SHELLS | {"eval", "find"}


def _check_removal(name: str, arguments: list[str], scene: Scene) -> Finding | None:
    if name == "rm" and "--no-preserve-root" in arguments:
        return _refused("rm --no-preserve-root")
    if not _changes_tree(name, arguments):
        return None
    for target in (word for word in arguments if not word.startswith("-")):
        if scene.is_plain(target):
            continue
        scene.effort.spend(WORD_UNITS)
        if _is_broad(target, scene.workspace):
            return _refused(f"{name} on all of {shown(target)}")
        if name != "find" and _is_outside(target, scene):
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


def _is_outside(target: str, scene: Scene) -> bool:
    if "$" in target or scene.workspace.cwd is None:
        return False
    finding = scene.judge_path(target.rstrip("*") or ".", write=True)
    return finding is not None and finding.code is DecisionCode.PATH_OUTSIDE_WORKSPACE


def _check_format(name: str, arguments: list[str], _scene: Scene) -> Finding | None:
    return _refused(f"{name} on a device") if any(_DEVICE.match(word) for word in arguments) else None


def _check_device(name: str, arguments: list[str], _scene: Scene) -> Finding | None:
    for word in arguments:
        target = word.partition("of=")[2] if name == "dd" else word
        if _DEVICE.match(target):
            return _refused(f"{name} writes to the device {shown(target)}")
    return None


def _check_stop(name: str, arguments: list[str], _scene: Scene) -> Finding | None:
    if name in _STOPPERS or (name == "systemctl" and _STOPPERS.intersection(arguments[:1])):
        return _refused(f"{name} stops the machine")
    if name in ("init", "telinit") and arguments[:1] in (["0"], ["6"]):
        return _refused(f"{name} {arguments[0]} stops the machine")
    return None


def _check_guard(name: str, arguments: list[str], _scene: Scene) -> Finding | None:
    if arguments[:1] and arguments[0] in ("down", "uninstall"):
        return _refused(f"{name} {arguments[0]} switches the guard off")
    return None


def _check_credentials(arguments: list[str], scene: Scene) -> Finding | None:
    workspace = scene.workspace
    for word in arguments:
        if "/" not in word or len(word) > limits.FILE_NAME_CHARS_MAX or scene.is_plain(word):
            continue
        scene.effort.spend(WORD_UNITS)
        path = word.removeprefix("@")
        for home_word in ("${HOME}", "$HOME", "~"):
            if path.startswith(f"{home_word}/"):
                path = f"/root{path.removeprefix(home_word)}"  # any home: only the part below it is judged
        if not path.startswith("/") and workspace.cwd is not None:
            path = f"{workspace.cwd}/{path}"
        if path.startswith("/") and is_credential(posixpath.normpath(path)):
            return _refused(f"touches credentials: {shown(word)}")
    return None


_Check = Callable[[str, list[str], Scene], Finding | None]
_CHECK_BY_NAME: Final[dict[str, _Check]] = {
    **dict.fromkeys(("rm", "find", *_TREE_CHANGERS), _check_removal),
    **dict.fromkeys(_FORMATTERS, _check_format),
    **dict.fromkeys(("dd", "shred", "tee", "cp"), _check_device),
    **dict.fromkeys((*_STOPPERS, "systemctl", "init", "telinit"), _check_stop),
    "hookbus": _check_guard,
}


def _refused(reason: str) -> Finding:
    return denied(DecisionCode.COMMAND_REFUSED, reason)
