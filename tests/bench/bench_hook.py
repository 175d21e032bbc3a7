"""The hook process: whole wall time against the bare interpreter, in turns."""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from support.measure import print_row
from support.stack import StackFixture

RUNS = 40
PRE_TOOL_USE = {
    "session_id": "bench",
    "transcript_path": "/tmp/bench.jsonl",
    "cwd": "/tmp",
    "hook_event_name": "PreToolUse",
    "tool_name": "Read",
    "tool_input": {"file_path": "/tmp/notes.txt"},
    "tool_use_id": "bench-1",
}


def wall_s(argv: list[str], payload: bytes, environment: dict[str, str]) -> float:
    """One run of a command, from its start to its end."""
    begin_s = time.perf_counter()
    result = subprocess.run(argv, input=payload, env=environment, capture_output=True, check=False)
    elapsed_s = time.perf_counter() - begin_s
    assert result.returncode == 0, result.stderr
    return elapsed_s


async def bench_hook_against_the_bare_interpreter(own_stack: StackFixture) -> None:
    """A PreToolUse hook with a decision from the gateway, against ``python -c pass``."""
    hookbus = str(Path(sys.executable).parent / "hookbus")
    bare: list[float] = []
    hook: list[float] = []
    for number in range(RUNS):
        payload = json.dumps({**PRE_TOOL_USE, "tool_use_id": f"bench-{number}"}).encode()
        bare.append(wall_s([sys.executable, "-c", "pass"], b"", own_stack.environment))
        hook.append(wall_s([hookbus, "hook", "claude-code"], payload, own_stack.environment))
    reference, ours = statistics.median(bare), statistics.median(hook)
    print_row("python -c pass", "-", f"{reference * 1_000:.1f} ms", "-", "1.00")
    print_row("hookbus hook claude-code, decided", "-", f"{ours * 1_000:.1f} ms", "-", f"{ours / reference:.2f}")


async def bench_imports_of_a_hook(own_stack: StackFixture) -> None:
    """Every module that a decided hook imports beside the bare interpreter's own, with its time."""
    payload = json.dumps({**PRE_TOOL_USE, "tool_use_id": "bench-imports"}).encode()

    def modules(arguments: list[str], content: bytes) -> dict[str, int]:
        argv = [sys.executable, "-X", "importtime", *arguments]
        result = subprocess.run(argv, input=content, env=own_stack.environment, capture_output=True, check=True)
        rows = [line.removeprefix("import time:").split("|") for line in result.stderr.decode().splitlines()]
        return {row[2].strip(): int(row[0]) for row in rows if len(row) == 3 and row[0].strip().isdigit()}

    bare = modules(["-c", "pass"], b"")
    # As the command's own script starts the interpreter.
    hook = modules(["-I", "-S", str(Path(sys.executable).parent / "hookbus"), "hook", "claude-code"], payload)
    for name in sorted(hook.keys() - bare.keys(), key=lambda module: -hook[module]):
        print_row(f"import {name}", "-", f"{hook[name] / 1_000:.2f} ms", "-", "-")
