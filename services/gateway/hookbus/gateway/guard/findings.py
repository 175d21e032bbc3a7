"""What the guard says about one operation."""

from dataclasses import dataclass

from hookbus.contracts.decisions import DecisionCode, Verdict


@dataclass(frozen=True)
class Finding:
    """An objection: deny it, or ask the person."""

    verdict: Verdict
    code: DecisionCode
    reason: str


SHOWN_CHARS_MAX = 200
"""A path or word is cut to this length in a reason."""


def shown(text: str) -> str:
    """``text`` as it may stand in a reason: bounded, printable, on one line."""
    printable = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:SHOWN_CHARS_MAX])
    return printable if len(text) <= SHOWN_CHARS_MAX else f"{printable}..."


def denied(code: DecisionCode, reason: str) -> Finding:
    """A deny."""
    return Finding(Verdict.DENY, code, reason)


def asked(code: DecisionCode, reason: str) -> Finding:
    """An ask."""
    return Finding(Verdict.ASK, code, reason)


def gravest(findings: list[Finding]) -> Finding | None:
    """The first deny, else the first ask, else None."""
    return next((finding for finding in findings if finding.verdict is Verdict.DENY), findings[0] if findings else None)
