"""``hookbus run``."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from hookbus.cli import output
from hookbus.cli.errors import EXIT_NO, EXIT_USAGE, CliError
from hookbus.cli.runner.child import Child, Sink
from hookbus.cli.runner.folder import OutsideError, open_beneath, path_of
from hookbus.cli.runner.passing import Passing, complain
from hookbus.cli.runner.recording import Recorder
from hookbus.cli.runner.shells import SHELLS, argv_of, filtered, find_shell, may_pass
from hookbus.client import identity
from hookbus.client.breaker import Breaker
from hookbus.client.client import Client, ClientError, SpoolError
from hookbus.client.gateway import Decision, Gateway
from hookbus.client.settings import Settings

TOOL: Final = "shell"
SOURCE: Final = "hookbus/run"
TIMEOUT_DEFAULT_S: Final = 3_600.0
TIMEOUT_MAX_S: Final = 24 * 3_600.0
ARGV_CHARS_MAX: Final = 128 * 1024


def run(
    argv: Annotated[list[str], typer.Argument(metavar="ARGV...", help="The command and its words, after `--`.")],
    *,
    shell: Annotated[str, typer.Option(help=f"One of: {', '.join(SHELLS)}.")] = "bash",
    cwd: Annotated[str, typer.Option(help="The folder to run in, beneath the root.")] = ".",
    root: Annotated[Path, typer.Option(help="The folder it must not leave.")] = Path(),
    agent: Annotated[str | None, typer.Option(help="Agent id; HOOKBUS_AGENT_ID by default.")] = None,
    session: Annotated[str | None, typer.Option(help="Session the command belongs to.")] = None,
    project: Annotated[str | None, typer.Option(help="Project; HOOKBUS_PROJECT by default.")] = None,
    env: Annotated[list[str] | None, typer.Option(help="Name of one more variable to pass on; repeatable.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=TIMEOUT_MAX_S, help="Seconds it may take.")] = (
        TIMEOUT_DEFAULT_S
    ),
) -> None:
    """Run a command under guard: decided first, in a folder it cannot be led out of, its output recorded.

    Its exit code is the command's; 124 after the timeout, 1 where it was refused.
    """
    shell_path = find_shell(shell)
    if shell_path is None:
        known = shell in SHELLS
        words = f"{shell} is not installed" if known else f"the shell is none of: {', '.join(SHELLS)}"
        raise CliError(words, EXIT_USAGE)
    for name in env or []:
        if not may_pass(name):
            raise CliError(f"the variable {name} is never passed on", EXIT_USAGE)
    if sum(map(len, argv)) > ARGV_CHARS_MAX or any("\0" in word for word in argv):
        raise CliError(f"the words are over {ARGV_CHARS_MAX} characters, or hold a NUL", EXIT_USAGE)
    if argv[0].startswith("-"):
        raise CliError("the command begins with a dash, which the shell would take for an option", EXIT_USAGE)
    try:
        folder = open_beneath(root.absolute(), cwd)
    except OutsideError as error:
        raise CliError(f"refused: {error} [path_outside_workspace]", EXIT_NO) from None
    except OSError as error:
        raise CliError(f"cannot open {cwd}: {error.strerror}", EXIT_USAGE) from None
    try:
        one = _Run(
            Settings(os.environ), agent=agent, session=session, project=project, shell=shell, cwd=path_of(folder)
        )
        one.ask(argv)
        raise typer.Exit(one.execute(argv_of(shell_path, shell, argv), folder, env or [], timeout_s=timeout))
    finally:
        os.close(folder)


class _Run:
    """One run: its identity, its decision, its record."""

    def __init__(
        self,
        settings: Settings,
        *,
        agent: str | None,
        session: str | None,
        project: str | None,
        shell: str,
        cwd: str,
    ) -> None:
        if settings.fault is not None:
            raise CliError(settings.fault, EXIT_USAGE)
        self._settings = settings
        self._shell = shell
        self._cwd = cwd
        self._terminal_id = f"run-{identity.event_id()}"
        try:
            self._client = Client(agent_id=agent, project=project)
        except ClientError as error:
            raise CliError(str(error), EXIT_USAGE) from None
        self._agent = agent or settings.agent_id
        self._session = identity.identifier(session) if session else None
        self._project = identity.scope_name(project) if project else settings.project
        if self._agent is None or not identity.is_agent_id(self._agent):
            raise CliError("--agent (or HOOKBUS_AGENT_ID) wants 1-64 of a-z A-Z 0-9 _ -", EXIT_USAGE)

    def ask(self, argv: list[str]) -> None:
        """Have the command decided.

        Raises:
            CliError: it is refused.
        """
        tool_input = {"command": argv, "shell": self._shell}
        try:
            decision = self._client.decide(
                TOOL, tool_input, session=self._session, operation_id=self._terminal_id, cwd=self._cwd
            )
        except (ClientError, SpoolError) as error:
            raise CliError(f"refused, for it cannot be decided: {error}", EXIT_NO) from None
        if decision.degraded and decision.decision == "allow":
            complain(decision.reason)
        if decision.decision == "ask" and self._person_agrees(decision):
            return
        if decision.decision != "allow":
            raise CliError(f"refused: {decision.reason} [{decision.code}]", EXIT_NO)

    def execute(self, argv: list[str], folder: int, named: list[str], *, timeout_s: float) -> int:
        """Run it; its exit code."""
        recorder = Recorder(
            self._settings,
            self._gateway(),
            self._terminal_id,
            self._event,
        )
        child = Child()
        passing = Passing()

        def sink(stream: str, content: bytes) -> None:
            passing.show(stream, content)
            recorder.add(stream, content)

        with child.forwarding():
            try:
                child.start(argv, folder, filtered(os.environ, named))
            except (OSError, ValueError) as error:
                self._settle("failed")
                raise CliError(f"cannot start {argv[0]}: {error}", EXIT_NO) from None
            try:
                self._watch(child, recorder, sink, timeout_s)
            finally:
                # Whatever went wrong here, what the decision held is not held for a command that has ended.
                self._settle("completed" if child.exit_code == 0 else "failed")
        for problem in (passing.problem, recorder.problem):
            if problem is not None:
                complain(problem)
        return child.exit_code

    def _watch(self, child: Child, recorder: Recorder, sink: Sink, timeout_s: float) -> None:
        """Until the command has ended and its record is closed."""
        try:
            recorder.open(self._shell, self._cwd)
            child.run(sink, recorder.tick, timeout_s=timeout_s)
        finally:
            recorder.close(child.exit_code)

    def _gateway(self) -> Gateway:
        endpoint = self._settings.endpoint
        breaker = Breaker(self._settings.data_dir, f"{endpoint.authority}{endpoint.prefix}")
        return Gateway(endpoint, self._settings.api_key, breaker)

    def _person_agrees(self, decision: Decision) -> bool:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        return typer.confirm(f"hookbus: {output.plain(decision.reason)}. Run it?", default=False, err=True)

    def _settle(self, status: str) -> None:
        """Give back what the decision held."""
        data = {"tool": TOOL, "operation_id": self._terminal_id, "status": status}
        try:
            self._client.publish("post-task", data, session=self._session)
        except (ClientError, SpoolError) as error:
            complain(f"the end of the command is not recorded: {error}")

    def _event(self, kind: str, data: dict[str, Any]) -> dict[str, Any]:
        event: dict[str, Any] = {
            "id": identity.event_id(),
            "kind": kind,
            "agent_id": self._agent,
            "source": SOURCE,
            "time": identity.time_text(),
            "traceparent": identity.traceparent(os.environ),
            "data": data,
        }
        optional = {"project": self._project, "session": self._session}
        event.update({name: value for name, value in optional.items() if value})
        return event
