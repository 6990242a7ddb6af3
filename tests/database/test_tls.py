"""TLS as URLs ask for it: used where it is there, required, or checked against an authority."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from postgres_server import NOBODY, PostgresServer, postgres_server

from prover_framework.database.database import Database
from prover_framework.database.engine import Bounds
from prover_framework.errors import StoreError

USED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this machine's address that no authority has signed; its key is beside."""
    directory = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / "server.crt"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    path.with_suffix(".key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture(scope="module")
def server(certificate: Path) -> Iterator[PostgresServer]:
    """A server with that certificate."""
    # The server takes both by names in its own directory.
    with postgres_server({"ssl": "off"}) as server:
        assert server.directory
        for name in (certificate, certificate.with_suffix(".key")):
            copy = server.directory / "data" / name.name
            copy.write_bytes(name.read_bytes())
            copy.chmod(0o600)
            if os.geteuid() == 0:
                os.chown(copy, NOBODY, NOBODY)
        server.stop()
        server.command = (*server.command, "-c", "ssl=on")
        server.start()
        yield server


async def opened_with_tls(url: str) -> bool:
    async with Database(url, bounds=Bounds(10)) as database:
        ((used,),) = await database.read(USED)
        return bool(used)


@pytest.mark.parametrize(
    ("query", "used"),
    [
        ("", True),
        ("?sslmode=disable", False),
        ("?sslmode=prefer", True),
        ("?sslmode=require", True),
        ("?sslmode=require&ssl_min_protocol_version=TLSv1.3", True),
        ("?sslmode=verify-ca&sslrootcert=CERTIFICATE", True),
        ("?sslmode=verify-full&sslrootcert=CERTIFICATE", True),
    ],
)
async def test_what_a_url_asks_for_is_done(
    server: PostgresServer, certificate: Path, query: str, used: object
) -> None:
    url = server.url + query.replace("CERTIFICATE", str(certificate))
    assert await opened_with_tls(url) is used


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("?sslmode=verify-full", "certificate verify failed"),
        ("?sslrootcert=system", "certificate verify failed"),
        ("?sslmode=verify-ca", "sslmode=verify-ca needs sslrootcert=FILE"),
        ("?sslmode=verify-full&sslrootcert=/none", "the file of sslrootcert cannot be read: No"),
        ("?sslmode=require&sslcert=/none&sslkey=/none", "the file of sslcert cannot be read: No"),
    ],
)
async def test_what_can_not_be_had_is_told_in_a_line(
    server: PostgresServer, query: str, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StoreError, match=says) as caught:
        await opened_with_tls(server.url + query)
    assert "\n" not in str(caught.value)


async def test_without_a_file_the_authorities_of_the_machine_count(
    server: PostgresServer, certificate: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert await opened_with_tls(f"{server.url}?sslmode=verify-full")
    named = server.url.replace("127.0.0.1", "localhost")
    with pytest.raises(StoreError, match="certificate verify failed: Hostname mismatch"):
        await opened_with_tls(f"{named}?sslmode=verify-full")


async def test_a_server_without_tls_is_refused_where_it_is_required(
    postgres: PostgresServer,
) -> None:
    with pytest.raises(StoreError, match="rejected SSL upgrade"):
        await opened_with_tls(f"{postgres.url}?sslmode=require")
