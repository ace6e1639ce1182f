"""A worker on real sockets of the loopback: a node that is only a script, an origin, a client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Literal, TypeVar

import pytest
import uvloop
from tests.router.http2_client import Http2Client

from windlass.router import link
from windlass.router.endpoint_http2 import Http2Endpoint
from windlass.router.server import Worker

if TYPE_CHECKING:
    from pathlib import Path

MessageT = TypeVar("MessageT")
Connect = Callable[[], Awaitable[Http2Client]]
Handler = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run this folder's tests on the loop that a worker runs on."""
    return {"uvloop": uvloop.new_event_loop}


class Node:
    """The node's end of the link: says what a test tells it to, remembers what it hears."""

    def __init__(self) -> None:
        self.heard: list[link.ToNode] = []
        self.acknowledges = True
        self._news = asyncio.Condition()
        self._writer: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        try:
            while True:
                message = await link.read_for_node(reader)
                if isinstance(message, link.Report) and self.acknowledges:
                    self.say(link.Acknowledge(message.sequence))
                async with self._news:
                    self.heard.append(message)
                    self._news.notify_all()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def say(self, message: link.ToWorker) -> None:
        assert self._writer is not None
        self._writer.write(link.encode(message))

    def hang_up(self) -> None:
        assert self._writer is not None
        self._writer.close()

    async def hears(self, kind: type[MessageT], count: int = 1) -> MessageT:
        """Wait for the count-th message of a kind."""
        async with asyncio.timeout(5), self._news:
            while len(found := [m for m in self.heard if isinstance(m, kind)]) < count:
                await self._news.wait()
        return found[count - 1]


class Origin:
    """An instance: answers each head with the handler of its path."""

    def __init__(self) -> None:
        self.handlers: dict[bytes, Handler] = {}
        self.heads: list[bytes] = []
        self.connections = 0
        self.gone = asyncio.Semaphore(0)  # released for each connection that has ended
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                path = head.split(b" ", 2)[1].partition(b"?")[0]
                if not await self.handlers[path](head, reader, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            self.gone.release()
            writer.close()

    def answers(self, path: str, response: bytes, *, keep: bool = True) -> None:
        async def handler(
            head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> bool:
            writer.write(response)
            await writer.drain()
            return keep

        self.handlers[path.encode()] = handler

    def close(self) -> None:
        for writer in list(self._writers):
            writer.close()


class Client:
    """A client that sends and expects bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def get(self, path: str, *fields: str, host: str = "hello.localhost") -> None:
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *fields, "", ""]
        self.send("\r\n".join(lines).encode())

    async def head(self) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def exactly(self, count: int) -> bytes:
        async with asyncio.timeout(10):
            return await self.reader.readexactly(count)

    async def until(self, end: bytes) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.readuntil(end)

    async def rest(self) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.read()

    async def response(self) -> tuple[int, bytes]:
        """Return status and body of a response with Content-Length."""
        head = await self.head()
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head.split(b" ")[1]), await self.exactly(length)

    def close(self) -> None:
        self.writer.close()


class Rig:
    """A worker with a node, an origin and clients; the service is `hello`."""

    def __init__(self, worker: Worker, node: Node, origin: Origin, port: int) -> None:
        self.worker, self.node, self.origin, self.port = worker, node, origin, port
        self.clients: list[Client] = []
        self.slots = 0  # of each instance: the node leases them all
        self.running: asyncio.Task[None]

    def route(
        self,
        *,
        concurrency: int = 80,
        max_body: int = 32 * 1024**2,
        timeout: float = 300.0,
        queue_wait: float = 10.0,
        protocol: Literal["http1", "h2c"] = "http1",
        session_affinity: bool = False,
    ) -> None:
        self.slots = concurrency
        revision = link.RevisionRoute(
            name="hello-00001",
            service="hello",
            concurrency=concurrency,
            target=concurrency,
            max_body=max_body,
            timeout=timeout,
            queue_wait=queue_wait,
            protocol=protocol,
            session_affinity=session_affinity,
        )
        service = link.ServiceRoute(
            name="hello", splits=(link.Split(revision="hello-00001", percent=100),)
        )
        self.node.say(link.Routes(services=(service,), revisions=(revision,)))

    def ready(self, instance: str = "hello-00001-a", port: int = 0) -> None:
        route = link.InstanceRoute(
            id=instance, revision="hello-00001", host="127.0.0.1", port=port or self.origin.port
        )
        self.node.say(link.InstanceReady(route))
        self.node.say(link.Grant(instance, self.slots))

    @staticmethod
    async def until(condition: Callable[[], bool]) -> None:
        """Let the loop turn until the condition holds."""
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110  # counters of the worker have no event to wait for
                await asyncio.sleep(0.001)

    async def settled(self, known: int = 1) -> None:
        """Wait until the worker knows so many instances."""
        await self.until(lambda: len(self.worker.dispatch.leases()) == known)

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        return client

    def in_flight(self) -> int:
        return sum(pool.counts.in_flight for pool in self.worker.dispatch.pools.values())

    def queued(self) -> int:
        return sum(pool.counts.queued for pool in self.worker.dispatch.pools.values())

    async def free(self) -> None:
        """Wait until no request is under way, and check that nothing of one is left."""
        await self.until(lambda: not (self.in_flight() or self.queued()))
        for pool in self.worker.dispatch.pools.values():
            for endpoint in pool.instances.values():
                assert endpoint.in_flight == 0
                assert not endpoint.connecting
                for upstream in endpoint.connections:
                    assert upstream.exchange is None
                if isinstance(endpoint, Http2Endpoint):
                    assert not any(session.streams for session in endpoint.sessions)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    node, origin = Node(), Origin()
    path = str(tmp_path / "link")
    link_server = await asyncio.start_unix_server(node.serve, path)
    origin_server = await asyncio.start_server(origin.serve, "127.0.0.1", 0, backlog=1024)
    origin.port = origin_server.sockets[0].getsockname()[1]
    worker = Worker(path, "worker-0")
    rig = Rig(worker, node, origin, await worker.listen("127.0.0.1", 0))
    rig.running = asyncio.create_task(worker.run())
    await node.hears(link.Hello)
    rig.route()
    rig.ready()
    await rig.settled()
    yield rig
    for client in rig.clients:
        client.close()
    if not rig.running.done():
        await rig.free()
        worker.drain(1.0)
    await rig.running
    origin.close()
    for server in (origin_server, link_server):
        server.close()
        await server.wait_closed()


@pytest.fixture
async def connect(rig: Rig) -> AsyncIterator[Connect]:
    clients = []

    async def connect() -> Http2Client:
        clients.append(await Http2Client.connect(rig.port))
        return clients[-1]

    yield connect
    for client in clients:
        await client.close()
