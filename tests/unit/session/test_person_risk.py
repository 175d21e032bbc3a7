"""Evidence against people's sessions: what honest people do stays far below, what a thief does does not."""

from datetime import UTC, datetime, timedelta

import pytest

from hookbus.contracts.networks import network_of
from hookbus.session.domain import person_risk, risk
from hookbus.session.domain.person_risk import Evidence, Facts
from hookbus.session.domain.places import Place, Placed, distance_km, impossible_travel
from hookbus.session.domain.risk import DEFAULT_THRESHOLDS, Level, SignalCode
from hookbus.session.people.clients import family

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
BERLIN = Place("Berlin", 52.52, 13.40)
POTSDAM = Place("Potsdam", 52.40, 13.06)
LISBON = Place("Lisbon", 38.72, -9.14)
SYDNEY = Place("Sydney", -33.87, 151.21)
HEADERS = ("user-agent", "accept", "accept-language", "accept-encoding", "connection")
HOME = Facts("192.0.2.10", "Firefox on Linux", HEADERS, BERLIN)


def opened(facts: Facts = HOME) -> Evidence:
    placed = None if facts.place is None else Placed(facts.place, NOW)
    return Evidence("person-1", "ann", facts, NOW, placed)


def level(*steps: tuple[float, Facts]) -> Level:
    """What a trace of (hours after the login, client) leads to, at its worst."""
    evidence, worst = opened(), 0.0
    for hours, facts in steps:
        evidence = person_risk.weighed(evidence, facts, NOW + timedelta(hours=hours))
        worst = max(worst, evidence.risk)
    return DEFAULT_THRESHOLDS.level(worst)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.10", "192.0.2.0/24"),
        ("::ffff:192.0.2.10", "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
        ("unknown", None),
        ("192.0.2.10/24", None),
        ("", None),
    ],
)
def test_the_network_of_an_address(address: str, network: str | None) -> None:
    assert network_of(address) == network


CAFE = Facts("198.51.100.7", "Firefox on Linux", HEADERS, POTSDAM)
UPGRADED = Facts("192.0.2.10", "Firefox on Linux", (*HEADERS, "sec-gpc"), BERLIN)
BENIGN = {
    "nothing changes": [(1, HOME), (2, HOME)],
    "another address of the network": [(1, Facts("192.0.2.77", "Firefox on Linux", HEADERS, BERLIN))],
    "Wi-Fi change and back": [(1, CAFE), (2, HOME), (3, CAFE)],
    "browser upgrade": [(1, UPGRADED)],
    "upgrade in a cafe": [(1, Facts("198.51.100.7", "Firefox on Linux", (*HEADERS, "sec-gpc"), POTSDAM))],
    "IPv4 and IPv6 in turns": [
        (n, (HOME, Facts("2001:db8:1::", "Firefox on Linux", HEADERS))[n % 2]) for n in range(9)
    ],
    "a flight": [(5, Facts("203.0.113.9", "Firefox on Linux", HEADERS, LISBON))],
    "a train through many networks": [
        (n / 10, Facts(f"198.51.{n}.7", "Firefox on Linux", HEADERS, POTSDAM)) for n in range(60)
    ],
}


@pytest.mark.parametrize("trace", BENIGN.values(), ids=BENIGN.keys())
def test_what_honest_people_do_asks_nothing(trace: list[tuple[float, Facts]]) -> None:
    assert level(*trace) is Level.NONE


def test_a_tunnel_to_another_continent_after_an_upgrade_asks_at_most() -> None:
    tunnelled = Facts("203.0.113.9", "Firefox on Linux", (*HEADERS, "sec-gpc"), SYDNEY)
    assert level((0.1, tunnelled), (0.2, HOME), (0.3, tunnelled)) in (Level.FLAG, Level.ASK)


def test_a_stolen_token_in_another_client_is_asked_for_the_password() -> None:
    thief = Facts("203.0.113.9", "curl", ("user-agent", "accept"))
    assert level((0.1, thief)) is Level.ASK


def test_a_stolen_token_on_another_continent_at_once_ends_the_session() -> None:
    thief = Facts("203.0.113.9", "curl", ("user-agent", "accept"), SYDNEY)
    assert level((0.1, thief)) is Level.KILL


def test_a_token_that_comes_again_ends_the_session_whatever_else() -> None:
    evidence = person_risk.weighed(opened(), HOME, NOW, more=(person_risk.token_reuse(NOW),))
    assert evidence.risk >= risk.KILL_RISK


def test_failed_attempts_before_a_login_are_noted_and_alone_ask_nothing() -> None:
    assert person_risk.login_failures(0, NOW) == ()
    evidence = person_risk.weighed(opened(), HOME, NOW, more=person_risk.login_failures(1_000, NOW))
    assert 0.02 < evidence.risk < risk.FLAG_RISK


def test_refreshing_in_a_loop_is_noted_and_alone_asks_nothing() -> None:
    evidence = opened()
    for number in range(2_000):
        at = NOW + timedelta(minutes=10 * number if number < 10 else 100, seconds=number / 100)
        evidence = person_risk.weighed(evidence, HOME, at, refreshed=True)
    assert [signal.code for signal in risk.standing(evidence.signals)] == [SignalCode.VELOCITY]
    assert evidence.risk < risk.FLAG_RISK


def test_the_client_that_was_vouched_for_is_compared_with_from_then_on() -> None:
    thief = Facts("203.0.113.9", "curl", ("user-agent", "accept"))
    suspected = person_risk.weighed(opened(), thief, NOW)
    confirmed = person_risk.vouched(suspected, HOME, NOW)
    assert confirmed.risk == person_risk.weighed(confirmed, HOME, NOW).risk == risk.score(())
    assert person_risk.weighed(confirmed, thief, NOW).risk >= risk.ASK_RISK, "the owner did not vouch for the thief"
    moved = person_risk.vouched(suspected, thief, NOW)
    assert person_risk.weighed(moved, thief, NOW).risk == risk.score(())
    assert person_risk.weighed(moved, HOME, NOW).risk >= risk.ASK_RISK
    revived = person_risk.vouched(suspected, None, NOW)
    first = person_risk.weighed(revived, HOME, NOW)
    assert first.risk == risk.score(())
    assert person_risk.weighed(first, thief, NOW).risk >= risk.ASK_RISK


def test_distances_and_journeys() -> None:
    assert distance_km(BERLIN, SYDNEY) == pytest.approx(16_100, rel=0.01)
    at = NOW + timedelta(hours=20)
    assert impossible_travel(Placed(BERLIN, NOW), Placed(SYDNEY, at)) is None
    told = impossible_travel(Placed(BERLIN, NOW), Placed(SYDNEY, NOW + timedelta(minutes=5)))
    assert told is not None
    assert "Berlin to Sydney" in told
    assert impossible_travel(Placed(BERLIN, NOW), Placed(POTSDAM, NOW)) is None, "within the error of the file"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0",
        ),
        ("curl/8.1.2", "curl/8.5.0"),
        ("python-httpx/0.27.0", "python-httpx/0.28.1"),
        ("hookbus/1.0", "hookbus/2.0"),
    ],
)
def test_an_upgrade_is_of_the_same_family(one: str, other: str) -> None:
    assert family(one) == family(other) != ""


def test_other_clients_are_of_other_families() -> None:
    agents = [
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
        "curl/8.5.0",
        "python-httpx/0.28.1",
        "",
    ]
    assert len({family(agent) for agent in agents}) == len(agents)


@pytest.mark.parametrize("hostile", ["(" * 256, "Mozilla/5.0 (" + ";" * 240, "\x1b[2J\x00/1", "a" * 256 + "!"])
def test_a_hostile_user_agent_is_only_a_text(hostile: str) -> None:
    named = family(hostile[:256])
    assert len(named) <= 64
    assert named.isprintable()
