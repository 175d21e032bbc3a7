"""``hookbus``: every command, and the one place where an error becomes a line and an exit code."""

import os
import sys
from typing import Final

import typer

from hookbus.cli import output
from hookbus.cli.commands import audit, budget, client_commands, deadletter, key, session, stack, trace, user
from hookbus.cli.demo.command import demo
from hookbus.cli.doctor.command import doctor
from hookbus.cli.errors import EXIT_DONE, CliError
from hookbus.cli.install import command as install_command
from hookbus.cli.mcp_server.command import mcp
from hookbus.cli.runner.command import run

EXIT_INTERRUPTED: Final = 130

app = typer.Typer(
    name="hookbus",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Budgets, sessions and an audit log for coding agents. Exit codes: 0 done, 1 the answer is no or a check "
    "failed, 2 wrong usage, 3 the gateway cannot be reached.",
)
app.command()(stack.up)
app.command()(stack.down)
app.command()(stack.status)
app.command()(stack.backup)
app.command()(stack.restore)
app.command()(demo)
app.command()(install_command.install)
app.command()(install_command.uninstall)
app.command()(install_command.plugin)
app.command()(doctor)
app.command()(mcp)
app.command()(run)
for pass_through in (client_commands.hook, client_commands.emit, client_commands.spool):
    app.command(add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})(
        pass_through
    )
app.add_typer(budget.app, name="budget")
app.add_typer(session.app, name="session")
app.add_typer(key.app, name="key")
app.add_typer(user.app, name="user")
app.add_typer(audit.app, name="audit")
app.add_typer(deadletter.app, name="deadletter")
app.command()(trace.trace)


def main() -> int:
    """Run the command that ``sys.argv`` names; returns its exit code."""
    try:
        app()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else EXIT_DONE
    except CliError as error:
        output.complain(error.message)
        return error.code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has seen enough; without this the interpreter complains once more while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
