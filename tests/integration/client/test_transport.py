"""The small HTTP client against servers that answer correctly, oddly, slowly or not at all."""

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hookbus.client import transport
from hookbus.client.transport import Endpoint, TransportError, post

Talk = Callable[["RawServer", socket.socket], None]


class RawServer:
    """Accepts connections one by one and lets ``talk`` have each."""

    def __init__(self, talk: Talk, host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, 0), family=family)
        self.port = self.listener.getsockname()[1]
        self.received = b""
        self._talk = talk
        self._context = context
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        try:
            connection, _ = self.listener.accept()
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                connection.settimeout(10)
                self._talk(self, connection)
        except OSError:
            return

    def request(self, connection: Any):
        """Read one whole request."""
        while b"\r\n\r\n" not in self.received:
            self.received += connection.recv(65_536)
        head, _, body = self.received.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < length:
            part = connection.recv(65_536)
            body += part
            self.received += part

    def __enter__(self):
        return self

    def __exit__(self, *_: object):
        self.listener.close()
        self._thread.join(5)


def answering(*parts: bytes, pause_s: Any = 0.0):
    def talk(server: RawServer, connection: socket.socket):
        server.request(connection)
        for part in parts:
            connection.sendall(part)
            time.sleep(pause_s)

    return talk


def ask(server: Any, *, within_s: Any = 5.0, body: Any = b"{}", scheme: Any = "http", host: str = "127.0.0.1"):
    shown = f"[{host}]" if ":" in host else host
    endpoint = Endpoint(f"{scheme}://{shown}:{server.port}/base")
    return post(endpoint, "/p", body, {"x-y": "z"}, deadline=time.monotonic() + within_s)


@pytest.mark.parametrize(
    ("parts", "body"),
    [
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",), b"hello"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n", b"3\r\nllo\r\n0\r\n\r\n"), b"hello"),
        ((b"HTTP/1.0 200 OK\r\n\r\nhel", b"lo"), b"hello"),
        ((b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",), b"hello"),
        ((b"HT", b"TP/1.1 20", b"0\r\ncontent-LENGTH:5\r", b"\n\r\nhe", b"llo"), b"hello"),
        ((b"HTTP/1.1 204 No Content\r\n\r\n",), b""),
    ],
)
def test_answers_in_every_framing(parts: tuple[bytes, ...], body: Any) -> None:
    with RawServer(answering(*parts, pause_s=0.01)) as server:
        assert ask(server).body == body
    assert server.received.startswith(b"POST /base/p HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"\r\nx-y: z\r\n" in server.received


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nheXX0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 40_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (transport.BODY_BYTES_MAX + 1),
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
)
def test_answers_that_are_none(part: bytes) -> None:
    with RawServer(answering(part)) as server, pytest.raises(TransportError):
        ask(server)


@pytest.mark.parametrize(
    "part",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000,
    ],
)
def test_an_answer_beyond_its_bound_is_not_read_to_the_end(part: bytes) -> None:
    with RawServer(answering(part)) as server, pytest.raises(TransportError, match="too long"):
        ask(server)


def test_an_answer_in_drops_ends_at_the_deadline_and_not_at_the_last_drop() -> None:
    drops = [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", *([b"x"] * 100)]
    with RawServer(answering(*drops, pause_s=0.05)) as server:
        started = time.monotonic()
        with pytest.raises(TransportError, match="deadline"):
            ask(server, within_s=0.4)
        assert time.monotonic() - started < 1.5


def test_a_request_nobody_reads_ends_at_the_deadline() -> None:
    def talk(server: RawServer, connection: socket.socket):
        del server, connection
        time.sleep(1.5)

    with RawServer(talk) as server, pytest.raises(TransportError, match="deadline"):
        ask(server, within_s=0.3, body=b"x" * 20_000_000)


def test_a_refusal_before_the_whole_body_was_read_is_understood() -> None:
    def talk(server: RawServer, connection: socket.socket):
        del server
        connection.recv(1_000)
        connection.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65_536):
            pass

    with RawServer(talk) as server:
        assert ask(server, body=b"x" * 3_000_000).status == 413


def test_a_refusal_is_understood_from_a_server_that_hangs_up_on_the_body() -> None:
    """It closes with most of the body unread, so that the rest cannot be sent: its answer was there before."""

    def talk(server: RawServer, connection: socket.socket):
        del server
        connection.recv(1_000)
        connection.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        connection.close()

    with RawServer(talk) as server:
        assert ask(server, body=b"x" * 30_000_000).status == 413


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(TransportError, match="refused"):
        post(Endpoint(f"http://127.0.0.1:{port}"), "/", b"", {}, deadline=time.monotonic() + 5)


def test_a_host_that_does_not_exist() -> None:
    with pytest.raises(TransportError):
        post(Endpoint("http://no-such-host.invalid"), "/", b"", {}, deadline=time.monotonic() + 5)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_names_and_addresses(host: str) -> None:
    with RawServer(answering(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")) as server:
        assert ask(server, host=host).status == 202


def test_ipv6() -> None:
    try:
        server = RawServer(answering(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"), host="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    with server:
        assert ask(server, host="::1").status == 202


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_https_trusts_who_is_trusted_and_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "1",
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost",
            ),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    answer = answering(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
    with RawServer(answer, context=context) as server, pytest.raises(TransportError, match=r"(?i)verify"):
        ask(server, scheme="https", host="localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with RawServer(answer, context=context) as server:
        assert ask(server, scheme="https", host="localhost").status == 202
