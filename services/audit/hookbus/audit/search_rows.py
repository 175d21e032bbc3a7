"""The search rows beside the entries: what an entry is found by must be what it says, or it could be hidden."""

from collections.abc import Mapping, Sequence
from typing import Final, cast

from pydantic import JsonValue
from pydantic_core import from_json

from hookbus.audit.entries import LookupRow, StoredEntry, search_terms
from hookbus.audit.keys import blind

MISFIT: Final = "the entry's search row is missing, added or changed"
TERMS: Final = ("kind", "outcome", "agent", "session", "project")

_Terms = tuple[str, str | None, bytes | None, bytes | None, bytes | None]
"""Kind, outcome, and the tags of agent, session and project: as a search row has them."""
_Attributes = tuple[str, str, str | None, str | None, str | None, str | None]
"""What these follow from: type, agent, session, project, decision, status."""


class SearchRows:
    """The search rows of a stretch, compared with its entries as these are decrypted."""

    def __init__(self, rows: Sequence[LookupRow], search_key: bytes, pruned_below: int) -> None:
        """``search_key`` blinds names. Entries below ``pruned_below`` are pruned: theirs may be gone already."""
        self.fault: tuple[int, str] | None = None
        """The first index whose search row does not fit, and how it does not."""
        self._search_key = search_key
        self._pruned_below = pruned_below
        self._known: dict[_Attributes, _Terms] = {}
        """The events of a stretch are alike: their terms are made once. At most one for each entry of it."""
        self._rows: dict[int, LookupRow] = {}
        for row in rows:
            if row.index in self._rows:
                self._note(row.index, MISFIT)
            self._rows[row.index] = row

    def compare(self, entry: StoredEntry, body: bytes | None) -> None:
        """Take the search row of an entry. ``body`` is its event; None where its key is gone: what it was found by
        cannot be told any more."""
        row = self._rows.pop(entry.index, None)
        if row is None or row.stream != entry.stream or row.event_id != entry.event_id:
            self._note(entry.index, MISFIT)
        elif body is not None:
            expected = self._terms_of(body)
            found = (row.kind, row.outcome, row.agent, row.session, row.project)
            if found != expected and not self._is_pruned(row.index, found, expected):
                changed = next(term for term, one, other in zip(TERMS, found, expected, strict=True) if one != other)
                self._note(entry.index, f"the entry's search row was changed: its {changed} is not that of the entry")

    def finish(self) -> None:
        """Every entry was compared: a row that is left belongs to none."""
        for index in self._rows:
            self._note(index, MISFIT)

    def _is_pruned(self, index: int, found: _Terms, expected: _Terms) -> bool:
        return index < self._pruned_below and found == (*expected[:2], None, None, None)

    def _terms_of(self, body: bytes) -> _Terms:
        """What an event in the log is found by. It was valid when it was taken, and is read by the same parser."""
        event = cast("Mapping[str, JsonValue]", from_json(body, cache_strings="keys"))
        status = cast("Mapping[str, JsonValue]", event.get("data", {})).get("status")
        attributes = cast(
            "_Attributes",
            (
                event["type"],
                event["subject"],
                event.get("session"),
                event.get("project"),
                event.get("decision"),
                status if isinstance(status, str) else None,
            ),
        )
        terms = self._known.get(attributes)
        if terms is None:
            terms = self._known[attributes] = self._made(attributes)
        return terms

    def _made(self, attributes: _Attributes) -> _Terms:
        event_type, agent, session, project, decision, status = attributes
        terms = search_terms(
            event_type, agent=agent, session=session, project=project, decision=decision, status=status
        )
        tags = (
            self._tag("agent", terms.agent),
            self._tag("session", terms.session),
            self._tag("project", terms.project),
        )
        return (terms.kind, terms.outcome, *tags)

    def _tag(self, field: str, value: str | None) -> bytes | None:
        return None if value is None else blind(self._search_key, field, value)

    def _note(self, index: int, text: str) -> None:
        if self.fault is None or index < self.fault[0]:
            self.fault = (index, text)
