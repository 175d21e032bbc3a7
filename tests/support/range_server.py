"""A small server that speaks the range protocol of Have I Been Pwned, and can misbehave."""

import hashlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

SLOW_S = 2.5


class RangeServer:
    """Knows the given passwords by count. ``fault`` is one of status, slow, page; empty for none."""

    def __init__(self, counts: dict[str, int]) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.fault = ""
        hashes = {hashlib.sha1(password.encode()).hexdigest().upper(): count for password, count in counts.items()}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, dict(self.headers.items())))
                prefix = self.path.rsplit("/", 1)[1]
                lines = [f"{name[5:]}:{count}" for name, count in hashes.items() if name.startswith(prefix)]
                lines += [f"{hashlib.sha1(f'{prefix}{n}'.encode()).hexdigest().upper()[5:]}:0" for n in range(800)]
                body = "\r\n".join(lines).encode()
                if outer.fault == "slow":
                    time.sleep(SLOW_S)
                if outer.fault == "page":
                    body = b"<html>not a range</html>"
                self.send_response(500 if outer.fault == "status" else 200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    return

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002, ARG002 - the base class's signature
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
