"""Small blocking questions: does an address answer."""

import http.client
import socket
import time
from collections.abc import Callable
from typing import Final

PROBE_TIMEOUT_S: Final = 2.0
POLL_INTERVAL_S: Final = 0.05


ANSWER_BYTES_MAX: Final = 2_000


def http_answer(host: str, port: int, path: str, *, timeout_s: float = PROBE_TIMEOUT_S) -> tuple[int, str] | None:
    """Status and the beginning of the body of ``GET path``, or None where nothing answers HTTP in time."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(ANSWER_BYTES_MAX).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def http_status(host: str, port: int, path: str, *, timeout_s: float = PROBE_TIMEOUT_S) -> int | None:
    """The status of ``GET path``, or None where nothing answers HTTP in time."""
    answer = http_answer(host, port, path, timeout_s=timeout_s)
    return answer[0] if answer is not None else None


def wait_until(condition: Callable[[], bool], *, timeout_s: float, interval_s: float = POLL_INTERVAL_S) -> bool:
    """Ask until ``condition`` holds (True) or ``timeout_s`` is over (False)."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(interval_s)
    return True


def tcp_answers(host: str, port: int, *, timeout_s: float = PROBE_TIMEOUT_S) -> bool:
    """Whether a server accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s):
            return True
    except OSError:
        return False
