"""The input guard over 64 KiB of hostile text: its time at two sizes, and its slowest calls, in thread time.

Thread time leaves out what other processes take, so that the figures speak of the guard. The reference is one pass of
the interpreter over the same text (``str.translate``), measured in turns.
"""

import time
from collections.abc import Callable

from pydantic import JsonValue
from support.guard_corpus import CWD, judge_operation
from support.measure import percentile_ms, print_row

from hookbus.gateway.guard.effort import Effort, GuardMode
from hookbus.gateway.guard.structure import check_structure

PAYLOAD_CHARS = 64 * 1024
CALLS = 300
PIECES = {
    "`sh|`": "sh|",
    "`$(`": "$(",
    "`a;`": "a;",
    "words": "eval ",
    "`rm -rf ./a`": "rm -rf ./a ",
    "here-documents": "cat <<A\n$(a)\nA\n",
    "quotes": '"a',
    "`${`": "${",
    "escapes": "$'\\x72'",
    "functions": "a(){ a|a& };a\n",
    "redirections": "> ./a ",
    "arithmetic": "((1<<2))",
    "braces": "{a,b}{a,b} ",
    "fed shells": "echo a|sh;",
    "folders": "cd /x;rm -rf b;",
    "one word": "/",
}
TABLE = {ord(letter): None for letter in "\t\r\n"}


def shell(text: str) -> dict[str, JsonValue]:
    return {"tool": "Bash", "tool_input": {"command": text}, "cwd": f"/{CWD}"}


def written(text: str) -> dict[str, JsonValue]:
    return {"tool": "Write", "tool_input": {"file_path": "a", "content": text}, "cwd": f"/{CWD}"}


def listed(value: JsonValue, chars: int) -> Callable[[int], dict[str, JsonValue]]:
    def operation(size: int) -> dict[str, JsonValue]:
        values: list[JsonValue] = [value] * (size // chars)
        return {"tool": "x", "tool_input": {"a": values, "paths": values}, "cwd": f"/{CWD}"}

    return operation


def operations() -> dict[str, Callable[[int], dict[str, JsonValue]]]:
    made: dict[str, Callable[[int], dict[str, JsonValue]]] = {
        name: lambda size, piece=piece: shell(piece * (size // len(piece))) for name, piece in PIECES.items()
    }
    made["half tags"] = lambda size: written("<a on= '; drop {{ ${ 'union select " * (size // 36))
    made["no ASCII"] = lambda size: written("\u2028\u00e9" * (size // 2))
    made["a path"] = lambda size: {"tool": "Read", "tool_input": {"path": "%2e%2e/" * (min(size, 4_000) // 7)}}
    made["objects"] = listed({}, 3)
    made["paths"] = listed("./.a", 7)
    return made


def times_s(data: dict[str, JsonValue], mode: GuardMode, calls: int) -> list[float]:
    """What the guard took of this thread, call by call."""
    found: list[float] = []
    for _ in range(calls):
        began_s = time.thread_time()
        check_structure(data, Effort.of(mode) if mode is GuardMode.STRICT else None)
        judge_operation(data, (), mode)
        found.append(time.thread_time() - began_s)
    return found


def bench_the_guard_over_hostile_payloads() -> None:
    """One row for each kind of payload; the last one for all calls together."""
    print_row("64 KiB of", "strict p50", "strict p99", "strict, 4 times the size", "lenient p50", "lenient, 4 times")
    print_row("---", "---", "---", "---", "---", "---")
    every: list[float] = []
    for name, operation in operations().items():
        strict = times_s(operation(PAYLOAD_CHARS), GuardMode.STRICT, CALLS)
        quarter = times_s(operation(PAYLOAD_CHARS // 4), GuardMode.STRICT, CALLS // 4)
        lenient = times_s(operation(PAYLOAD_CHARS), GuardMode.LENIENT, CALLS // 30)
        small = times_s(operation(PAYLOAD_CHARS // 4), GuardMode.LENIENT, CALLS // 30)
        every += strict
        print_row(
            name,
            f"{percentile_ms(strict, 0.5):.3f} ms",
            f"{percentile_ms(strict, 0.99):.3f} ms",
            f"{percentile_ms(strict, 0.5) / percentile_ms(quarter, 0.5):.1f}",
            f"{percentile_ms(lenient, 0.5):.1f} ms",
            f"{percentile_ms(lenient, 0.5) / percentile_ms(small, 0.5):.1f}",
        )
    text = "a b\n" * (PAYLOAD_CHARS // 4)
    reference: list[float] = []
    for _ in range(CALLS):
        began_s = time.thread_time()
        text.translate(TABLE)
        reference.append(time.thread_time() - began_s)
    all_p99_ms, one_pass_ms = percentile_ms(every, 0.99), percentile_ms(reference, 0.5)
    print_row("all", f"{percentile_ms(every, 0.5):.3f} ms", f"{all_p99_ms:.3f} ms", "", "", "")
    print_row("p99 of all / one pass over the text", "", f"{all_p99_ms / one_pass_ms:.2f}", "", "", "")
