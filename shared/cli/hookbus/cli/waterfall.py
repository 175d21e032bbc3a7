"""One trace as a waterfall: who worked when, within whom."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from hookbus.cli import output

TRACK_CELLS: Final = 48
INDENT_MAX: Final = 12
NAME_CHARS_MAX: Final = 48
_STYLES: Final = ("cyan", "green", "magenta", "blue", "yellow")

Span = Mapping[str, Any]


def in_tree_order(spans: Sequence[Span]) -> Iterator[tuple[int, Span]]:
    """Depth and span, each after its parent, siblings by start. A span whose parent is not there is a root."""
    known = {span["span_id"] for span in spans}
    children: dict[str | None, list[Span]] = {}
    for span in sorted(spans, key=_start):
        parent = span.get("parent_span_id")
        children.setdefault(parent if parent in known and parent != span["span_id"] else None, []).append(span)
    stack = [(0, span) for span in reversed(children.get(None, []))]
    seen: set[str] = set()
    while stack:
        depth, span = stack.pop()
        if span["span_id"] in seen:
            continue
        seen.add(span["span_id"])
        yield depth, span
        stack.extend((depth + 1, child) for child in reversed(children.get(span["span_id"], [])))


def draw(spans: Sequence[Span], title: str) -> Table:
    """The waterfall, every bar on one scale."""
    table = output.table(title, (), ())
    for column in ("service", "step"):
        table.add_column(column, no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("ms", justify="right", no_wrap=True)
    if not spans:
        return table
    begin = min(_start(span) for span in spans)
    total_us = max((_start(span) - begin).total_seconds() * 1e6 + int(span["duration_us"]) for span in spans)
    services = list(dict.fromkeys(str(span["service"]) for span in sorted(spans, key=_start)))
    for depth, span in in_tree_order(spans):
        style = _STYLES[services.index(str(span["service"])) % len(_STYLES)]
        failed = span.get("status") == "error"
        offset_us = (_start(span) - begin).total_seconds() * 1e6
        name = f"{'  ' * min(depth, INDENT_MAX)}{output.plain(span['name'])}"[:NAME_CHARS_MAX]
        table.add_row(
            Text(output.plain(span["service"]), style=style),
            Text(name, style="bold red" if failed else ""),
            Text(track(offset_us, float(span["duration_us"]), total_us), style="red" if failed else style),
            Text(f"{int(span['duration_us']) / 1000:.2f}"),
        )
    return table


def track(offset_us: float, duration_us: float, total_us: float, cells: int = TRACK_CELLS) -> str:
    """A bar at its place on the common scale; at least one mark, never past the end."""
    if total_us <= 0:
        return "▏".ljust(cells)
    start = min(cells - 1, int(cells * min(1.0, offset_us / total_us)))
    length = max(1, min(cells - start, round(cells * min(1.0, duration_us / total_us))))
    mark = "█" * length if duration_us * cells >= total_us / 2 else "▏"
    return f"{' ' * start}{mark}".ljust(cells)


def _start(span: Span) -> datetime:
    return datetime.fromisoformat(str(span["started_at"]))
