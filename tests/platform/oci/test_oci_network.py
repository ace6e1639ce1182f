"""What an instance reaches: the outside, and of this machine only the ports that are named."""

from __future__ import annotations

import asyncio
import subprocess
from secrets import token_hex
from typing import TYPE_CHECKING

import pytest
from tests.platform.oci.containers import BUSYBOX, Rig

from windlass.model.service import Container
from windlass.runtime.oci import Oci

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.engine, pytest.mark.slow]

HERE, OUTSIDE = "198.51.100.1", "198.51.100.2"  # of a network for documentation, RFC 5737


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[str]:
    """A web server on a network of its own that knows no way to an instance's address."""
    name = f"out{token_hex(3)}"
    (tmp_path / "index.html").write_text("outside\n")
    ip("netns", "add", name)
    ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
    ip("addr", "add", f"{HERE}/30", "dev", name)
    ip("link", "set", name, "up")
    ip("-n", name, "addr", "add", f"{OUTSIDE}/30", "dev", "eth0")
    ip("-n", name, "link", "set", "eth0", "up")
    server = subprocess.Popen(
        ["ip", "netns", "exec", name, str(BUSYBOX), "httpd", "-f", "-p", "80", "-h", tmp_path]
    )
    try:
        yield OUTSIDE
    finally:
        server.kill()
        server.wait()
        ip("netns", "delete", name)


async def test_an_instance_reaches_the_outside_by_this_machines_address(
    rig: Rig, outside: str
) -> None:
    # The server answers only whom it knows a way to: this machine, so that masquerade is at work.
    said = await rig.output(f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {outside} 80")
    assert said.splitlines()[-1] == "outside"


async def test_the_ports_that_are_named_are_reached_and_no_other(
    tmp_path: Path, image: str
) -> None:
    servers = [await asyncio.start_server(_greet, "0.0.0.0", 0) for _ in range(2)]
    opened, closed = (server.sockets[0].getsockname()[1] for server in servers)
    driver = Oci(tmp_path, token_hex(4), berths_ahead=0, reachable_ports=(opened,))
    await driver.open()
    await driver.prepare(Container(image=image))
    rig = Rig(driver, image, tmp_path)
    gateway = "$(ip route | grep default | tr -s ' ' | cut -d' ' -f3)"
    calls = f"for port in {opened} {closed}; do nc -w 5 {gateway} $port; done"
    shell = f"exec 2>&- </dev/null; {calls}; echo over"
    try:
        assert (await rig.output(shell)).splitlines() == ["greetings", "over"]
    finally:
        await driver.close()
        for server in servers:
            server.close()
            await server.wait_closed()


async def _greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"greetings\n")
    await writer.drain()
    writer.close()
