"""A settings file's text with hookbus's hooks in it, and without them. Pure: text in, text out."""

from typing import Final

from hookbus.cli.install import jsonpath, jsontext
from hookbus.cli.install.agents import Options, document_defaults, entries, is_ours

EMPTY: Final = "{}\n"


def with_hooks(text: str | None, agent: str, options: Options) -> str:
    """The text with the hooks, which take the place of older ones.

    Raises:
        JsonTextError: the text is not a settings file.
    """
    text = without_hooks(text, agent) if text is not None else EMPTY
    if not text.strip():
        text = EMPTY
    for key, value in document_defaults(agent).items():
        root = jsonpath.root(text)
        if key not in root.keys:
            text = jsontext.append(text, root, value, key=key)
    text = jsonpath.ensure(text, ("hooks",), {})
    for event, entry in entries(agent, options).items():
        text = jsonpath.ensure(text, ("hooks", event), [])
        text = jsontext.append(text, jsonpath.at(text, ("hooks", event)), entry)
    return text


def without_hooks(text: str, agent: str) -> str:
    """The text without any hook of hookbus.

    Raises:
        JsonTextError: the text is not a settings file.
    """
    if not text.strip():
        return text
    hooks = jsonpath.root(text).member("hooks")
    given = text
    for event in list(hooks.keys) if hooks is not None else []:
        text = _without_event(text, agent, event)
    return text if text == given else jsonpath.drop_empty(text, "hooks")


def _without_event(text: str, agent: str, event: str) -> str:
    index = 0
    while True:
        groups = jsonpath.at(text, ("hooks", event))
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
        if not jsonpath.at(text, ("hooks", event)).items:
            hooks = jsonpath.at(text, ("hooks",))
            return jsontext.remove(text, hooks, hooks.keys.index(event))
    return text
