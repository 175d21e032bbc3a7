"""Signs of injection in what an agent sends: cross-site scripting, SQL and template injection.

A tag names the form of an attack on the program that reads the text, not the language it is written in: markup,
statements and templates are an agent's daily work and carry no tag. Text is looked at as it stands and never changed.
One pass of an automaton over all expressions at once, in time linear in the text whatever it holds.
"""

from typing import Any, Final

import re2  # pyright: ignore[reportMissingTypeStubs]  # the wheel carries none
from pydantic import JsonValue

from hookbus.gateway.guard.effort import Effort
from hookbus.gateway.guard.structure import VALUES_PER_UNIT

AUTOMATON_BYTES_MAX: Final = 32 * 1024 * 1024
"""Memory for its states. Built as texts come; full, it is emptied and built again."""
SEPARATOR: Final = "\0"
"""Between two texts, so that none reaches into the next."""

_CALL: Final = r"(?:alert|prompt|confirm|eval|msgbox)\s*[(`]"
_EXPRESSIONS: Final = (
    ("xss", rf"<script[^<>\x00]*>\s*(?:window\.|top\.|self\.)?{_CALL}"),
    ("xss", r"<script[^<>\x00]*>[^<>\x00]*document\.cookie"),
    ("xss", rf"<[a-z][^<>\x00]*[\s/\"']on[a-z]+\s*=\s*[\"'`]?\s*(?:javascript:)?\s*(?:window\.|top\.|self\.)?{_CALL}"),
    ("xss", r"<[a-z][^<>\x00]*[\s/\"']on[a-z]+\s*=[^<>\x00]*document\.cookie"),
    ("xss", rf"javascript:\s*(?:window\.|top\.|self\.)?{_CALL}"),
    ("xss", r"data:text/html[;,][^\s\x00]*<script"),
    ("sqli", r"'\s*\)?\s*(?:or|and|\|\|)\s*\(?\s*'?\d+'?\s*(?:=|<|>|like)\s*'?\d+"),
    ("sqli", r"'\s*(?:or|and)\s*'[a-z]*'\s*=\s*'[a-z]*"),
    (
        "sqli",
        r"'\s*\)?\s*;\s*(?:drop|delete|update|insert|alter|truncate|shutdown)\b[^'\"\n\x00]*--\s*(?:['\"\n\x00]|$)",
    ),
    (
        "sqli",
        r"'\s*\)?\s*union\s+(?:all\s+)?select\s+(?:null|\d+|@@[a-z]+|[a-z]+\(\))\s*(?:,[^;'\"\n\x00]*)?(?:--|#|/\*)",
    ),
    (
        "sqli",
        r"'\s*\)?\s*(?:or|and|;|\|\|)\s*\(?\s*(?:select\s+)?(?:pg_sleep|sleep|benchmark|dbms_pipe\.receive_message)\s*\(",
    ),
    ("sqli", r"'?\s*;\s*waitfor\s+delay\s+'"),
    ("sqli", r"\bexec(?:ute)?\s+(?:master\.+)?xp_cmdshell\b"),
    ("sqli", r"\badmin'\s*(?:--|#|/\*)"),
    ("ssti", r"(?:\{\{|\$\{|#\{|<%=|\*\{|@\()\s*\d+\s*\*\s*['\"]?\d+['\"]?\s*(?:\}|%>|\))"),
    ("ssti", r"\{[{%][^{}\x00]*__(?:class|mro|base|bases|subclasses|globals|builtins|import|init)__"),
    ("ssti", r"\{\{\s*(?:config\.items\(\)|self\.environment|request\.application|_self\.env)"),
    ("ssti", r"[$#*]\{[^{}\x00]*(?:\.getClass\(\)|T\s*\(\s*java\.|getRuntime\(\)|ProcessBuilder|jndi:)"),
    ("ssti", r"freemarker\.template\.utility\.Execute"),
    ("ssti", r"\$\{\s*jndi:"),
)


def _compiled() -> Any:
    options = re2.Options()
    options.case_sensitive = False
    options.max_mem = AUTOMATON_BYTES_MAX
    options.log_errors = False
    automaton: Any = re2.Set.SearchSet(options)  # pyright: ignore[reportUnknownMemberType]  # untyped
    for _, expression in _EXPRESSIONS:
        automaton.Add(expression)
    automaton.Compile()
    return automaton


_AUTOMATON: Final = _compiled()


def tags_of(text: str) -> tuple[str, ...]:
    """What ``text`` shows signs of, in alphabetical order: ``sqli``, ``ssti``, ``xss``."""
    found: list[int] = _AUTOMATON.Match(text.encode("utf-8", "replace")) or []
    return tuple(sorted({_EXPRESSIONS[index][0] for index in found}))


def texts_of(data: JsonValue, effort: Effort) -> str:
    """Every text in ``data``, however deep, apart from one another.

    Raises:
        EffortSpentError: there are too many values.
    """
    texts: list[str] = []
    stack: list[JsonValue] = [data]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            texts.append(node)
        elif isinstance(node, dict):
            effort.spend(1 + len(node) // VALUES_PER_UNIT)
            stack.extend(node.values())
        elif isinstance(node, list):
            effort.spend(1 + len(node) // VALUES_PER_UNIT)
            stack.extend(node)
    return SEPARATOR.join(texts)
