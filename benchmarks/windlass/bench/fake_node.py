"""The least node that a router worker can work with: one instance of one service, no decisions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from windlass.router import link

if TYPE_CHECKING:
    from pathlib import Path

_REVISION = "bench-00001"


class FakeNode:
    """Listens where a worker looks for its node, and forgets what is reported."""

    def __init__(self, backend: int, concurrency: int, *, h2c: bool = False) -> None:
        """`h2c`: the instance at the port `backend` speaks HTTP/2."""
        self._backend, self._concurrency = backend, concurrency
        self._protocol: Literal["http1", "h2c"] = "h2c" if h2c else "http1"
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()
        self.in_flight = 0  # as a worker reported last

    async def listen(self, socket: Path) -> None:
        """Wait for workers at a Unix socket."""
        self._server = await asyncio.start_unix_server(self._talk, socket)

    async def close(self) -> None:
        """Leave the workers alone."""
        if self._server is not None:
            self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            while True:
                match await link.read_for_node(reader):
                    case link.Hello():
                        for message in self._state():
                            writer.write(link.encode(message))
                    case link.Report(sequence=sequence, revisions=revisions):
                        self.in_flight = sum(one.in_flight for one in revisions)
                        writer.write(link.encode(link.Acknowledge(sequence)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the worker has ended
        finally:
            self._talks.discard(task)
            writer.close()

    def _state(self) -> tuple[link.ToWorker, ...]:
        revision = link.RevisionRoute(
            name=_REVISION,
            service="bench",
            concurrency=self._concurrency,
            target=self._concurrency,
            max_body=0,
            protocol=self._protocol,
        )
        service = link.ServiceRoute(
            name="bench", splits=(link.Split(revision=_REVISION, percent=100),)
        )
        instance = link.InstanceRoute(
            id=f"{_REVISION}-bench", revision=_REVISION, host="127.0.0.1", port=self._backend
        )
        return (
            link.Routes(services=(service,), revisions=(revision,), default_service="bench"),
            link.InstanceReady(instance),
            link.Grant(instance.id, self._concurrency),
        )
