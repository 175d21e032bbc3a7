"""What a number of agents needs: ``python deploy/scaling.py [AGENTS ...]`` prints docs/operating/scaling.md's tables.

Arithmetic alone: the figures are those of docs/performance.md, and stand in ``MEASURED`` by name. Put your own agents'
habits into ``Habits``, or another machine's figures into ``Measured``, and the tables follow.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

SECONDS_PER_HOUR: Final = 3_600
MS_PER_S: Final = 1_000
GIB: Final = 1024**3
AGENTS: Final = (1_000, 10_000, 100_000)
RETENTION_DAYS: Final = (7, 30, 90)
PROCESSES: Final = ("gateway", "session", "budget", "audit", "traces", "nats", "postgres")


@dataclass(frozen=True)
class Habits:
    """What agents do: assumed, not measured."""

    decisions_per_hour: float = 120
    """Tool calls of one agent at work: one every 30 s, each decided before it runs."""
    events_per_hour: float = 200
    """What the same agent sends besides: what became of each call, what each request to its model used, prompts."""
    hours_per_day: float = 10
    """In which agents are at work; storage is counted over them."""
    peak: float = 2
    """The busiest minute against the mean of those hours."""
    share_of_cores: float = 0.6
    """Of a core, how much is planned for: the rest is for bursts and for the death of a neighbour."""


@dataclass(frozen=True)
class Measured:
    """Processor time of each process, and where one of a kind ended. Two shared cores; see docs/performance.md."""

    decision_ms: Mapping[str, float]
    """For one decision and its event, by process: 8 clients, the last row of that table taken at a load of 8."""
    event_ms: Mapping[str, float]
    """For one event sent on its own; in batches it is a fifth to an eighth."""
    entry_bytes: int
    """Of database for one entry of the audit log, indexes included: 6.7 GB held 5,000,000."""
    message_bytes: int
    """Assumed: one event in the bus's store."""
    backlog_bytes: int
    """What the stream HOOKS holds before new events are answered 503."""
    ceilings: Sequence["Ceiling"]


@dataclass(frozen=True)
class Ceiling:
    """Something there is one of, and how much it was seen to do."""

    name: str
    per_s: float
    way_past: str
    counts_events: bool = True
    """Whether events count besides decisions."""


MEASURED: Final = Measured(
    decision_ms={
        "gateway": 1.66,
        "session": 0.79,
        "postgres": 0.86,
        "budget": 0.60,
        "nats": 0.74,
        "audit": 0.40,
        "traces": 0.36,
    },
    event_ms={
        "gateway": 0.650,
        "nats": 0.540,
        "session": 0.310,
        "postgres": 0.285,
        "budget": 0.270,
        "audit": 0.240,
        "traces": 0.0,
    },
    entry_bytes=1_340,
    message_bytes=1_500,
    backlog_bytes=2 * GIB,
    ceilings=(
        Ceiling(
            "scope that every agent is below",
            2_239,
            "limits by team or project, none above all",
            counts_events=False,
        ),
        Ceiling("audit log, every event traced", 7_526, "several logs, each with a part of the agents"),
        Ceiling("audit log, no event traced", 9_899, "several logs, each with a part of the agents"),
        Ceiling("stream, in batches of 500", 10_246, "a stream for each part of the agents"),
    ),
)


@dataclass(frozen=True)
class Load:
    """What comes in."""

    decisions_per_s: float
    events_per_s: float
    entries_per_day: float

    @property
    def messages_per_s(self) -> float:
        """What the bus stores at the peak: a decision is one event as well."""
        return self.decisions_per_s + self.events_per_s


def load_of(agents: int, habits: Habits) -> Load:
    """The rates at the peak, and the entries of a day."""
    per_agent_s = habits.peak / SECONDS_PER_HOUR
    a_day = (habits.decisions_per_hour + habits.events_per_hour) * habits.hours_per_day
    return Load(
        agents * habits.decisions_per_hour * per_agent_s,
        agents * habits.events_per_hour * per_agent_s,
        agents * a_day,
    )


def cores_of(process: str, load: Load, habits: Habits, measured: Measured) -> float:
    """Cores of one kind of process at the peak, with the room that is planned for."""
    busy_ms = load.decisions_per_s * measured.decision_ms[process] + load.events_per_s * measured.event_ms[process]
    return busy_ms / MS_PER_S / habits.share_of_cores


def storage_bytes(load: Load, days: int, measured: Measured) -> float:
    """Of the audit log's database over so many days."""
    return load.entries_per_day * days * measured.entry_bytes


def backlog_s(load: Load, measured: Measured) -> float:
    """How long consumers may be away at the peak before new events are refused."""
    return measured.backlog_bytes / (load.messages_per_s * measured.message_bytes)


def rate_at(ceiling: Ceiling, load: Load) -> float:
    """How much of what this ceiling bounds comes in."""
    return load.decisions_per_s + load.events_per_s * ceiling.counts_events


def parts_needed(ceiling: Ceiling, load: Load, habits: Habits) -> int:
    """How many of it there have to be; 1 while one is enough."""
    return max(1, math.ceil(rate_at(ceiling, load) / (ceiling.per_s * habits.share_of_cores)))


def agents_at(ceiling: Ceiling, habits: Habits) -> int:
    """How many agents one of it can take."""
    return math.floor(ceiling.per_s * habits.share_of_cores / rate_at(ceiling, load_of(1, habits)))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def _size(size_bytes: float) -> str:
    gigabytes = size_bytes / 1e9
    return f"{gigabytes:,.1f} GB" if gigabytes < 1_000 else f"{gigabytes / 1_000:,.1f} TB"


def needs_table(agents: Sequence[int], habits: Habits, measured: Measured) -> str:
    """A column for each number of agents: rates, cores, storage."""
    loads = [load_of(number, habits) for number in agents]
    rows = [
        ["decisions a second, peak", *(f"{load.decisions_per_s:,.0f}" for load in loads)],
        ["other events a second, peak", *(f"{load.events_per_s:,.0f}" for load in loads)],
    ]
    rows += [
        [f"cores: {process}", *(f"{cores_of(process, load, habits, measured):,.1f}" for load in loads)]
        for process in PROCESSES
    ]
    totals = [sum(cores_of(process, load, habits, measured) for process in PROCESSES) for load in loads]
    rows.append(["cores, all", *(f"{total:,.1f}" for total in totals)])
    rows.append(["disk syncs a second of each bus server, at most", *(f"{load.messages_per_s:,.0f}" for load in loads)])
    rows.append(["consumers may be away at the peak, s", *(f"{backlog_s(load, measured):,.0f}" for load in loads)])
    rows.append(["audit log a day", *(_size(storage_bytes(load, 1, measured)) for load in loads)])
    rows += [
        [f"audit log of {days} days", *(_size(storage_bytes(load, days, measured)) for load in loads)]
        for days in RETENTION_DAYS
    ]
    return _table(["agents at work", *(f"{number:,}" for number in agents)], rows)


def ceilings_table(agents: Sequence[int], habits: Habits, measured: Measured) -> str:
    """What there is one of, the lowest first: how many agents it takes, how many of it are needed."""
    loads = [load_of(number, habits) for number in agents]
    rows = [
        [
            ceiling.name,
            f"{ceiling.per_s:,.0f}",
            f"{agents_at(ceiling, habits):,}",
            *(str(parts_needed(ceiling, load, habits)) for load in loads),
            ceiling.way_past,
        ]
        for ceiling in sorted(measured.ceilings, key=lambda one: agents_at(one, habits))
    ]
    head = ["there is one", "seen a second", "agents it takes", *(f"needed for {number:,}" for number in agents)]
    return _table([*head, "the way past it"], rows)


def report(agents: Sequence[int] = AGENTS, habits: Habits | None = None, measured: Measured = MEASURED) -> str:
    """Both tables, as the document holds them."""
    habits = habits or Habits()
    return f"{needs_table(agents, habits, measured)}\n\n{ceilings_table(agents, habits, measured)}\n"


def main() -> None:
    """Print the tables for the numbers given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("agents", type=int, nargs="*", default=AGENTS)
    sys.stdout.write(report(parser.parse_args().agents))


if __name__ == "__main__":
    main()
