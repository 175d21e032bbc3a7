"""Values of a settings file's text by their path, and a text in which one is there."""

from typing import Any

from hookbus.cli.install import jsontext
from hookbus.cli.install.jsontext import JsonTextError, Node


def root(text: str) -> Node:
    """The object that the file holds.

    Raises:
        JsonTextError: it holds none.
    """
    found = jsontext.parse(text)
    if not isinstance(found.value, dict):
        raise JsonTextError("the file does not hold a JSON object")
    return found


def at(text: str, path: tuple[str, ...]) -> Node:
    """What stands under a path of keys.

    Raises:
        JsonTextError: nothing does.
    """
    node = root(text)
    for key in path:
        found = node.member(key)
        if found is None:
            raise JsonTextError(f"{'.'.join(path)} is missing")
        node = found
    return node


def ensure(text: str, path: tuple[str, ...], empty: dict[str, Any] | list[Any]) -> str:
    """The text with a container of the kind of ``empty`` under a path.

    Raises:
        JsonTextError: something else stands there.
    """
    parent = at(text, path[:-1])
    known = parent.member(path[-1])
    if known is None:
        return jsontext.append(text, parent, empty, key=path[-1])
    if not isinstance(known.value, type(empty)):
        raise JsonTextError(f"{'.'.join(path)} is not {'an object' if isinstance(empty, dict) else 'a list'}")
    return text


def drop_empty(text: str, key: str) -> str:
    """The text without an object of the root in which nothing stands, no comment either."""
    whole = root(text)
    node = whole.member(key)
    if node is None or not jsontext.is_bare(text, node) or not isinstance(node.value, dict):
        return text
    return jsontext.remove(text, whole, whole.keys.index(key))
