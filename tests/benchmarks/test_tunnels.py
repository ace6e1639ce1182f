from __future__ import annotations

import pytest

from windlass.bench.holding import serve_origin
from windlass.bench.tunnels import exchange_messages


async def test_every_message_that_came_back_counts() -> None:
    server, port = await serve_origin()
    measured = await exchange_messages(port, connections=2, seconds=0.1)
    server.close()
    assert measured.requests >= 2
    assert measured.errors == 0
    assert 0 < measured.p50 <= measured.p999


async def test_what_opens_no_tunnel_is_a_fault() -> None:
    server, port = await serve_origin()
    server.close()
    await server.wait_closed()
    with pytest.raises(OSError, match="onnect"):
        await exchange_messages(port, connections=1, seconds=0.1)
