"""What a client is, from what it says of itself and where it calls from."""

from pathlib import Path
from typing import Any, Final, Protocol, cast

import maxminddb
import ua_parser

from hookbus.contracts.people import ClientFacts
from hookbus.session.domain.person_risk import Facts
from hookbus.session.domain.places import Place
from hookbus.session.domain.risk import printable

FAMILY_CHARS_MAX: Final = 64
PLACE_CHARS_MAX: Final = 64


class Places(Protocol):
    """Where addresses are."""

    def locate(self, address: str) -> Place | None:
        """The place of an address, None where it is not known."""
        ...


class Nowhere:
    """No GeoIP file is configured."""

    def locate(self, address: str) -> Place | None:  # noqa: ARG002 - the protocol's parameter
        """Nothing is known."""
        return None


class GeoIpFile:
    """A file in MaxMind's DB format with cities or countries that have a location. Read into the page cache, once."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            OSError, maxminddb.InvalidDatabaseError: it cannot be read; the service does not start without it.
        """
        self._reader = maxminddb.open_database(str(path))  # pyright: ignore[reportUnknownMemberType]  # partly untyped

    def locate(self, address: str) -> Place | None:
        """The place of an address; see :class:`Places`."""
        try:
            found = _mapping(self._reader.get(address))  # pyright: ignore[reportUnknownMemberType,reportUnknownArgumentType]  # partly untyped
        except (ValueError, maxminddb.InvalidDatabaseError):
            return None
        location = _mapping(found.get("location"))
        latitude, longitude = location.get("latitude"), location.get("longitude")
        if not isinstance(latitude, int | float) or not isinstance(longitude, int | float):
            return None
        if not -90 <= latitude <= 90 or not -180 <= longitude <= 180:
            return None
        return Place(_name(found), float(latitude), float(longitude))


def facts_of(client: ClientFacts, places: Places) -> Facts:
    """A client as it is compared."""
    return Facts(client.address, family(client.user_agent), client.header_names, places.locate(client.address))


def family(user_agent: str) -> str:
    """The client without its version, such as ``Firefox on Linux`` or ``curl``; empty for one that names itself not.

    The patterns are matched by Rust's regex engine: in linear time, whatever the text.
    """
    parsed = ua_parser.parse(user_agent)
    name = parsed.user_agent.family if parsed.user_agent else user_agent.partition("/")[0].strip()
    system = f" on {parsed.os.family}" if parsed.os else ""
    return printable(f"{name}{system}")[:FAMILY_CHARS_MAX]


def _name(found: dict[str, Any]) -> str:
    names = [
        str(
            _mapping(_mapping(found.get(part)).get("names")).get("en")
            or _mapping(found.get(part)).get("iso_code")
            or ""
        )
        for part in ("city", "country")
    ]
    return printable(", ".join(name for name in names if name) or "an unnamed place")[:PLACE_CHARS_MAX]


def _mapping(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
