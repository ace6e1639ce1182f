"""What it costs a request that its instance was frozen: the time to its first byte, beside that of
an instance that always has its CPU, asked in turn over one connection each."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windlass.bench.own_platform import OwnPlatform

REQUESTS = 30  # of each kind
IDLE = 1.2  # seconds before each, by which the one is frozen


async def measure(platform: OwnPlatform, image: str) -> dict[str, object]:
    """Return milliseconds to the first byte from a frozen instance and from one that never is."""
    flags = ["--image", image, "--min-instances", "1"]
    await platform.run("deploy", "thawed", *flags)
    await platform.run("deploy", "awake", *flags, "--no-cpu-throttling")
    found: dict[str, list[float]] = {"thawed": [], "awake": []}
    links = {name: await asyncio.open_connection("127.0.0.1", platform.http) for name in found}
    frozen = 0
    for _ in range(REQUESTS):
        await asyncio.sleep(IDLE)
        frozen += (await platform.living("thawed"))[0]["frozen"]
        for name, (reader, writer) in links.items():
            begun = time.perf_counter()
            writer.write(f"GET / HTTP/1.1\r\nHost: {name}.localhost\r\n\r\n".encode())
            head = await reader.read(65536)
            found[name].append((time.perf_counter() - begun) * 1000)
            assert head.startswith(b"HTTP/1.1 200 "), head
    for _, writer in links.values():
        writer.close()
    for name in found:
        await platform.run("services", "delete", name)
    figures = {
        name: {
            "p50_ms": round(statistics.median(each), 3),
            "p95_ms": round(sorted(each)[int(0.95 * len(each))], 3),
        }
        for name, each in found.items()
    }
    return {**figures, "requests": REQUESTS, "of_them_frozen": frozen}
