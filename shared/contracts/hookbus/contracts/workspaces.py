"""Where sessions began: the value of the ``workspaces`` bucket."""

from typing import Annotated

from pydantic import StringConstraints

from hookbus.contracts import limits
from hookbus.contracts.fields import WireModel


class WorkspaceRecord(WireModel):
    """The folder that a session's first hook named. Written once, by whichever gateway met the session first."""

    cwd: Annotated[str, StringConstraints(min_length=1, max_length=limits.FILE_NAME_CHARS_MAX)]
