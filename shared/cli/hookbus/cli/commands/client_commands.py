"""``hook``, ``emit``, ``spool``: listed here for the help; the client answers them before this package is loaded."""

import importlib

import typer


def _client() -> None:
    raise typer.Exit(importlib.import_module("hookbus.client.__main__").main())


def hook() -> None:
    """AGENT: read one hook's JSON on stdin and answer in the agent's own protocol."""
    _client()


def emit() -> None:
    """KIND --agent ID: publish one event."""
    _client()


def spool() -> None:
    """status|flush: the events that wait for the gateway."""
    _client()
