"""The ways to start a server that cold starts are compared with."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from windlass.bench.coldstart_bare import Bare

if TYPE_CHECKING:
    from pathlib import Path

# A command that returns 0.3 s after its server listens; the server counts who asks.
_RETURNING = """
import os, socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
if os.fork():
    time.sleep(0.3)
    sys.exit()
listener.settimeout(3)
while True:
    client, _ = listener.accept()
    client.recv(1000)
    with open(sys.argv[2], "a") as asked:
        asked.write("x")
    client.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
    client.close()
"""


async def test_a_command_that_returns_is_waited_for_before_anyone_asks(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    way = Bare(
        lambda port, name: [sys.executable, "-c", _RETURNING, str(port), str(asked)], returns=True
    )
    assert await way.run() >= 0.3
    assert asked.read_text() == "x"
