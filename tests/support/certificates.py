"""A certificate authority of this test run, and the files that it signs."""

from __future__ import annotations

import atexit
import shutil
import ssl
import tempfile
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import trustme

__all__ = ["Certificates", "certificates", "trusting"]


class Certificates:
    """Who is trusted, a server's certificate for this machine, and a client's.

    Attributes:
        authority: the file of the authority's own certificate.
        server: the server's certificate, for `localhost` and both loopback addresses.
        server_key: its key.
        client: the client's certificate.
        client_key: its key.
    """

    def __init__(self, folder: Path) -> None:
        signer = trustme.CA()
        self._folder = folder
        self.authority = folder / "ca.pem"
        signer.cert_pem.write_to_path(str(self.authority))
        server = signer.issue_cert("localhost", "127.0.0.1", "::1")
        self.server, self.server_key = self._write("server", server)
        client = signer.issue_cert("client@flowd.example")
        self.client, self.client_key = self._write("client", client)

    def _write(self, name: str, leaf: trustme.LeafCert) -> tuple[Path, Path]:
        certificate = self._folder / f"{name}.pem"
        leaf.cert_chain_pems[0].write_to_path(str(certificate))
        key = self._folder / f"{name}.key"
        leaf.private_key_pem.write_to_path(str(key))
        return certificate, key

    @property
    def client_options(self) -> dict[str, str]:
        """What a client of redis-py trusts and shows, by the names of its options."""
        return {
            "ssl_ca_certs": str(self.authority),
            "ssl_certfile": str(self.client),
            "ssl_keyfile": str(self.client_key),
        }

    def url(self, port: int, host: str = "127.0.0.1") -> str:
        """Where a server with this certificate listens, for a client with its own."""
        return f"rediss://{host}:{port}?{urlencode(self.client_options)}"

    def options(self, port: int) -> tuple[str, ...]:
        """Of a server's command line, to listen on a port for clients with a certificate."""
        return (
            *("--tls-port", str(port), "--tls-auth-clients", "yes"),
            *("--tls-cert-file", str(self.server)),
            *("--tls-key-file", str(self.server_key)),
            *("--tls-ca-cert-file", str(self.authority)),
        )

    def serving(self) -> ssl.SSLContext:
        """What a server of a test listens with; it asks for the client's certificate."""
        context = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cafile=str(self.authority)
        )
        context.load_cert_chain(self.server, self.server_key)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


@cache
def certificates() -> Certificates:
    """Those of this process, made when they are first asked for."""
    folder = Path(tempfile.mkdtemp(prefix="flowd-certificates-"))
    atexit.register(shutil.rmtree, folder)
    return Certificates(folder)


def trusting(url: str) -> ssl.SSLContext | None:
    """What a client of a test connects to this URL with; None if it has no TLS."""
    parts = urlsplit(url)
    if parts.scheme != "rediss":
        return None
    named = parse_qs(parts.query)
    context = ssl.create_default_context(cafile=named["ssl_ca_certs"][0])
    context.load_cert_chain(named["ssl_certfile"][0], named["ssl_keyfile"][0])
    return context
