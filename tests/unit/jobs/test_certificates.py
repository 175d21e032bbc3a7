"""Certificates of an installation: verified by its own authority alone, for their names alone, renewed in time."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hookbus.jobs import certificates
from hookbus.jobs.certificates import RENEWED_BEFORE_END, SERVER_LIFETIME

NOW = datetime.now(UTC)


async def handshake(folder: Path, ca_file: Path, name: str) -> None:
    """One TLS connection to a server of the certificate in ``folder``, by a client that verifies."""
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(folder / "server.pem", folder / "server.key")

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=server_side)
    async with server:
        port = server.sockets[0].getsockname()[1]
        context = ssl.create_default_context(cafile=ca_file)
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
        writer.close()


async def test_a_client_with_the_authority_verifies_each_name_and_no_other(tmp_path: Path) -> None:
    authority = certificates.read_or_create_authority(tmp_path / "jobs", NOW)
    certificates.keep_server_certificate(authority, tmp_path / "nats", ("nats", "nats-2"), NOW)
    for name in ("nats", "nats-2", "localhost", "127.0.0.1"):
        await handshake(tmp_path / "nats", tmp_path / "nats" / "ca.pem", name)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        await handshake(tmp_path / "nats", tmp_path / "nats" / "ca.pem", "postgres")


async def test_another_installations_authority_does_not_vouch(tmp_path: Path) -> None:
    authority = certificates.read_or_create_authority(tmp_path / "jobs", NOW)
    certificates.keep_server_certificate(authority, tmp_path / "nats", ("nats",), NOW)
    certificates.read_or_create_authority(tmp_path / "other", NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        await handshake(tmp_path / "nats", tmp_path / "other" / "ca.pem", "nats")


def test_a_certificate_is_kept_until_its_end_is_near_and_then_replaced(tmp_path: Path) -> None:
    authority = certificates.read_or_create_authority(tmp_path / "jobs", NOW)
    folder = tmp_path / "nats"
    almost = NOW + SERVER_LIFETIME - RENEWED_BEFORE_END
    assert certificates.keep_server_certificate(authority, folder, ("nats",), NOW)
    first = (folder / "server.pem").read_bytes()
    assert not certificates.keep_server_certificate(authority, folder, ("nats",), almost - timedelta(minutes=1))
    assert (folder / "server.pem").read_bytes() == first
    assert certificates.keep_server_certificate(authority, folder, ("nats",), almost + timedelta(minutes=1))
    assert (folder / "server.pem").read_bytes() != first
    assert certificates.read_or_create_authority(tmp_path / "jobs", almost).pem == authority.pem


@pytest.mark.parametrize("spoil", ["names", "authority", "file"])
def test_a_certificate_that_does_not_fit_is_replaced(tmp_path: Path, spoil: str) -> None:
    authority = certificates.read_or_create_authority(tmp_path / "jobs", NOW)
    folder, names = tmp_path / "nats", ("nats",)
    certificates.keep_server_certificate(authority, folder, names, NOW)
    if spoil == "names":
        names = ("nats", "nats-2")
    elif spoil == "authority":
        authority = certificates.read_or_create_authority(tmp_path / "other", NOW)
    else:
        (folder / "server.pem").write_text("torn")
    assert certificates.keep_server_certificate(authority, folder, names, NOW)
    assert not certificates.keep_server_certificate(authority, folder, names, NOW)
