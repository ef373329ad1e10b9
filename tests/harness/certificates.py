"""Certificates for a test: an authority of its own, and what it signs, as files."""

import datetime
import ipaddress
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


def name_of(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def alternative(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Certificate:
    """A certificate and its key, in two files."""

    def __init__(self, folder, name, certificate, key):
        self.certificate = certificate
        self.certificate_file = folder / f"{name}.pem"
        self.key_file = folder / f"{name}.key"
        self.certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.key_file.touch(mode=0o600)
        self.key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    @property
    def files(self):
        """As an item of `certificates` in the configuration."""
        return {"certificate": str(self.certificate_file), "key": str(self.key_file)}


class Authority:
    """Signs certificates; its own is in .file."""

    def __init__(self, folder, name="authority"):
        self.folder, self.key = folder, ec.generate_private_key(ec.SECP256R1())
        self.name = name_of(name)
        own = self._build(self.name, self.key, [], 3650 * DAY, is_authority=True)
        self.file = Certificate(folder, name, own, self.key).certificate_file

    def _build(self, subject, key, names, lasts, is_authority=False):
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 400 * DAY)
            .not_valid_after(now + lasts)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )
        if names:
            alternatives = x509.SubjectAlternativeName([alternative(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        if is_authority:
            usage = x509.KeyUsage(*[kind in (5, 6) for kind in range(9)])
            builder = builder.add_extension(usage, critical=True)
        return builder.sign(self.key, hashes.SHA256())

    def sign(self, name, names=("localhost", "127.0.0.1"), days=90):
        """A certificate named so, for these host names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        return Certificate(self.folder, name, self._build(name_of(name), key, names, days * DAY), key)

    def trust(self, version=None, own=None):
        """A client's context that trusts this authority; own: a certificate that it shows."""
        context = ssl.create_default_context(cafile=str(self.file))
        if version:
            context.minimum_version = context.maximum_version = version
        if own:
            context.load_cert_chain(own.certificate_file, own.key_file)
        return context
