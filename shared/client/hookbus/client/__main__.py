"""The ``hookbus`` command: ``hook``, ``emit`` and ``spool`` are answered here, the rest by hookbus-cli."""

from __future__ import annotations

import os
import sys

EXIT_USAGE = 2


def main() -> int:
    """Run the command that ``sys.argv`` names; returns its exit code."""
    command, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    if command == "hook":
        from hookbus.client import hook

        # An agent waits for this process to be gone: there is nothing here that a teardown would have to save.
        os._exit(hook.run(arguments, os.environ))
    if command == "emit":
        from hookbus.client import emit

        return emit.run(arguments, os.environ)
    if command == "spool":
        from hookbus.client import spool_command

        return spool_command.run(arguments, os.environ)
    return _command_line()


def _command_line() -> int:
    import importlib

    try:
        command_line = importlib.import_module("hookbus.cli.main")
    except ModuleNotFoundError as error:
        if error.name not in {"hookbus.cli", "hookbus.cli.main"}:
            raise
        sys.stderr.write(
            "hookbus: only hook, emit and spool are installed here; the other commands come with hookbus-cli\n"
        )
        return EXIT_USAGE
    code = command_line.main()
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
