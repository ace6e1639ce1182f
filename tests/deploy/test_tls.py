"""TLS as a user has it: `windlass up` with certificates, curl, openssl, and renewal by SIGHUP."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trustme
from tests.deploy.running import start_platform, stop

if TYPE_CHECKING:
    from pathlib import Path

    from tests.deploy.running import Platform

ECHO = (
    "import http.server as h, os\n"
    "class E(h.BaseHTTPRequestHandler):\n"
    "    def do_GET(self):\n"
    "        self.send_response(200)\n"
    "        self.end_headers()\n"
    "        self.wfile.write(self.headers['X-Forwarded-Proto'].encode())\n"
    "h.HTTPServer(('', int(os.environ['PORT'])), E).serve_forever()\n"
)


def issue(authority: trustme.CA, folder: Path, name: str) -> tuple[str, str]:
    """Write a certificate for a name, and its key."""
    made = authority.issue_cert(name)
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    key.write_bytes(made.private_key_pem.bytes())
    return str(certificate), str(key)


async def run(*words: str) -> str:
    done = await asyncio.to_thread(
        subprocess.run, words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


async def shown(platform: Platform, name: str, *options: str) -> str:
    """Return what openssl says of a handshake."""
    words = ("openssl", "s_client", "-connect", f"127.0.0.1:{platform.http}", "-servername", name)
    return await run(*words, *options)


async def serial(platform: Platform, name: str) -> str:
    said = await shown(platform, name)
    pem = re.search(r"-----BEGIN.*?END CERTIFICATE-----", said, re.DOTALL)
    assert pem, said
    path = platform.state / "shown.pem"
    path.write_text(pem[0])
    return await run("openssl", "x509", "-noout", "-serial", "-subject", "-in", str(path))


@pytest.mark.e2e
@pytest.mark.slow
async def test_certificates_are_chosen_by_name_and_renewed_by_sighup(tmp_path: Path) -> None:
    authority = trustme.CA()
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    options: list[str] = []
    for name in ("hello.localhost", "other.localhost"):
        certificate, key = issue(authority, tmp_path, name)
        options += ["--tls-cert", certificate, "--tls-key", key]
    state = tmp_path / "state"
    state.mkdir()
    platform = await start_platform(state, "--runtime", "process", *options)
    try:
        script = tmp_path / "echo.py"
        script.write_text(ECHO)
        await platform.succeed("deploy", "hello", "--exec", f"{sys.executable} {script}")
        for version, number in (("--http1.1", "1.1"), ("--http2", "2")):
            said = await run(
                *("curl", "-sS", version, "--cacert", str(trusted), "-w", " %{http_version}"),
                *("--resolve", f"hello.localhost:{platform.http}:127.0.0.1"),
                f"https://hello.localhost:{platform.http}/",
            )
            assert said == f"https {number}"
        for offered, chosen in (("h2,http/1.1", "h2"), ("http/1.1", "http/1.1")):
            said = await shown(platform, "hello.localhost", "-alpn", offered)
            assert f"ALPN protocol: {chosen}\n" in said
        assert "no peer certificate available" in await shown(platform, "x", "-tls1_1")
        before = {
            name: await serial(platform, name) for name in ("hello.localhost", "other.localhost")
        }
        assert len(set(before.values())) == 2
        issue(authority, tmp_path, "hello.localhost")
        platform.process.send_signal(signal.SIGHUP)

        async def is_renewed() -> bool:
            return await serial(platform, "hello.localhost") != before["hello.localhost"]

        await platform.until(is_renewed, 10.0)
        assert await serial(platform, "other.localhost") == before["other.localhost"]
        assert platform.process.poll() is None
    finally:
        await stop(platform)
