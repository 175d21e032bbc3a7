"""Environment first, then the file; faults are named, values never."""

from pathlib import Path
from typing import Any

import pytest

from hookbus.client.settings import Settings, parse_plain_toml
from hookbus.client.transport import Endpoint, EndpointError


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "client.toml").write_text('# written\nurl = "http://127.0.0.1:1"\napi_key = "hbk_file"\n')
    settings = Settings({"HOOKBUS_DATA_DIR": str(tmp_path), "HOOKBUS_API_KEY": "hbk_env"})
    assert (settings.url, settings.api_key, settings.fault) == ("http://127.0.0.1:1", "hbk_env", None)


def test_a_file_of_more_than_plain_lines_is_read_as_toml(tmp_path: Path) -> None:
    (tmp_path / "client.toml").write_text("url = 'http://127.0.0.1:2'\n[other]\nnumber = 1\n")
    assert Settings({"HOOKBUS_DATA_DIR": str(tmp_path)}).endpoint.port == 2


def test_a_broken_file_is_a_fault_and_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "client.toml").write_text("url = \n")
    fault = Settings({"HOOKBUS_DATA_DIR": str(tmp_path)}).fault
    assert fault is not None
    assert "TOML" in fault


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOOKBUS_URL", "ftp://secret@host"),
        ("HOOKBUS_URL", "http://user:secret@host"),
        ("HOOKBUS_API_KEY", "secret\r\nx: y"),
        ("HOOKBUS_AGENT_ID", "secret agent"),
        ("HOOKBUS_FAIL_MODE", "secret"),
        ("HOOKBUS_DEADLINE_S", "secret"),
        ("HOOKBUS_DEADLINE_S", "nan"),
    ],
)
def test_a_fault_names_the_setting_and_not_its_value(tmp_path: Path, name: str, value: Any) -> None:
    fault = Settings({"HOOKBUS_DATA_DIR": str(tmp_path), name: value}).fault
    assert fault is not None
    assert name in fault
    assert "secret" not in fault


def test_a_fail_mode_that_is_not_understood_closes(tmp_path: Path) -> None:
    assert Settings({"HOOKBUS_DATA_DIR": str(tmp_path), "HOOKBUS_FAIL_MODE": "close"}).fail_closed
    assert not Settings({"HOOKBUS_DATA_DIR": str(tmp_path)}).fail_closed


@pytest.mark.parametrize("text", ['a = "b\\n"', "a = 'b'", "a = 1", "[t]", 'a = "b" # c', 'a = "1"\na = "2"'])
def test_the_plain_reader_leaves_what_it_does_not_know(text: str) -> None:
    assert parse_plain_toml(text) is None


@pytest.mark.parametrize(
    ("url", "host", "port", "prefix"),
    [
        ("http://localhost", "localhost", 80, ""),
        ("https://h.example:8443/base/", "h.example", 8443, "/base"),
        ("http://[::1]:8787", "::1", 8787, ""),
    ],
)
def test_addresses(url: str, host: str, port: int, prefix: str) -> None:
    endpoint = Endpoint(url)
    assert (endpoint.host, endpoint.port, endpoint.prefix) == (host, port, prefix)


@pytest.mark.parametrize(
    "url", ["", "http://", "http://a b", "http://h:0", "http://h:99999", "http://h:x", "http://h/?q", "http://[::1"]
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(EndpointError):
        Endpoint(url)
