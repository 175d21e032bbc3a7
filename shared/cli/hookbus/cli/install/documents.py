"""A settings file's text with hookbus's hooks in it, and without them. Pure: text in, text out."""

from typing import Any, Final

import tomlkit
from tomlkit.exceptions import TOMLKitError

from hookbus.cli.install import jsontext
from hookbus.cli.install.agents import Options, document_defaults, entries, is_ours
from hookbus.cli.install.jsontext import JsonTextError, Node

EMPTY: Final = "{}\n"
OTEL: Final = "otel"


def with_hooks(text: str | None, agent: str, options: Options, variables: dict[str, str]) -> tuple[str, list[str]]:
    """The text with the hooks and variables, and what others had set and was left alone.

    Raises:
        JsonTextError: the text is not a settings file.
    """
    text = without_hooks(text, agent, variables) if text is not None else EMPTY
    if not text.strip():
        text = EMPTY
    for key, value in document_defaults(agent).items():
        root = _root(text)
        if key not in root.keys:
            text = jsontext.append(text, root, value, key=key)
    text = _ensure(text, ("hooks",), {})
    for event, entry in entries(agent, options).items():
        text = _ensure(text, ("hooks", event), [])
        text = jsontext.append(text, _at(text, ("hooks", event)), entry)
    left: list[str] = []
    for name, value in variables.items():
        text = _ensure(text, ("env",), {})
        known = _at(text, ("env",)).member(name)
        if known is None:
            text = jsontext.append(text, _at(text, ("env",)), value, key=name)
        elif known.value != value:
            left.append(name)
    return text, left


def without_hooks(text: str, agent: str, variables: dict[str, str]) -> str:
    """The text without any hook of hookbus, and without the variables that still have the value it gave them.

    Raises:
        JsonTextError: the text is not a settings file.
    """
    if not text.strip():
        return text
    hooks = _root(text).member("hooks")
    given = text
    for event in list(hooks.keys) if hooks is not None else []:
        text = _without_event(text, agent, event)
    if text != given:
        text = _drop_empty(text, "hooks")
    for name, value in variables.items():
        env = _root(text).member("env")
        known = env.member(name) if env is not None and isinstance(env.value, dict) else None
        if env is not None and known is not None and known.value == value:
            text = jsontext.remove(text, env, env.keys.index(name))
            text = _drop_empty(text, "env")
    return text


def with_telemetry(text: str, url: str, agent_id: str | None) -> tuple[str, bool]:
    """Codex's ``config.toml`` with its log export to the gateway, and whether it was free to be set.

    Raises:
        JsonTextError: the text is not TOML.
    """
    document = _toml(text)
    if OTEL in document:
        return text, _is_our_otel(document[OTEL])
    headers = tomlkit.inline_table()
    headers["Authorization"] = "Bearer ${HOOKBUS_API_KEY}"
    if agent_id is not None:
        headers["x-hookbus-agent"] = agent_id
    http = tomlkit.inline_table()
    http["endpoint"] = f"{url}/otlp/v1/logs"
    http["protocol"] = "binary"
    http["headers"] = headers
    exporter = tomlkit.inline_table()
    exporter["otlp-http"] = http
    table = tomlkit.table()
    table["exporter"] = exporter
    end = jsontext.newline(text)
    joint = "" if not text or text.endswith(end * 2) else end if text.endswith(end) else end * 2
    added = tomlkit.document()
    added[OTEL] = table
    table_text = tomlkit.dumps(added).replace("\n", end)
    return f"{text}{joint}{table_text}", True


def without_telemetry(text: str) -> str:
    """Codex's ``config.toml`` without that export; one that somebody else set stays.

    Raises:
        JsonTextError: the text is not TOML.
    """
    document = _toml(text)
    if OTEL not in document or not _is_our_otel(document[OTEL]):
        return text
    document.remove(OTEL)
    return tomlkit.dumps(document)


def _toml(text: str) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(text)
    except TOMLKitError as error:
        raise JsonTextError(f"not TOML: {error}") from None


def _is_our_otel(table: object) -> bool:
    return "/otlp/v1/logs" in str(table) and "HOOKBUS_API_KEY" in str(table)


def _root(text: str) -> Node:
    root = jsontext.parse(text)
    if not isinstance(root.value, dict):
        raise JsonTextError("the file does not hold a JSON object")
    return root


def _at(text: str, path: tuple[str, ...]) -> Node:
    node = _root(text)
    for key in path:
        found = node.member(key)
        if found is None:
            raise JsonTextError(f"{'.'.join(path)} is missing")
        node = found
    return node


def _ensure(text: str, path: tuple[str, ...], empty: dict[str, Any] | list[Any]) -> str:
    parent = _at(text, path[:-1])
    known = parent.member(path[-1])
    if known is None:
        return jsontext.append(text, parent, empty, key=path[-1])
    if not isinstance(known.value, type(empty)):
        raise JsonTextError(f"{'.'.join(path)} is not {'an object' if isinstance(empty, dict) else 'a list'}")
    return text


def _without_event(text: str, agent: str, event: str) -> str:
    index = 0
    while True:
        groups = _at(text, ("hooks", event))
        if index >= len(groups.items):
            break
        group = groups.items[index]
        handlers = group.member("hooks")
        if handlers is None or not isinstance(handlers.value, list):
            ours = [0] if is_ours(agent, group.value) else []
            whole = bool(ours)
        else:
            ours = [place for place, handler in enumerate(handlers.items) if is_ours(agent, handler.value)]
            whole = bool(ours) and len(ours) == len(handlers.items)
        if whole:
            text = jsontext.remove(text, groups, index)
        elif ours and handlers is not None:
            text = jsontext.remove(text, handlers, ours[0])
        else:
            index += 1
            continue
        if not _at(text, ("hooks", event)).items:
            hooks = _at(text, ("hooks",))
            return jsontext.remove(text, hooks, hooks.keys.index(event))
    return text


def _drop_empty(text: str, key: str) -> str:
    root = _root(text)
    node = root.member(key)
    if node is None or not jsontext.is_bare(text, node) or not isinstance(node.value, dict):
        return text
    return jsontext.remove(text, root, root.keys.index(key))
