"""Where the commands of a text run, as far as its ``cd`` say: a relative name means another file there."""

import posixpath
from dataclasses import dataclass, field
from typing import Final

FOLDER_CHARS_MAX: Final = 1_024
"""A longer one is taken for the root, beneath which nothing may be changed."""
HOME_WORDS: Final = ("${HOME}", "$HOME", "~")
HERE: Final = ""
"""Where the text begins, and where a ``cd`` leads that cannot be followed."""


def located(word: str, folder: str) -> str:
    """``word`` as it means the same file from where the text begins."""
    if not folder or word[:1] in ("/", "~", "$"):
        return word
    return f"{folder.rstrip('/')}/{word}"


@dataclass(frozen=True)
class _Place:
    folder: str = HERE
    previous: str = HERE
    pushed: tuple[str, ...] = ()


@dataclass
class Folders:
    """The folder of each shell of a script. A shell begins where the one that starts it stands, and moves alone."""

    scopes: list[int]
    """For each shell the one that starts it, see :attr:`hookbus.gateway.guard.script.Script.scopes`."""
    first: str = HERE
    places: dict[int, _Place] = field(default_factory=dict[int, _Place])

    def of(self, scope: int) -> str:
        """Where the shell ``scope`` stands."""
        return self._place(scope).folder if self.places else self.first

    def move(self, scope: int, name: str, arguments: list[str]) -> None:
        """What ``cd``, ``pushd`` or ``popd`` does."""
        place = self._place(scope)
        pushed = (place.folder, *place.pushed) if name == "pushd" else place.pushed
        words = [word for word in arguments if word == "-" or word[:1] not in ("-", "+")]
        if name == "popd" or (name == "pushd" and not words):
            folder, pushed = (place.pushed[0], place.pushed[1:]) if place.pushed else (HERE, ())
            if name == "pushd":
                pushed = (place.folder, *pushed)
        elif words[:1] == ["-"]:
            folder = place.previous
        else:
            folder = _entered(words[0] if words else "~", place.folder)
        self.places[scope] = _Place(folder, place.folder, pushed[:_PUSHED_MAX])

    def stand(self, scope: int, folder: str) -> None:
        """What a text that the shell itself ran has left it with."""
        self.places[scope] = _Place(folder, self._place(scope).folder, self._place(scope).pushed)

    def _place(self, scope: int) -> _Place:
        while scope >= 0:
            if (place := self.places.get(scope)) is not None:
                return place
            scope = self.scopes[scope] if scope < len(self.scopes) else -1
        return _Place(self.first, self.first)


_PUSHED_MAX: Final = 32


def _entered(word: str, folder: str) -> str:
    for home in HOME_WORDS:
        if word == home or word.startswith(f"{home}/"):
            word = f"~{word.removeprefix(home)}"
    if "$" in word or "*" in word:
        return HERE
    entered = located(word, folder)
    if len(entered) > FOLDER_CHARS_MAX:
        return "/"
    return entered if entered.startswith("~") else posixpath.normpath(entered)
