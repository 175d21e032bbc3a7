"""Where on earth an address is, and whether a person can have come from there."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Final

EARTH_RADIUS_KM: Final = 6_371.0
TRAVEL_KM_MIN: Final = 500.0
"""Shorter distances are within the error of a GeoIP file."""
TRAVEL_KM_PER_H_MAX: Final = 1_000.0
"""An airliner, door to door faster than any."""
TRAVEL_S_MIN: Final = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """A place of a GeoIP file, in degrees."""

    name: str
    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Placed:
    """Where somebody was, and when."""

    place: Place
    at: datetime


def distance_km(one: Place, other: Place) -> float:
    """The great-circle distance."""
    lat_one, lat_other = math.radians(one.latitude), math.radians(other.latitude)
    d_lat, d_lon = lat_other - lat_one, math.radians(other.longitude - one.longitude)
    half = math.sin(d_lat / 2) ** 2 + math.cos(lat_one) * math.cos(lat_other) * math.sin(d_lon / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, half)))


def impossible_travel(before: Placed, after: Placed) -> str | None:
    """What cannot have been travelled, in words; None for what can."""
    distance = distance_km(before.place, after.place)
    passed_s = max(TRAVEL_S_MIN, (after.at - before.at).total_seconds())
    if distance < TRAVEL_KM_MIN or distance / (passed_s / 3_600) <= TRAVEL_KM_PER_H_MAX:
        return None
    return f"{before.place.name} to {after.place.name}, {distance:.0f} km, in {passed_s / 60:.0f} minutes"
