"""A small HTTP server to try Windlass with: it waits, burns CPU time, and counts its requests.

GET /?ms=200 waits 200 ms, /?cpu_ms=20 burns 20 ms of CPU time, /stats is not counted. Answers say
in Server-Timing how long they took.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time

HEAD_LIMIT = 64 * 1024  # bytes


class Hello:
    """Answers requests, counts those in flight, and stops when the last of them is answered."""

    def __init__(self) -> None:
        self.in_flight = self.max_in_flight = self.served = 0
        self.idle: set[asyncio.StreamWriter] = set()  # connections that wait for a request
        self.connections: set[asyncio.Task[None]] = set()
        self.stopping = asyncio.Event()

    async def run(self, port: int) -> None:
        """Serve until SIGTERM or SIGINT, then until the last request is answered."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stopping.set)
        server = await asyncio.start_server(self.serve, "0.0.0.0", port, limit=HEAD_LIMIT)
        print(f"listening on port {port}", flush=True)
        await self.stopping.wait()
        server.close()
        for connection in self.idle:
            connection.close()
        await asyncio.gather(*self.connections)
        print(f"stopped after {self.served} requests", flush=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, one after the other."""
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        try:
            while not self.stopping.is_set():
                self.idle.add(writer)
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                self.idle.remove(writer)
                await self.respond(head, reader, writer)
                if "connection: close" in head:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is gone
        finally:
            self.idle.discard(writer)
            self.connections.discard(task)
            writer.close()

    async def respond(
        self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Read the rest of one request, do what its query asks, and write the answer."""
        request_line, *fields = head.split("\r\n")
        for field in fields:
            name, _, value = field.partition(":")
            if name == "content-length":
                await reader.readexactly(int(value))
        begun = time.perf_counter()
        path, _, query = request_line.split(" ")[1].partition("?")
        if path != "/stats":
            await self.work(dict(pair.split("=", 1) for pair in query.split("&") if "=" in pair))
        body = json.dumps(self.stats()).encode() + b"\n"
        took = (time.perf_counter() - begun) * 1000
        closing = "connection: close\r\n" if self.stopping.is_set() else ""
        writer.write(
            f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{closing}"
            f"server-timing: app;dur={took:.3f}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await writer.drain()

    async def work(self, query: dict[str, str]) -> None:
        """Wait, burn, and count the request."""
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            await asyncio.sleep(float(query.get("ms", 0)) / 1000)
            until = time.thread_time() + float(query.get("cpu_ms", 0)) / 1000
            while time.thread_time() < until:
                pass
        finally:
            self.in_flight -= 1
            self.served += 1

    def stats(self) -> dict[str, str | int]:
        """Return who answers and what it has seen."""
        return {
            "instance": f"{os.uname().nodename}-{os.getpid()}",
            "revision": os.environ.get("K_REVISION", ""),
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "served": self.served,
        }


if __name__ == "__main__":
    asyncio.run(Hello().run(int(os.environ.get("PORT", "8080"))))
