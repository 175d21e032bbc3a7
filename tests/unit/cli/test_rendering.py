"""What people see: bars, amounts, traces, proofs; and no byte of data that would steer their terminal."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookbus.cli import checkpoints, output, waterfall


@pytest.mark.parametrize(
    ("spent", "held", "limit", "drawn"),
    [
        (0, 0, 100, "░░░░░░░░░░░░░░░░░░░░   0%"),
        (50, 25, 100, "██████████▒▒▒▒▒░░░░░  75%"),
        ("0.05", "0", "0.10", "██████████░░░░░░░░░░  50%"),
        (150, 0, 100, "████████████████████ 150%"),
        (0, 0, 0, "████████████████████ 100%"),
    ],
)
def test_bars(spent: object, held: object, limit: object, drawn: str) -> None:
    assert output.bar(spent, held, limit).plain == drawn


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(1234567, "tokens", "1,234,567"), ("0.1", "usd", "0.10 USD"), ("1234.567891", "usd", "1,234.567891 USD")],
)
def test_amounts_keep_every_place(value: object, unit: str, text: str) -> None:
    assert output.amount(value, unit) == text


def test_data_cannot_steer_the_terminal() -> None:
    assert output.cell("a\x1b[2Jb\nc").plain == "a [2Jb c"
    assert output.cell("[red]x[/red]").plain == "[red]x[/red]"
    assert output.cell(None).plain == "-"


def span(number: int, parent: int | None, start_ms: int, duration_us: int, service: str = "gateway") -> dict[str, Any]:
    return {
        "span_id": f"{number:016x}",
        "parent_span_id": None if parent is None else f"{parent:016x}",
        "service": service,
        "name": f"step {number}",
        "started_at": f"2026-01-01T00:00:00.{start_ms:03d}Z",
        "duration_us": duration_us,
    }


def test_a_waterfall_has_each_span_after_its_parent() -> None:
    spans = [span(3, 2, 2, 10), span(1, 99, 0, 9000), span(4, 1, 1, 5), span(2, 1, 1, 4000), span(5, 5, 0, 1)]
    order = [(depth, one["name"]) for depth, one in waterfall.in_tree_order(spans)]
    assert order == [(0, "step 1"), (1, "step 4"), (1, "step 2"), (2, "step 3"), (0, "step 5")]
    assert waterfall.draw(spans, "t").row_count == len(spans)


def test_spans_that_name_each_other_end() -> None:
    """Two spans, each the other's parent, come from nowhere: neither is drawn, and drawing ends."""
    assert list(waterfall.in_tree_order([span(1, 2, 0, 1), span(2, 1, 0, 1)])) == []


@given(st.floats(0, 1e9, allow_nan=False), st.floats(0, 1e9, allow_nan=False), st.floats(0, 1e9, allow_nan=False))
def test_a_track_stays_on_its_scale(offset_us: float, duration_us: float, total_us: float) -> None:
    drawn = waterfall.track(offset_us, duration_us, total_us)
    assert len(drawn) == waterfall.TRACK_CELLS
    assert drawn.strip()


@pytest.mark.parametrize("note", ["", "a\nb\nc", "origin\n5\nnot base64!\n", "origin\n5\nYWJj\n", "\n1\n" + "A" * 44])
def test_no_checkpoint(note: str) -> None:
    with pytest.raises(ValueError, match="checkpoint"):
        checkpoints.parse_checkpoint(note)
