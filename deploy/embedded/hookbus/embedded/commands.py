"""``up``, ``down`` and ``status`` as the command line calls them: they print and return an exit code."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TextIO

from hookbus.embedded import state
from hookbus.embedded.files import make_folder
from hookbus.embedded.layout import Layout, layout_of
from hookbus.embedded.probes import http_status, tcp_answers, wait_until
from hookbus.embedded.runner import HOST_DEFAULT, CannotStartError, run

EXIT_DONE: Final = 0
EXIT_NO: Final = 1

DOWN_TIMEOUT_S: Final = 90.0
"""Every process in turn may use its own grace."""


def up(
    data_dir: Path | None = None,
    *,
    host: str = HOST_DEFAULT,
    port: int | None = None,
    detach: bool = False,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run the stack: in the foreground until Ctrl-C, or in the background once it is ready.

    Args:
        data_dir: the data folder; by default ``HOOKBUS_DATA_DIR`` or ``~/.hookbus``.
        host: where the gateway listens.
        port: its port; 0 for any free one, None for 8787.
        detach: return when the stack is ready and leave it running.
        environment: of a detached stack, in place of this process's own.

    Returns:
        0 when it ran and was stopped (or, detached, is ready); 1 when it could not start, said on stderr.

    """
    layout = layout_of(data_dir)
    if detach:
        return _up_detached(layout, host=host, port=port, environment=environment)
    try:
        run(layout, host=host, port=port, on_ready=lambda url: _say_up(layout, url, foreground=True))
    except CannotStartError as error:
        _say(f"hookbus: {error}", sys.stderr)
        return EXIT_NO
    _say("hookbus has stopped; the data stays.")
    return EXIT_DONE


def down(data_dir: Path | None = None) -> int:
    """Stop the stack of a data folder and wait until it is gone.

    Returns:
        0 when nothing runs any more, 1 when it did not stop in time.

    """
    layout = layout_of(data_dir)
    running = run_of(layout)
    if running is None:
        _say(f"hookbus does not run on {layout.root}")
        return EXIT_DONE
    os.kill(running.pid, signal.SIGTERM)
    gone = wait_until(
        lambda: not state.is_same_process(running.pid, running.started_at), timeout_s=DOWN_TIMEOUT_S, interval_s=0.1
    )
    if not gone:
        _say(f"hookbus: process {running.pid} did not stop within {DOWN_TIMEOUT_S:.0f} s", sys.stderr)
        return EXIT_NO
    _say("hookbus has stopped; the data stays.")
    return EXIT_DONE


def status(data_dir: Path | None = None, *, as_json: bool = False) -> int:
    """Print each process, whether it is ready, for how long it runs and how often it was started again.

    Returns:
        0 when all are ready, 1 otherwise.

    """
    report = status_report(data_dir)
    if as_json:
        _say(json.dumps(report, indent=2))
    else:
        _print_report(report)
    return EXIT_DONE if report["ready"] else EXIT_NO


def status_report(data_dir: Path | None = None) -> dict[str, Any]:
    """What ``status --json`` prints: ``running``, ``ready``, ``url``, ``data_dir``, ``pid`` and ``processes``, each
    with ``name``, ``pid``, ``ready``, ``uptime_s`` and ``restarts``."""
    layout = layout_of(data_dir)
    running = run_of(layout)
    processes = [_process_report(one) for one in running.processes] if running is not None else []
    return {
        "running": running is not None,
        "ready": running is not None and running.ready and all(one["ready"] for one in processes),
        "url": running.url if running is not None else None,
        "data_dir": str(layout.root),
        "pid": running.pid if running is not None else None,
        "processes": processes,
    }


def run_of(layout: Layout) -> state.RunState | None:
    """The run file, if the supervisor that wrote it is alive and holds the folder."""
    found = state.load(layout.run_file)
    if found is None or not state.is_same_process(found.pid, found.started_at):
        return None
    return found if state.is_locked(layout.lock_file) else None


def _process_report(process: state.ProcessState) -> dict[str, Any]:
    alive = state.is_same_process(process.pid, process.started_at)
    if not alive:
        is_ready = False
    elif process.probe_path is None:
        is_ready = tcp_answers(process.probe_host, process.probe_port)
    else:
        is_ready = http_status(process.probe_host, process.probe_port, process.probe_path) == 200
    return {
        "name": process.name,
        "pid": process.pid if alive else None,
        "ready": is_ready,
        "uptime_s": round(time.time() - process.started_at, 1) if alive and process.started_at else 0.0,
        "restarts": process.restarts,
    }


def _print_report(report: dict[str, Any]) -> None:
    if not report["running"]:
        _say(f"hookbus does not run on {report['data_dir']}")
        return
    _say(f"hookbus at {report['url']} on {report['data_dir']} (process {report['pid']})")
    _say(f"{'process':<10} {'pid':>8} {'ready':<6} {'uptime':>10} {'restarts':>9}")
    for one in report["processes"]:
        ready = "yes" if one["ready"] else "no"
        _say(f"{one['name']:<10} {one['pid'] or '-':>8} {ready:<6} {one['uptime_s']:>8.0f} s {one['restarts']:>9}")


def _up_detached(layout: Layout, *, host: str, port: int | None, environment: Mapping[str, str] | None = None) -> int:
    make_folder(layout.root)
    log_file = layout.log_file("supervisor")
    make_folder(layout.logs)
    reading, writing = os.pipe()
    order = {"root": str(layout.root), "host": host, "port": port, "report_descriptor": writing}
    with log_file.open("ab") as output:
        child = subprocess.Popen(  # noqa: S603 - this Python, this package
            [sys.executable, "-P", "-m", "hookbus.embedded", json.dumps(order)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(writing,),
            start_new_session=True,
            env=environment,
            cwd="/",
        )
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as report:
        try:
            line = report.readline()
        except KeyboardInterrupt:
            child.terminate()
            child.wait()
            return EXIT_NO
    outcome: dict[str, str] = json.loads(line) if line else {}
    if "url" in outcome:
        _say_up(layout, outcome["url"], foreground=False)
        return EXIT_DONE
    child.wait()
    _say(f"hookbus: {outcome.get('error', f'the supervisor ended; its log is {log_file}')}", sys.stderr)
    return EXIT_NO


def _say_up(layout: Layout, url: str, *, foreground: bool) -> None:
    _say(f"hookbus is up at {url} (console at {url}/console, API docs at {url}/docs)")
    _say(f"data: {layout.root}; API key and address for clients: {layout.client_file}; admin: {layout.admin_file}")
    if foreground:
        _say("Ctrl-C stops it.")
    else:
        _say(f"stop it with: hookbus down --data-dir {layout.root}")


def _say(text: str, stream: TextIO | None = None) -> None:
    print(text, file=stream or sys.stdout, flush=True)
