"""Certificates and tokens of a replica that admits known callers only."""

import base64
import datetime
import hashlib
import ipaddress
import secrets
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENT_URI = "spiffe://conformance/client"


class Authority:
    """A certificate authority that lives as long as the run."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        builder = _certificate(self._name, self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = builder.sign(self._key, hashes.SHA256())

    def issue(self, folder: Path, stem: str, names: list[x509.GeneralName], usage: x509.ObjectIdentifier) -> None:
        """Writes `STEM.pem` and `STEM-key.pem`."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _certificate(_name(stem), self._name, key.public_key())
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        (folder / f"{stem}.pem").write_bytes(_pem(certificate))
        (folder / f"{stem}-key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def write(self, path: Path) -> None:
        path.write_bytes(_pem(self.certificate))


def write_all(folder: Path) -> dict[str, str]:
    """Writes the files of a secure deployment, and returns its tokens by name."""
    authority = Authority("conformance authority")
    authority.write(folder / "ca.pem")
    Authority("another authority").write(folder / "other-ca.pem")
    loopback: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    authority.issue(folder, "server", loopback, ExtendedKeyUsageOID.SERVER_AUTH)
    client: list[x509.GeneralName] = [x509.UniformResourceIdentifier(CLIENT_URI)]
    authority.issue(folder, "client", client, ExtendedKeyUsageOID.CLIENT_AUTH)
    return {name: _token() for name in ("first", "second", "reader", "unknown")}


def token_hash(token: str) -> str:
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()


def _token() -> str:
    return "twt_" + base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=7))
    )
