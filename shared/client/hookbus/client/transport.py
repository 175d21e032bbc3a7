"""One HTTP/1.1 exchange over a socket, inside a total deadline and with every size bounded.

Plain ``http`` needs the C socket alone; ``ssl`` is imported only for ``https``. ``http.client`` would cost more than
the rest of a hook together and bounds each read, not the whole exchange.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Mapping
    from typing import Protocol

    class _Channel(Protocol):
        def settimeout(self, value: float | None, /) -> None: ...
        def sendall(self, data: bytes, /) -> None: ...
        def recv(self, bufsize: int, /) -> bytes: ...
        def close(self) -> None: ...


HEAD_BYTES_MAX = 16 * 1024
BODY_BYTES_MAX = 1024 * 1024
RECEIVE_BYTES = 64 * 1024
INTERIM_ANSWERS_MAX = 4
CHUNK_LINE_BYTES_MAX = 256
PORT_BY_SCHEME = {"http": 80, "https": 443}
_HOST_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
_HOST6_ALPHABET = "abcdefABCDEF0123456789:.%"


class EndpointError(ValueError):
    """The address is not one the client can speak to. The text never repeats the address: it may hold a secret."""


class TransportError(Exception):
    """No whole answer came. The request may have been carried out all the same."""


class Endpoint:
    """Where the gateway is: ``http[s]://host[:port][/prefix]``."""

    __slots__ = ("authority", "host", "port", "prefix", "scheme")

    def __init__(self, url: str) -> None:
        scheme, separator, rest = url.strip().partition("://")
        self.scheme = scheme.lower()
        if not separator or self.scheme not in PORT_BY_SCHEME:
            raise EndpointError("it starts with neither http:// nor https://")
        authority, slash, path = rest.partition("/")
        self.prefix = (slash + path).rstrip("/")
        if any(mark in rest for mark in "@?#\\") or not rest.isascii() or not rest.isprintable() or " " in rest:
            raise EndpointError("user, query, fragment and unusual characters have no place in it")
        if authority.startswith("["):
            host, bracket, port = authority[1:].partition("]")
            legal = bool(bracket) and not host.strip(_HOST6_ALPHABET) and (not port or port[0] == ":")
            port = port[1:]
        else:
            host, _, port = authority.partition(":")
            legal = not host.strip(_HOST_ALPHABET)
        if not host or not legal:
            raise EndpointError("its host is not a host name or an address")
        if port and not (port.isdigit() and len(port) <= 5 and 0 < int(port) < 65_536):
            raise EndpointError("its port is not a port")
        self.host = host
        self.port = int(port) if port else PORT_BY_SCHEME[self.scheme]
        self.authority = authority


class Reply:
    """An HTTP answer: status, headers by lower-case name, whole body."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


def post(  # one exchange: where, what, until when
    endpoint: Endpoint,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    deadline: float,
    clock: Callable[[], float] = time.monotonic,
    method: str = "POST",
) -> Reply:
    """POST ``body`` and return the answer. ``deadline`` is a moment of ``clock``, seconds.

    Raises :class:`TransportError` when no whole answer has come by then, or when it breaks HTTP or a bound.
    """
    head = [f"{method} {endpoint.prefix}{path} HTTP/1.1", f"host: {endpoint.authority}", f"content-length: {len(body)}"]
    head += [f"{name}: {value}" for name, value in headers.items()]
    head += ["connection: close", "", ""]
    request = "\r\n".join(head).encode("latin-1") + body
    try:
        channel = _connect(endpoint, deadline, clock)
        try:
            reader = _Reader(channel, deadline, clock)
            reader.limit()
            try:
                channel.sendall(request)
            except (BrokenPipeError, ConnectionResetError):
                # A server that refuses a body early answers and hangs up before it has read all of it.
                return reader.reply()
            return reader.reply()
        finally:
            channel.close()
    except TimeoutError:
        raise TransportError("no answer within the deadline") from None
    except OSError as error:
        raise TransportError(error.strerror or str(error) or type(error).__name__) from None


def _connect(endpoint: Endpoint, deadline: float, clock: Callable[[], float]) -> _Channel:
    import _socket

    failure: OSError = OSError("the host has no address")
    for family, address in _addresses(endpoint, deadline, clock):
        channel = _socket.socket(family, _socket.SOCK_STREAM)
        try:
            channel.settimeout(_left(deadline, clock))
            channel.connect(address)
        except OSError as error:
            channel.close()
            failure = error
        else:
            return _with_tls(channel, endpoint.host) if endpoint.scheme == "https" else channel
    raise failure


def _addresses(endpoint: Endpoint, deadline: float, clock: Callable[[], float]) -> list[tuple[int, tuple[str, int]]]:
    """Families and addresses of the host, in the resolver's order."""
    import _socket

    if not endpoint.host.strip("0123456789."):
        return [(_socket.AF_INET, (endpoint.host, endpoint.port))]
    import _thread

    found: list[list[tuple[int, tuple[str, int]]] | OSError] = []
    done = _thread.allocate_lock()
    done.acquire()

    def resolve() -> None:
        try:
            # As bytes: a text would make the resolver import the IDNA codec.
            rows = _socket.getaddrinfo(endpoint.host.encode(), endpoint.port, 0, _socket.SOCK_STREAM)
            found.append([(family, address) for family, _, _, _, address in rows])  # pyright: ignore[reportArgumentType]  # IPv6 addresses carry two more fields
        except OSError as error:
            found.append(error)
        finally:
            done.release()

    # The resolver has time limits of its own, of many seconds, and cannot be called off.
    _thread.start_new_thread(resolve, ())
    if not done.acquire(timeout=_left(deadline, clock)) or not found:
        raise TimeoutError
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


def _with_tls(plain: _socket.socket, host: str) -> _Channel:
    import socket
    import ssl

    limit_s = plain.gettimeout()
    channel = socket.socket(fileno=plain.detach())
    try:
        channel.settimeout(limit_s)
        return ssl.create_default_context().wrap_socket(channel, server_hostname=host)
    except BaseException:
        channel.close()
        raise


def _left(deadline: float, clock: Callable[[], float]) -> float:
    left_s = deadline - clock()
    if left_s <= 0:
        raise TimeoutError
    return left_s


class _Reader:
    """Takes one answer off a channel."""

    def __init__(self, channel: _Channel, deadline: float, clock: Callable[[], float]) -> None:
        self._channel = channel
        self._deadline = deadline
        self._clock = clock
        self._buffer = b""

    def limit(self) -> None:
        """Let the next call on the channel take no longer than what is left."""
        self._channel.settimeout(_left(self._deadline, self._clock))

    def reply(self) -> Reply:
        for _ in range(INTERIM_ANSWERS_MAX):
            status, headers = self._head()
            if status >= 200:
                return Reply(status, headers, self._body(status, headers))
        raise TransportError("only interim answers came")

    def _more(self) -> bool:
        self.limit()
        received = self._channel.recv(RECEIVE_BYTES)
        self._buffer += received
        return bool(received)

    def _until(self, mark: bytes, bytes_max: int) -> bytes:
        while (at := self._buffer.find(mark)) < 0:
            if len(self._buffer) > bytes_max:
                raise TransportError("the answer's head is too long")
            if not self._more():
                raise TransportError("the connection closed before the answer was whole")
        taken, self._buffer = self._buffer[:at], self._buffer[at + len(mark) :]
        return taken

    def _exactly(self, count: int) -> bytes:
        if count > BODY_BYTES_MAX:
            raise TransportError("the answer is too long")
        while len(self._buffer) < count:
            if not self._more():
                raise TransportError("the connection closed before the answer was whole")
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _head(self) -> tuple[int, dict[str, str]]:
        lines = self._until(b"\r\n\r\n", HEAD_BYTES_MAX).decode("latin-1").split("\r\n")
        words = lines[0].split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or len(words[1]) != 3 or not words[1].isdigit():
            raise TransportError("the answer is not HTTP")
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return int(words[1]), headers

    def _body(self, status: int, headers: dict[str, str]) -> bytes:
        if status in {204, 304}:
            return b""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks()
        length = headers.get("content-length")
        if length is None:
            while self._more():
                if len(self._buffer) > BODY_BYTES_MAX:
                    raise TransportError("the answer is too long")
            return self._buffer
        if not (length.isascii() and length.isdigit() and len(length) < 16):
            raise TransportError("the answer's length is not a number")
        return self._exactly(int(length))

    def _chunks(self) -> bytes:
        body = b""
        while True:
            digits = self._until(b"\r\n", CHUNK_LINE_BYTES_MAX).split(b";", 1)[0].strip()
            if not digits or len(digits) > 8 or digits.strip(b"0123456789abcdefABCDEF"):
                raise TransportError("the answer's chunks are malformed")
            size = int(digits, 16)
            if size == 0:
                return body
            body += self._exactly(size)
            if len(body) > BODY_BYTES_MAX:
                raise TransportError("the answer is too long")
            if self._exactly(2) != b"\r\n":
                raise TransportError("the answer's chunks are malformed")
