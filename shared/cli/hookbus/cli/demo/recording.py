"""The recording: what Claude Code sent to its hooks, what was used, and when a person stepped in."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Final, cast

FILE: Final = "recording.jsonl"

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Expectation:
    """What a hook must answer: ``none`` is no objection. ``or_code`` names a denial that is as good."""

    decision: str
    code: str | None = None
    or_code: str | None = None


@dataclass(frozen=True)
class Step:
    """One line of the recording. ``do`` is hook, usage, say, raise_budget, kill or revive."""

    do: str
    payload: JsonObject = field(default_factory=dict)
    group: str | None = None
    expect: Expectation | None = None

    @property
    def event(self) -> str:
        """The hook event's name."""
        return str(self.payload.get("hook_event_name", ""))

    @property
    def summary(self) -> str:
        """What the tool was to do, in a few words."""
        given = cast("JsonObject", self.payload.get("tool_input") or {})
        for name in ("command", "file_path", "pattern"):
            if name in given:
                return f"{self.payload.get('tool_name')} {given[name]}"
        return str(self.payload.get("tool_name") or self.event)


def load(placeholders: Mapping[str, str]) -> list[Step]:
    """The steps, each ``{{name}}`` replaced.

    Raises:
        KeyError: a placeholder is not given.
    """
    text = (resources.files("hookbus.cli.demo") / FILE).read_text(encoding="utf-8")
    return [_step(_filled(json.loads(line), placeholders)) for line in text.splitlines() if line]


def _step(line: JsonObject) -> Step:
    given = line.get("expect")
    expect = Expectation(given["decision"], given.get("code"), given.get("or")) if given else None
    payload = line.get("payload") or line.get("data") or {k: v for k, v in line.items() if k not in {"do", "group"}}
    return Step(line["do"], payload, line.get("group"), expect)


def _filled(value: Any, placeholders: Mapping[str, str]) -> Any:
    """The value with placeholders replaced after parsing, so that no path can break the JSON."""
    if isinstance(value, dict):
        items = cast("JsonObject", value).items()
        return {name: _filled(inner, placeholders) for name, inner in items}
    if isinstance(value, list):
        return [_filled(inner, placeholders) for inner in cast("list[Any]", value)]
    if isinstance(value, str) and "{{" in value:
        before, _, rest = value.partition("{{")
        name, _, after = rest.partition("}}")
        return before + placeholders[name] + str(_filled(after, placeholders))
    return value
