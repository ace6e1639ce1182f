"""TLS at the listener: names, protocols and renewed certificates, with real handshakes."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from windlass.router.tls import CertificateFault, Certificates

if TYPE_CHECKING:
    from tests.router.conftest import Rig

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
Issue = Callable[..., tuple[Path, Path]]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def issue(authority: trustme.CA, tmp_path: Path) -> Issue:
    """Write a certificate and its key for names; the file's stem is the first name."""

    def issue(*names: str) -> tuple[Path, Path]:
        certificate = authority.issue_cert(*names)
        stem = names[0].replace("*", "_")
        paths = (tmp_path / f"{stem}.pem", tmp_path / f"{stem}.key")
        paths[0].write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        paths[1].write_bytes(certificate.private_key_pem.bytes())
        return paths

    return issue


async def listening(rig: Rig, certificates: Certificates) -> int:
    """Let the rig's worker listen once more, in TLS."""
    [plain] = rig.worker._servers
    port = await rig.worker.listen("127.0.0.1", 0, certificates)
    plain.close()
    return port


async def handshake(
    port: int, authority: trustme.CA, name: str, protocols: tuple[str, ...] = ("http/1.1",)
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(list(protocols))
    return await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)


def serial(writer: asyncio.StreamWriter) -> str:
    certificate = writer.get_extra_info("ssl_object").getpeercert()
    return str(certificate["serialNumber"])


async def test_the_name_chooses_the_certificate(
    rig: Rig, authority: trustme.CA, issue: Issue
) -> None:
    pairs = [issue("a.localhost"), issue("b.localhost"), issue("*.c.localhost")]
    port = await listening(rig, Certificates(pairs))
    for name in ("a.localhost", "b.localhost", "x.c.localhost"):
        _, writer = await handshake(port, authority, name)
        writer.close()
    with pytest.raises(ssl.SSLCertVerificationError):
        await handshake(port, authority, "other.localhost")


async def test_the_instance_hears_that_it_was_https(
    rig: Rig, authority: trustme.CA, issue: Issue
) -> None:
    rig.origin.answers("/", OK)
    port = await listening(rig, Certificates([issue("hello.localhost")]))
    reader, writer = await handshake(port, authority, "hello.localhost")
    writer.write(b"GET / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n")
    assert await reader.readuntil(b"hello") == OK
    assert b"X-Forwarded-Proto: https\r\n" in rig.origin.heads[0]
    assert b"proto=https" in rig.origin.heads[0]
    writer.close()


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(("h2", "http/1.1"), "h2"), (("http/1.1",), "http/1.1"), (("spdy/3",), None)],
)
async def test_alpn_offers_both_protocols(
    rig: Rig, authority: trustme.CA, issue: Issue, offered: tuple[str, ...], chosen: str | None
) -> None:
    port = await listening(rig, Certificates([issue("a.localhost")]))
    _, writer = await handshake(port, authority, "a.localhost", offered)
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == chosen
    writer.close()


async def test_curl_speaks_http_2_over_tls(
    rig: Rig, authority: trustme.CA, issue: Issue, tmp_path: Path
) -> None:
    rig.origin.answers("/", OK)
    port = await listening(rig, Certificates([issue("hello.localhost")]))
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sS", "--http2", "--cacert", trusted, "-w", " %{http_version} %{http_code}"),
        *("--resolve", f"hello.localhost:{port}:127.0.0.1", f"https://hello.localhost:{port}/"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert output == b"hello 2 200"


async def test_renewed_files_are_taken_on_without_a_pause(
    rig: Rig, authority: trustme.CA, issue: Issue
) -> None:
    certificates = Certificates([issue("a.localhost")])
    port = await listening(rig, certificates)
    _, before = await handshake(port, authority, "a.localhost")
    issue("a.localhost")
    certificates.reload()
    _, after = await handshake(port, authority, "a.localhost")
    assert serial(before) != serial(after)
    for writer in (before, after):
        writer.close()


async def test_broken_files_leave_the_old_ones(
    rig: Rig, authority: trustme.CA, issue: Issue
) -> None:
    certificate, key = issue("a.localhost")
    certificates = Certificates([(certificate, key)])
    port = await listening(rig, certificates)
    key.write_text("no key")
    certificates.reload()
    _, writer = await handshake(port, authority, "a.localhost")
    writer.close()
    with pytest.raises(CertificateFault, match=r"a\.localhost\.pem"):
        Certificates([(certificate, key)])


async def test_what_is_no_tls_is_closed(rig: Rig, issue: Issue) -> None:
    port = await listening(rig, Certificates([issue("a.localhost")]))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n")
    assert b"HTTP" not in await reader.read()
    writer.close()


async def test_a_handshake_under_way_is_finished_while_draining_patiently(
    rig: Rig, authority: trustme.CA, issue: Issue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client is not among those that are known when the worker begins to drain."""
    rig.origin.answers("/", OK)
    port = await listening(rig, Certificates([issue("hello.localhost")]))
    monkeypatch.setattr(rig.worker, "_settling", 0.5)
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setblocking(False)
    await asyncio.sleep(0.1)  # until it is accepted
    rig.worker.drain(60.0, patient=True)
    await rig.until(lambda: rig.worker.dispatch.draining)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    reader, writer = await asyncio.open_connection(
        sock=connection, ssl=context, server_hostname="hello.localhost"
    )
    await asyncio.sleep(1.0)  # longer than the worker waits for such clients
    assert not rig.running.done()
    writer.write(b"GET / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n")
    assert b"Connection: close\r\n" in await reader.readuntil(b"\r\n\r\n")
    assert await reader.read() == b"hello"
    writer.close()
    await asyncio.wait_for(rig.running, 5)
