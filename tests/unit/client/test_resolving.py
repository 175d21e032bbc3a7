"""A host name is looked up within the deadline of the call: the resolver's own limits are longer than agents wait."""

import _socket
import threading
import time

import pytest

from hookbus.client.transport import Endpoint, TransportError, post

SLACK_S = 5.0


def test_a_resolver_that_hangs_costs_no_more_than_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hang(*_: object) -> list[object]:
        released.wait(30)
        return []

    monkeypatch.setattr(_socket, "getaddrinfo", hang)
    begin = time.monotonic()
    with pytest.raises(TransportError, match="within the deadline"):
        post(Endpoint("http://gateway.example"), "/", b"", {}, deadline=begin + 0.2)
    elapsed_s = time.monotonic() - begin
    released.set()
    assert elapsed_s < SLACK_S


def test_a_name_that_nobody_knows_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> object:
        raise _socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(_socket, "getaddrinfo", unknown)
    with pytest.raises(TransportError, match="not known"):
        post(Endpoint("http://gateway.example"), "/", b"", {}, deadline=time.monotonic() + 5)
