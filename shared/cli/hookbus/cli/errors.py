"""What a command ends with."""

from typing import Final

EXIT_DONE: Final = 0
EXIT_NO: Final = 1
"""The answer is no, or a check failed."""
EXIT_USAGE: Final = 2
EXIT_UNREACHABLE: Final = 3


class CliError(Exception):
    """Ends the command: ``message`` goes to stderr as one line, ``code`` is the exit code."""

    def __init__(self, message: str, code: int = EXIT_NO) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class NotFoundError(CliError):
    """The gateway knows no such thing."""
