"""Measures a worker's memory: per idle connection, per WebSocket, and while a gigabyte passes.

`make bench-connections`. Memory is the process's own (VmRSS). What the kernel holds is the whole
machine's, so both ends of each connection and what else changed meanwhile are in it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from windlass.bench.holding import GET, PART, hold, serve_origin
from windlass.bench.machine import describe
from windlass.bench.servers import CannotStart
from windlass.bench.worker import running_worker
from windlass.router.descriptors import raise_limit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from windlass.bench.worker import RunningWorker

    Way = Callable[[int, int], Awaitable[None]]  # of a port and a number of bytes

GIB = 1024**3
WEBSOCKET = (
    b"GET /chat HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
FRAME = b"\x81\x85\x00\x00\x00\x00hello"
CONCURRENCY = 1000  # the most that a revision may have: all the tunnels that one instance takes
_SETTLED = 1.0  # seconds after which memory is looked at

Figures = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 if a connection was lost."""
    parser = argparse.ArgumentParser(
        prog="python -m windlass.bench.connections", description=__doc__
    )
    parser.add_argument("--idle", type=int, default=10_000, help="connections held idle")
    parser.add_argument("--websockets", type=int, default=1000, help="tunnels held")
    parser.add_argument("--bytes", type=int, default=GIB, help="of one body, up and down")
    parser.add_argument("--out", type=Path, help="write the figures to this file as JSON")
    options = parser.parse_args(arguments)
    raise_limit()
    try:
        results = uvloop.run(_measure(options.idle, options.websockets, options.bytes))
    except (CannotStart, OSError) as error:
        print(f"cannot measure: {error}", file=sys.stderr)
        return 1
    print(json.dumps(results, indent=2))
    if options.out:
        command = f"python -m windlass.bench.connections --idle {options.idle} "
        command += f"--websockets {options.websockets} --bytes {options.bytes}"
        document = {"command": command, "machine": describe(), "results": results}
        options.out.write_text(json.dumps(document, indent=2) + "\n")
    return 0 if all(not figures.get("lost") for figures in results.values()) else 1


async def _measure(idle: int, websockets: int, size: int) -> dict[str, Figures]:
    """Measure each on a worker of its own, which has no memory of what was before."""
    server, origin = await serve_origin()
    measures: dict[str, Callable[[RunningWorker], Awaitable[Figures]]] = {
        "down": lambda worker: _pass(worker, size, _down),
        "up": lambda worker: _pass(worker, size, _up),
        "down over HTTP/2": lambda worker: _pass(worker, size, _down_http2),
        "up over HTTP/2": lambda worker: _pass(worker, size, _up_http2),
        "idle": lambda worker: _held(worker, idle, GET),
        "websockets": lambda worker: _held(worker, websockets, WEBSOCKET, FRAME),
    }
    results: dict[str, Figures] = {}
    try:
        for name, measure in measures.items():
            with tempfile.TemporaryDirectory(prefix="windlass-connections-") as directory:
                async with running_worker(Path(directory), origin, CONCURRENCY) as worker:
                    results[name] = await measure(worker)
        with tempfile.TemporaryDirectory(prefix="windlass-connections-") as directory:
            results |= await _through_h2c(Path(directory), origin, size)
    finally:
        server.close()  # left open, it kept uvloop from ending once
    return results


async def _through_h2c(directory: Path, origin: int, size: int) -> dict[str, Figures]:
    """Let bodies pass to and from an instance that speaks HTTP/2: it is another worker."""
    for name in ("behind", "before"):
        (directory / name).mkdir()
    async with (
        running_worker(directory / "behind", origin, CONCURRENCY) as instance,
        running_worker(directory / "before", instance.port, CONCURRENCY, h2c=True) as worker,
    ):
        return {
            "down from HTTP/2": await _pass(worker, size, _down_http2),
            "up to HTTP/2": await _pass(worker, size, _up_http2),
        }


async def _held(worker: RunningWorker, count: int, head: bytes, then: bytes = b"") -> Figures:
    """Hold connections; `then` goes through each and back while all are held."""
    before, kernel_before = memory(worker.pid), kernel_memory()
    held = await hold(worker.port, count, head)
    for connection in held:
        connection.send(then)
    await asyncio.sleep(_SETTLED)
    after, kernel_after = memory(worker.pid), kernel_memory()
    lost = sum(connection.lost for connection in held)
    unanswered = sum(not connection.received.endswith(then) for connection in held)
    for connection in held:
        connection.close()
    await asyncio.sleep(_SETTLED)
    return {
        "connections": count,
        "lost": lost + unanswered,
        "kib_before": before,
        "kib_while_held": after,
        "kib_afterwards": memory(worker.pid),
        "kib_per_connection": (after - before) / count,
        "kib_of_the_kernel_per_connection": (kernel_after - kernel_before) / count,
    }


async def _pass(worker: RunningWorker, size: int, way: Way) -> Figures:
    """Let a body pass; the highest memory meanwhile is the kernel's own count."""
    await way(worker.port, len(PART))  # to warm up
    forget_highest(worker.pid)
    before, begin = memory(worker.pid), time.monotonic()
    await way(worker.port, size)
    return {
        "bytes": size,
        "seconds": time.monotonic() - begin,
        "kib_before": before,
        "kib_highest": memory(worker.pid, "VmHWM"),
    }


async def _down(port: int, size: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /down/%d HTTP/1.1\r\nHost: bench\r\n\r\n" % size)
    await reader.readuntil(b"\r\n\r\n")
    while size:
        data = await reader.read(len(PART))
        if not data:
            raise ConnectionError(f"{size} bytes of the answer are missing")
        size -= len(data)
    writer.close()


async def _up(port: int, size: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PUT /up HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n" % size)
    while size:
        writer.write(PART[:size])
        size -= min(size, len(PART))
        await writer.drain()
    if not (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200"):
        raise ConnectionError("the body was not taken")
    writer.close()


async def _down_http2(port: int, size: int) -> None:
    await _curl("-o", "/dev/null", f"http://127.0.0.1:{port}/down/{size}")


async def _up_http2(port: int, size: int) -> None:
    url = f"http://127.0.0.1:{port}/up"
    with tempfile.NamedTemporaryFile() as body:  # from a pipe, curl 7.88 ends uploads too early
        body.truncate(size)
        await _curl("-T", body.name, "-H", "Expect:", "-o", "/dev/null", url)


async def _curl(*arguments: str) -> None:
    """Let curl do it: a client in this process would take longer than the worker."""
    curl = await asyncio.create_subprocess_exec(
        *("curl", "-sS", "--fail", "--http2-prior-knowledge", "-H", "Host: bench", *arguments),
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await curl.communicate()
    if curl.returncode:
        raise ConnectionError(f"curl: {said.decode(errors='replace').strip()}")


def forget_highest(pid: int) -> None:
    """Let VmHWM begin anew (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def memory(pid: int, name: str = "VmRSS") -> int:
    """Return KiB of a process's memory: resident now, or VmHWM, at most."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert found is not None
    return int(found[1])


def kernel_memory() -> int:
    """Return KiB that the kernel has for its objects (slab) and for the buffers of TCP."""
    slab = re.search(r"^Slab:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
    pages = re.search(r"^TCP:.* mem (\d+)", Path("/proc/net/sockstat").read_text(), re.M)
    assert slab is not None
    assert pages is not None
    return int(slab[1]) + int(pages[1]) * (resource.getpagesize() // 1024)


if __name__ == "__main__":
    sys.exit(main())
