"""The HTTP API as the commands use it: JSON in and out, problems as one clear line."""

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self, cast

import httpx

from hookbus.cli.errors import EXIT_NO, EXIT_UNREACHABLE, EXIT_USAGE, CliError, NotFoundError
from hookbus.client.settings import Settings

TIMEOUT_S: Final = 15.0
VERIFY_TIMEOUT_S: Final = 600.0
"""Recomputing the whole log takes as long as the log is."""
CONNECT_TIMEOUT_S: Final = 3.0
DETAIL_CHARS_MAX: Final = 500
FIELD_ERRORS_SHOWN_MAX: Final = 5

JsonObject = dict[str, Any]
"""A reply as it came: commands read what they show and ignore what a newer gateway adds."""


def settings() -> Settings:
    """The client's settings: environment, then ``client.toml``.

    Raises:
        CliError: one of them is invalid.
    """
    found = Settings(os.environ)
    if found.fault is not None:
        raise CliError(found.fault, EXIT_USAGE)
    return found


class Api:
    """One connection to the gateway; use as a context manager."""

    def __init__(self, url: str, api_key: str | None, *, transport: httpx.BaseTransport | None = None) -> None:
        headers = {"accept": "application/json"}
        if api_key is not None:
            headers["authorization"] = f"Bearer {api_key}"
        self._url = url
        self._client = httpx.Client(
            base_url=url,
            headers=headers,
            timeout=httpx.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            transport=transport,
            # A proxy of the environment is for the world outside; the gateway is named by its own address.
            trust_env=False,
        )

    @classmethod
    def from_settings(cls) -> Self:
        """The gateway and key of the settings."""
        found = settings()
        return cls(found.url, found.api_key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, *, timeout_s: float = TIMEOUT_S, **parameters: object) -> JsonObject:
        """GET; parameters that are None are left out.

        Raises:
            CliError: the gateway is away (exit code 3) or answered with a problem.
        """
        return _object(self._send("GET", path, parameters=parameters, timeout_s=timeout_s))

    def text(self, path: str) -> str:
        """GET an answer that is no JSON; see :meth:`get`."""
        return self._send("GET", path).text

    def content(self, path: str) -> bytes:
        """GET an answer of bytes; see :meth:`get`."""
        return self._send("GET", path).content

    def post(
        self,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        **parameters: object,
    ) -> JsonObject:
        """POST; fields and parameters that are None are left out. See :meth:`get`."""
        return _object(self._send("POST", path, parameters=parameters, body=body, timeout_s=timeout_s))

    def delete(self, path: str, **parameters: object) -> JsonObject:
        """DELETE; parameters that are None are left out. See :meth:`get`."""
        return _object(self._send("DELETE", path, parameters=parameters))

    def _send(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> httpx.Response:
        query = {name: str(value) for name, value in (parameters or {}).items() if value is not None}
        content = None if body is None else {name: value for name, value in body.items() if value is not None}
        try:
            response = self._client.request(
                method, path, params=query, json=content, timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
            )
        except httpx.TransportError as error:
            raise CliError(
                f"cannot reach the gateway at {self._url}: {str(error) or type(error).__name__}. "
                "Start it with `hookbus up`, or set HOOKBUS_URL.",
                EXIT_UNREACHABLE,
            ) from error
        except httpx.InvalidURL as error:
            raise CliError(f"{self._url} is not a usable address: {error}", EXIT_USAGE) from error
        if response.is_success:
            return response
        raise _problem(response, self._url)


def _object(response: httpx.Response) -> JsonObject:
    if not response.content:
        return {}
    try:
        value: object = response.json()
    except ValueError as error:
        raise CliError(f"{response.url} did not answer with JSON: is this a hookbus gateway?") from error
    return cast("JsonObject", value) if isinstance(value, dict) else {"items": value}


def _problem(response: httpx.Response, url: str) -> CliError:
    try:
        parsed: object = response.json()
    except ValueError:
        parsed = None
    problem = cast("JsonObject", parsed) if isinstance(parsed, dict) else {}
    code = str(problem.get("code") or "")
    words = str(problem.get("detail") or problem.get("title") or response.reason_phrase)[:DETAIL_CHARS_MAX]
    faults = cast("list[JsonObject]", problem.get("errors") or [])
    if faults:
        words += ": " + "; ".join(
            f"{fault.get('loc')}: {fault.get('msg')}" for fault in faults[:FIELD_ERRORS_SHOWN_MAX]
        )
    status = response.status_code
    if status == 401:
        words += ". Set HOOKBUS_API_KEY, or api_key in client.toml (`hookbus up` writes it)"
    elif status == 403:
        words += ". The key lacks the scope for this"
    if "retry-after" in response.headers:
        words += f" (try again in {response.headers['retry-after']} s)"
    line = f"{words} [{code or 'http'} {status}]"
    if not problem:
        line = f"{url} answered {status} {response.reason_phrase}: is this a hookbus gateway?"
    if status == 404:
        return NotFoundError(line)
    return CliError(line, EXIT_USAGE if status in {400, 413, 415, 422} else EXIT_NO)
