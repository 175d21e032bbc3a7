"""Commands, judged by what they would run: the words a shell would hand over, never the text's look.

The rules are few and name what no coding session needs: wiping a file system or a home, writing to a raw device,
handing out credentials, running what was just downloaded, stopping the machine, switching this guard off. Everything
else passes. What a shell itself could not read is asked about, not refused.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from hookbus.contracts import limits
from hookbus.contracts.decisions import DecisionCode
from hookbus.gateway.guard.checks import Setting, check_program, refused
from hookbus.gateway.guard.credentials import check_credentials
from hookbus.gateway.guard.effort import EffortSpentError
from hookbus.gateway.guard.findings import Finding, asked, shown
from hookbus.gateway.guard.folders import Folders, located
from hookbus.gateway.guard.inner import OTHER_SHELLS, RUNNERS, SHELLS, found_commands, inner_of
from hookbus.gateway.guard.scene import Scene
from hookbus.gateway.guard.script import Command, Script
from hookbus.gateway.guard.shell import read_script
from hookbus.gateway.guard.wrappers import program, unwrapped

INNER_SHELLS_MAX: Final = 8
"""``sh -c`` inside ``sh -c``: how deep the guard follows."""
COMMAND_CHARS_MAX: Final = limits.EVENT_BYTES_MAX
COMMAND_UNITS: Final = 5
"""Judging one command, its words aside."""
TEXT_UNITS: Final = 8
"""Judging one text inside, its commands aside."""

_INTERPRETERS: Final = SHELLS | OTHER_SHELLS | {"python", "python3", "perl", "ruby", "node"}
_DOWNLOADERS: Final = frozenset({"curl", "wget", "fetch"})
_SPEAKERS: Final = frozenset({"echo", "printf"})
_SPEAKER_OPTIONS: Final = frozenset({"-n", "-e", "-E"})
_MOVERS: Final = frozenset({"cd", "pushd", "popd"})


def judge_command(text: str, scene: Scene) -> list[Finding]:
    """The objections to running ``text`` in a shell. Its work is counted against the scene's effort."""
    judging = _Judging(scene)
    _judge_text(text, judging)
    return judging.findings


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
    script: Script = field(default_factory=Script)
    folders: Folders = field(default_factory=lambda: Folders([]))
    outer: "tuple[Command, _Judging] | None" = None
    """What runs the text: its standard input is the text's."""
    beneath: bool = False
    """Its commands are run on all that lies beneath their words."""
    last: Setting | None = None
    """Of the command before."""
    findings: list[Finding] = field(default_factory=list[Finding])
    downloading: set[int] = field(default_factory=set[int])
    """Pipelines that fetch something."""
    heard: set[str] = field(default_factory=set[str])
    """Texts for inner shells that are judged already."""

    def setting(self, folder: str) -> Setting:
        """The setting of a command that runs in ``folder``."""
        if self.last is None or self.last.folder != folder:
            self.last = Setting(self.scene, folder, self.beneath)
        return self.last

    def within(self, command: Command, folder: str) -> "_Judging":
        """Judging what ``command`` of this text runs in ``folder``. Objections to it are objections to this text."""
        inner = _Judging(self.scene, self.level + 1, folders=Folders([], folder), outer=(command, self))
        inner.beneath = self.beneath
        inner.findings = self.findings
        return inner

    @cached_property
    def speaking(self) -> list[Command]:
        """The commands of the text that give out a text of theirs."""
        return [command for command in self.script.commands if command.documents or _spoken(command)]


def _judge_text(text: str, judging: _Judging) -> None:
    scene, findings = judging.scene, judging.findings
    if len(text) > COMMAND_CHARS_MAX:
        findings.append(refused(f"a command is over {COMMAND_CHARS_MAX} characters"))
        return
    if "\0" in text:
        findings.append(refused("a command holds a NUL character"))
        return
    if judging.level >= INNER_SHELLS_MAX:
        findings.append(scene.doubtful("the shells inside one another are too many to read"))
        return
    # What is read must still be judged, which costs about as much again.
    script = judging.script = read_script(text, steps_max=scene.effort.left // 2)
    judging.folders.scopes = script.scopes
    if script.functions and _is_fork_bomb(script):
        findings.append(refused("the command is a fork bomb"))
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


def _judge(command: Command, judging: _Judging) -> None:
    scene, findings = judging.scene, judging.findings
    scene.effort.spend(min(COMMAND_UNITS + len(command.words), scene.effort.left + 1))
    bare = unwrapped(command.words)
    setting = judging.setting(judging.folders.of(command.scope))
    for target in command.writes:
        if setting.is_device(target):
            findings.append(refused(f"writes to the device {shown(target)}"))
        elif "$" not in target and "*" not in target and not setting.goes_down(target):
            finding = scene.judge_path(setting.located(target), write=True)
            if finding is not None:
                findings.append(finding)
    if command.reads or command.writes:
        objection = check_credentials("", [*command.reads, *command.writes], setting)
        if objection is not None:
            findings.append(objection)
    if bare.folder is not None:
        setting = judging.setting(located(bare.folder, setting.folder))
    if bare.text is not None:
        _judge_text(bare.text, judging.within(command, setting.folder))
    if bare.words:
        _judge_program(command, bare.words, judging, setting)


def _judge_program(command: Command, words: list[str], judging: _Judging, setting: Setting) -> None:
    findings = judging.findings
    name, arguments = program(words[0]), words[1:]
    for check in (check_program, check_credentials):
        if (objection := check(name, arguments, setting)) is not None:
            findings.append(objection)
    if name in _DOWNLOADERS:
        judging.downloading.add(command.pipeline)
    elif command.pipeline in judging.downloading and name in _INTERPRETERS:
        findings.append(asked(DecisionCode.COMMAND_REFUSED, f"runs what it downloads: {shown(name)}"))
    if name in _MOVERS:
        judging.folders.move(command.scope, name, arguments)
    elif name == "find":
        _judge_found(arguments, command, judging, setting)
    elif name in RUNNERS:
        _judge_inner(name, arguments, command, judging, setting)


def _judge_found(arguments: list[str], finding: Command, judging: _Judging, setting: Setting) -> None:
    """What ``find`` would run."""
    inner = judging.within(finding, setting.folder)
    inner.beneath = True
    for command in found_commands(arguments):
        if inner.level >= INNER_SHELLS_MAX:
            judging.findings.append(setting.scene.doubtful("the commands inside one another are too many to read"))
            return
        _judge(command, inner)


def _judge_inner(name: str, arguments: list[str], command: Command, judging: _Judging, setting: Setting) -> None:
    """What an inner shell would run."""
    judging.scene.effort.spend(COMMAND_UNITS)
    inner = inner_of(name, arguments)
    texts = [] if inner.text is None else [inner.text]
    if inner.fed:
        texts += _fed(command, judging)
    if inner.filled:
        judging.scene.effort.spend(len(judging.speaking))
        texts += [text for other in judging.speaking if other.scope != command.scope for text in _said(other)]
    judging.scene.effort.spend(min(len(texts), judging.scene.effort.left + 1))
    for text in texts:
        if text in judging.heard:
            continue
        if name in OTHER_SHELLS:
            reason = f"{name} is none of the shells that can be read: {', '.join(sorted(SHELLS))}"
            judging.findings.append(judging.scene.doubtful(reason))
            return
        judging.heard.add(text)
        judging.scene.effort.spend(TEXT_UNITS)
        within = judging.within(command, setting.folder)
        _judge_text(text, within)
        if name == "eval":
            judging.folders.stand(command.scope, within.folders.of(0))


def _fed(command: Command, judging: _Judging) -> list[str]:
    """What the standard input of ``command`` may give it.

    A here-document may feed it through a group or a function, so each of the script counts where it has none.
    """
    texts = list(command.documents)
    judging.scene.effort.spend(len(judging.speaking))
    for other in judging.speaking:
        if other.pipeline == command.pipeline:
            texts += _said(other)
        elif not command.documents:
            texts += other.documents
    return texts if command.documents or judging.outer is None else texts + _fed(*judging.outer)


def _said(command: Command) -> list[str]:
    """What ``command`` gives out, as far as its words and here-documents tell."""
    name, *words = _spoken(command) or [""]
    lines = [word.replace("\\n", "\n") for word in words]
    together = " ".join(line for line in lines if line not in _SPEAKER_OPTIONS)
    return [*command.documents, together, *(lines if name == "printf" else ())]


def _spoken(command: Command) -> list[str]:
    """The words of a command that gives them out, its name first."""
    words = unwrapped(command.words).words
    return [program(words[0]), *words[1:]] if words and program(words[0]) in _SPEAKERS else []


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
