"""Options of the commands that are not worth the start time of ``argparse``."""

from __future__ import annotations


class UsageError(Exception):
    """The command line is not one the command knows."""


def parse(
    arguments: list[str], *, valued: frozenset[str], flags: frozenset[str]
) -> tuple[list[str], dict[str, str], set[str]]:
    """Split into positionals, options with a value (``--name value`` or ``--name=value``) and flags.

    Names come back without their dashes. Raises :class:`UsageError` for an unknown, repeated or incomplete option.
    """
    positionals: list[str] = []
    values: dict[str, str] = {}
    switched: set[str] = set()
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            positionals.extend(rest)
        elif not argument.startswith("--"):
            positionals.append(argument)
        else:
            name, equals, value = argument[2:].partition("=")
            if name in flags and not equals:
                switched.add(name)
            elif name in valued and name not in values:
                given = value if equals else next(rest, None)
                if given is None:
                    raise UsageError(f"--{name} wants a value")
                values[name] = given
            else:
                raise UsageError(f"--{name} is not an option here, or is given twice")
    return positionals, values, switched
