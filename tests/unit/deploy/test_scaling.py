"""The scaling document: what it holds is what the script computes, and the arithmetic is right."""

import dataclasses
import math
from pathlib import Path

import pytest
import scaling

from hookbus.platform.bus.streams import HOOKS_BYTES_MAX

PAGE = Path(__file__).parents[3] / "docs" / "operating" / "scaling.md"
HABITS = scaling.Habits(decisions_per_hour=3_600, events_per_hour=7_200, hours_per_day=10, peak=1, share_of_cores=0.5)
"""One decision and two events a second for each agent."""


def test_the_document_holds_the_tables_that_the_script_prints() -> None:
    assert scaling.report() in PAGE.read_text()


def test_the_document_names_every_assumption_with_its_number() -> None:
    page, habits = PAGE.read_text(), scaling.Habits()
    for value, words in (
        (habits.decisions_per_hour, "decisions an hour"),
        (habits.events_per_hour, "other events an hour"),
        (habits.hours_per_day, "hours a day"),
        (habits.peak, "times the mean"),
        (habits.share_of_cores * 100, "% of a core"),
    ):
        assert f"{value:g} {words}".replace(" %", "%") in page


def test_rates_cores_and_storage_follow_from_the_habits() -> None:
    measured = dataclasses.replace(
        scaling.MEASURED,
        decision_ms=dict.fromkeys(scaling.PROCESSES, 2.0),
        event_ms=dict.fromkeys(scaling.PROCESSES, 0.5),
        entry_bytes=1_000,
        message_bytes=1_000,
        backlog_bytes=3_000_000,
    )
    load = scaling.load_of(100, HABITS)
    assert (load.decisions_per_s, load.events_per_s, load.messages_per_s) == (100, 200, 300)
    assert load.entries_per_day == 300 * 36_000
    # 100 x 2 ms + 200 x 0.5 ms of every second, and as much again for room.
    assert math.isclose(scaling.cores_of("budget", load, HABITS, measured), 0.6)
    assert scaling.storage_bytes(load, 7, measured) == 7 * 300 * 36_000 * 1_000
    assert scaling.backlog_s(load, measured) == 10


def test_a_ceiling_counts_what_it_bounds_and_is_divided_once_it_is_met() -> None:
    of_both = scaling.Ceiling("log", 600, "")
    of_decisions = scaling.Ceiling("scope", 600, "", counts_events=False)
    assert scaling.agents_at(of_both, HABITS) == 100
    assert scaling.agents_at(of_decisions, HABITS) == 300
    assert scaling.parts_needed(of_both, scaling.load_of(100, HABITS), HABITS) == 1
    assert scaling.parts_needed(of_both, scaling.load_of(101, HABITS), HABITS) == 2
    assert scaling.parts_needed(of_decisions, scaling.load_of(101, HABITS), HABITS) == 1


def test_the_backlog_is_the_bound_of_the_stream() -> None:
    assert scaling.MEASURED.backlog_bytes == HOOKS_BYTES_MAX


@pytest.mark.parametrize("process", scaling.PROCESSES)
def test_every_process_has_both_figures(process: str) -> None:
    assert scaling.MEASURED.decision_ms[process] > 0
    assert process in scaling.MEASURED.event_ms
