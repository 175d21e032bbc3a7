"""``python -m hookbus.platform.probe``: whether the service in this container is ready. For health checks without a
shell; imports the standard library alone, for it runs every few seconds."""

import http.client
import os
import sys
from typing import Final

TIMEOUT_S: Final = 4.0
READY_PATH: Final = "/readyz"


def is_ready(port: int) -> bool:
    """Whether the service on this machine's ``port`` says that it and all it needs is there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", READY_PATH)
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_ready(int(os.environ["HOOKBUS_HTTP_PORT"])) else 1)
