"""What every rule needs to judge one operation: where it may work, how doubt is settled, and the work that is left."""

import re
from dataclasses import dataclass
from typing import Final

from hookbus.contracts.decisions import DecisionCode
from hookbus.gateway.guard.effort import Effort, GuardMode
from hookbus.gateway.guard.findings import Finding, asked, denied
from hookbus.gateway.guard.paths import Workspace, judge_path

PATH_UNITS: Final = 20
"""Judging one path that is not plain."""
PATH_CHARS_PER_UNIT: Final = 4

_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_/.+=,@-]*+").fullmatch
_AS_ITSELF: Final = re.compile(r"/(?:etc|proc)(?:/|$)|/\.|\\|:", re.IGNORECASE).search
"""A folder in which even a plain relative path may name a secret, or that is not POSIX."""


@dataclass(frozen=True)
class Scene:
    """One operation under judgement."""

    workspace: Workspace
    mode: GuardMode
    effort: Effort
    plain_inside: bool
    """A plain relative path lies beneath the working folder and names nothing special."""

    @classmethod
    def of(cls, workspace: Workspace, mode: GuardMode, effort: Effort | None = None) -> "Scene":
        """The scene of an operation in ``workspace``."""
        cwd = workspace.cwd
        plain_inside = cwd is not None and _is_ordinary(cwd, workspace)
        return cls(workspace, mode, effort or Effort.of(mode), plain_inside)

    def is_ordinary(self, folder: str) -> bool:
        """Whether a normalised absolute folder lies in the workspace and a plain name beneath it is nothing special."""
        return _is_ordinary(folder, self.workspace)

    def is_plain(self, path: str) -> bool:
        """Whether ``path`` goes down from the working folder by ordinary names alone: most paths do."""
        return self.plain_inside and _PLAIN(path) is not None and "/." not in path and len(path) <= PLAIN_CHARS_MAX

    def judge_path(self, path: str, *, write: bool) -> Finding | None:
        """See :func:`hookbus.gateway.guard.paths.judge_path`.

        Raises:
            EffortSpentError: too many paths.
        """
        if self.is_plain(path):
            return None
        self.effort.spend(PATH_UNITS + len(path) // PATH_CHARS_PER_UNIT)
        return judge_path(path, self.workspace, write=write)

    def doubtful(self, reason: str) -> Finding:
        """What cannot be judged: refused in strict mode, otherwise asked about."""
        settle = denied if self.mode is GuardMode.STRICT else asked
        return settle(DecisionCode.COMMAND_REFUSED, reason)


def _is_ordinary(folder: str, workspace: Workspace) -> bool:
    return not _AS_ITSELF(folder) and workspace.holds(folder)


PLAIN_CHARS_MAX: Final = 1_024
"""A longer path is judged in full."""
