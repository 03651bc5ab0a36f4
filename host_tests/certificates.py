"""Certificates for tests of TLS, made anew by each: an authority, and servers' certificates that are good, or not."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

HOST = "meters.example"


def _general_name(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Certificate:
    """A certificate and its key: `der` and `pem` of the one, `sha256` in hexadecimal, write(folder) for servers."""

    def __init__(self, name, signed_by=None, days=(-1, 30), rsa_bits=0):
        """Valid from days[0] to days[1], counted from now. An authority is signed by itself. The key is one of the
        curve P-256, or of RSA with so many bits."""
        self.key = rsa.generate_private_key(65537, rsa_bits) if rsa_bits else ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(signed_by.certificate.subject if signed_by else subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=days[0]))
            .not_valid_after(now + datetime.timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=signed_by is None, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([_general_name(name)]), critical=False)
            .sign(signed_by.key if signed_by else self.key, hashes.SHA256())
        )
        self.der = self.certificate.public_bytes(serialization.Encoding.DER)
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)
        self.sha256 = self.certificate.fingerprint(hashes.SHA256()).hex()

    def write(self, folder, name):
        """Writes certificate and key; the path of the file."""
        path = Path(folder) / f"{name}.pem"
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(self.pem + key)
        return path


class Certificates:
    """`authority` and the certificates of servers by what is the matter with them; `host`: name or address of a
    server."""

    def __init__(self, host=HOST):
        self.authority = Certificate("the test's authority")
        foreign = Certificate("another authority")
        self.servers = {
            "good": Certificate(host, self.authority),
            "rsa": Certificate(host, self.authority, rsa_bits=2048),
            "expired": Certificate(host, self.authority, days=(-10, -1)),
            "future": Certificate(host, self.authority, days=(1, 10)),
            "wrong-name": Certificate("elsewhere.example", self.authority),
            "unknown": Certificate(host, foreign),
        }


# What the firmware says of each when it trusts the authority; None: nothing, it connects.
REASONS = {
    "good": None,
    "rsa": None,
    "expired": "certificate has expired",
    "future": "certificate is not valid yet",
    "wrong-name": "certificate is for another name",
    "unknown": "certificate is not from a trusted authority",
}
