"""What people see: tables and bars on a terminal, JSON where asked for."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

BAR_CELLS: Final = 20
WIDTH_PIPED: Final = 160
"""Columns where the output is no terminal: enough that no table is cut."""
WARN_SHARE: Final = 0.75
FULL_SHARE: Final = 0.95

_STYLE_BY_STATE: Final = {"active": "green", "ended": "dim", "killed": "bold red"}
_STYLE_BY_VERDICT: Final = {"allow": "green", "ask": "yellow", "deny": "bold red"}


def console() -> Console:
    """The console of stdout as it is now (tests replace it)."""
    return Console(
        file=sys.stdout, highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else WIDTH_PIPED
    )


def errors() -> Console:
    """The console of stderr: what is shown while a command works."""
    return Console(file=sys.stderr, highlight=False)


def show(*parts: Any) -> None:
    """Print renderables or markup; data must be escaped or a :class:`rich.text.Text`."""
    target = console()
    for part in parts:
        target.print(part)


def show_json(value: object) -> None:
    """Print a reply as JSON."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def show_line(value: object) -> None:
    """Print one JSON value a line, for streams of them."""
    sys.stdout.write(json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str) + "\n")


def show_text(text: str) -> None:
    """Text of many lines, without the control characters that would steer the terminal."""
    sys.stdout.write("".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text))


def complain(message: str) -> None:
    """One line on stderr."""
    sys.stderr.write(f"hookbus: {plain(message)}\n")


def plain(value: object) -> str:
    """Text as data may bring it, without control characters that would steer the terminal."""
    return "".join(char if char.isprintable() else " " for char in str(value))


def cell(value: object) -> Text:
    """A table cell of untrusted text; a dash where there is none."""
    return Text("-", style="dim") if value in (None, "") else Text(plain(value))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> Table:
    """A table of cells; those that are :class:`Text` already keep their style."""
    made = Table(title=escape(title) if title else None, title_justify="left", header_style="bold", box=None)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(value if isinstance(value, Text) else cell(value) for value in row))
    return made


def state(word: object) -> Text:
    """A session state in its colour."""
    return Text(plain(word), style=_STYLE_BY_STATE.get(str(word), ""))


def verdict(word: object) -> Text:
    """A decision in its colour."""
    return Text(plain(word), style=_STYLE_BY_VERDICT.get(str(word), ""))


def risk(value: object) -> Text:
    """A risk in 0..1 with the colour of what it leads to."""
    number = float(str(value))
    style = "bold red" if number >= 0.9 else "yellow" if number >= 0.5 else "green"
    return Text(f"{number:.2f}", style=style)


def moment(text: object) -> Text:
    """A time as UTC to the second; a dash where there is none."""
    if not text:
        return Text("-", style="dim")
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return Text(plain(text))
    return Text(at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ"))


def amount(value: object, unit: object) -> str:
    """Tokens with thousands separated, USD with as many places as it has, at least two."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return plain(value)
    if unit == "tokens":
        return f"{number:,.0f}"
    exact = f"{number:,f}"
    whole, _, places = exact.partition(".")
    return f"{whole}.{places.rstrip('0').ljust(2, '0')} USD"


def bar(spent: object, held: object, limit: object) -> Text:
    """What is spent (solid) and held (shaded) of a limit, and the share of both."""
    try:
        total, used, reserved = Decimal(str(limit)), Decimal(str(spent)), Decimal(str(held))
    except InvalidOperation:
        return Text("")
    share = float((used + reserved) / total) if total > 0 else 1.0
    solid = min(BAR_CELLS, round(BAR_CELLS * float(used / total))) if total > 0 else BAR_CELLS
    shaded = min(BAR_CELLS - solid, round(BAR_CELLS * float(reserved / total))) if total > 0 else 0
    style = "red" if share >= FULL_SHARE else "yellow" if share >= WARN_SHARE else "green"
    drawn = Text("█" * solid, style=style)
    drawn.append("▒" * shaded, style=style)
    drawn.append("░" * (BAR_CELLS - solid - shaded), style="dim")
    return drawn.append(f" {share:4.0%}")
