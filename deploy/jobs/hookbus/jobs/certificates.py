"""Certificates of the bus and the database, from an authority of this installation's own.

Each process that connects gets the authority's certificate; its key stays with the jobs. A certificate that is about to
end is replaced at the next run of the job, an authority never: its end is a new installation's business.
"""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hookbus.audit.signing.files import read_private, write_private
from hookbus.embedded.files import make_folder

AUTHORITY_LIFETIME: Final = timedelta(days=3650)
SERVER_LIFETIME: Final = timedelta(days=397)
"""What browsers and other careful clients accept at most."""
RENEWED_BEFORE_END: Final = timedelta(days=60)
CLOCKS_APART_MAX: Final = timedelta(minutes=10)
"""A certificate is valid a little before it was made: the server's clock may be behind."""
LOOPBACK: Final = ("localhost", "127.0.0.1")
"""Names every server answers to inside its own container, for health checks."""

AUTHORITY_FILE: Final = "ca.pem"
CERTIFICATE_FILE: Final = "server.pem"
KEY_FILE: Final = "server.key"
AUTHORITY_KEY_FILE: Final = "ca.key"


@dataclass(frozen=True)
class Authority:
    """Who signs the servers' certificates."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate, for those who verify."""
        return self.certificate.public_bytes(Encoding.PEM)


def read_or_create_authority(folder: Path, now: datetime) -> Authority:
    """The authority kept in ``folder`` (``ca.pem``, ``ca.key``), made at the first call."""
    certificate_file, key_file = folder / AUTHORITY_FILE, folder / AUTHORITY_KEY_FILE
    if certificate_file.exists():
        return Authority(x509.load_pem_x509_certificate(read_private(certificate_file)), _read_key(key_file))
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hookbus installation authority")])
    certificate = (
        _builder(name, name, key.public_key(), now, AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    authority = Authority(certificate, key)
    make_folder(folder)
    # The certificate last: where it lies, its key does.
    write_private(key_file, _pem(key))
    write_private(certificate_file, authority.pem)
    return authority


def keep_server_certificate(authority: Authority, folder: Path, names: tuple[str, ...], now: datetime) -> bool:
    """Make ``server.pem``, ``server.key`` and ``ca.pem`` in ``folder`` what they have to be; whether one was made.

    Args:
        authority: signs it.
        folder: of the server's own volume.
        names: host names and addresses that clients reach it by, besides loopback.
        now: a certificate that ends within 60 days of it is replaced, as is one for other names.
    """
    wanted = (*names, *LOOPBACK)
    if _is_good(folder / CERTIFICATE_FILE, authority, wanted, now):
        return False
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    issuer = authority.certificate.subject
    public_key = authority.key.public_key()
    certificate = (
        _builder(subject, issuer, key.public_key(), now, SERVER_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        # The servers of a cluster are clients of each other.
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in wanted]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public_key), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    make_folder(folder)
    write_private(folder / KEY_FILE, _pem(key))
    keep_authority_certificate(authority, folder)
    write_private(folder / CERTIFICATE_FILE, certificate.public_bytes(Encoding.PEM))
    return True


def keep_authority_certificate(authority: Authority, folder: Path) -> None:
    """Give a client what it verifies servers with."""
    write_private(make_folder(folder) / AUTHORITY_FILE, authority.pem)


def _is_good(file: Path, authority: Authority, names: tuple[str, ...], now: datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
        certificate.verify_directly_issued_by(authority.certificate)
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # noqa: BLE001 - whatever is wrong with the old one, a new one mends it
        return False
    lasts = certificate.not_valid_after_utc - now > RENEWED_BEFORE_END
    return lasts and list(alternative) == [_general_name(name) for name in names]


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_APART_MAX)
        .not_valid_after(now + lifetime)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _read_key(file: Path) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(read_private(file), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{file}: not a key on an elliptic curve")
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def utc_now() -> datetime:
    """The clock of the job."""
    return datetime.now(UTC)
