"""A router worker: listens for clients, keeps the link to the node, ends without losing a request.

Run as `python -m windlass.router --link SOCKET --http HOST:PORT --worker NAME`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import errno
import gc
import os
import secrets
import signal
import socket
import sys
import tempfile
from pathlib import Path
from time import monotonic_ns
from typing import TYPE_CHECKING

import structlog
import uvloop

from windlass.router import compiled
from windlass.router.access_log import AccessLog
from windlass.router.affinity import Affinity
from windlass.router.descriptors import for_clients, raise_limit
from windlass.router.dispatch import Dispatch
from windlass.router.http1 import ClientConnection
from windlass.router.link import LISTENERS
from windlass.router.node_link import NodeLink
from windlass.router.pool import SECOND
from windlass.router.stall import FIRST_UNSENT
from windlass.router.tls import CertificateFault, Certificates
from windlass.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Sequence

log = structlog.get_logger(__name__)

BACKLOG = 4096  # connections that wait to be accepted; the kernel may allow fewer
INTERVAL = 0.25  # seconds between reports, and between looks at deadlines
GRACE = 10.0  # seconds for requests under way when told to end by a signal
NODE_AWAY_LIMIT = 60.0  # seconds without the node after which the worker ends
HANDSHAKE_TIME = 10.0  # seconds for a client to finish TLS's handshake
ACCEPT_TIME = 1.0  # seconds in which a connection that was accepted is surely noted
KEPT = 16 * 1024**2  # bytes of freed memory that are not given back
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
CANNOT_LISTEN = 3  # exit status


class Worker:
    """One worker process, from listening to its end."""

    def __init__(self, link: str, name: str, domains: Sequence[str] = ()) -> None:
        """Prepare a worker for the node at the Unix socket `link`; needs a running loop."""
        self.link = NodeLink(link, name)
        self.dispatch = Dispatch(self.link, tuple(domains))
        self._servers: list[asyncio.Server] = []
        self._accepting: asyncio.Task[int] | None = None
        self._settling = 0.0  # seconds until what was accepted last is among the clients
        self._draining: asyncio.Task[None] | None = None
        self._finished = asyncio.Event()

    async def listen(self, host: str, port: int, certificates: Certificates | None = None) -> int:
        """Listen for clients, in TLS if there are certificates; return the port.

        Raises:
            OSError: the address cannot be had.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        sockets = [
            socket.create_server(address[:2], family=family, backlog=BACKLOG)
            for family, _, _, _, address in dict.fromkeys(found)
        ]
        return await self.serve(sockets, certificates)

    def inherit(self, sockets: Sequence[socket.socket], certificates: Certificates | None) -> None:
        """Accept clients on these sockets, once it is known what they may ask for.

        Another worker may accept there still: what comes before the routes do is not for us.
        """
        self.link.listeners = tuple(sockets)
        self._accepting = asyncio.create_task(self._accept(sockets, certificates))

    async def _accept(
        self, sockets: Sequence[socket.socket], certificates: Certificates | None
    ) -> int:
        await self.link.knows_routes.wait()
        return await self.serve(sockets, certificates)

    async def serve(
        self, sockets: Sequence[socket.socket], certificates: Certificates | None = None
    ) -> int:
        """Accept clients on sockets that listen; return the port."""
        loop = asyncio.get_running_loop()
        self.link.listeners = tuple(sockets)
        for listener in sockets:
            # Those that it accepts inherit it.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, FIRST_UNSENT)
            server = await loop.create_server(
                lambda: ClientConnection(self.dispatch),
                sock=listener,
                backlog=BACKLOG,
                ssl=certificates.context if certificates else None,
                ssl_handshake_timeout=HANDSHAKE_TIME if certificates else None,
            )
            self._servers.append(server)
        self._settling = HANDSHAKE_TIME if certificates else ACCEPT_TIME
        host, port = sockets[0].getsockname()[:2]
        log.info("listening", host=host, port=port, router=compiled.describe())
        return int(port)

    async def run(self) -> None:
        """Serve until drained."""
        link = asyncio.create_task(self.link.run(self.dispatch, self.drain))
        while not self._finished.is_set():
            self._tick()
            accepting = self._accepting
            if accepting is not None and accepting.done() and not accepting.cancelled():
                accepting.result()  # its fault is ours
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL):
                    await self._finished.wait()
        self.link.report(self.dispatch, last=True)
        if self.dispatch.access_log is not None:
            await self.dispatch.access_log.close()
        link.cancel()
        await asyncio.wait([link])

    def drain(self, grace: float, *, patient: bool = False) -> None:
        """Begin to end: finish what is under way, at most `grace` seconds long.

        `patient`: another worker accepts connections already, so clients are given the time to
        notice that theirs ends.
        """
        if self._draining is None:
            self._draining = asyncio.create_task(self._finish(grace, patient=patient))

    def _tick(self) -> None:
        self.dispatch.sweep(monotonic_ns())
        if self.dispatch.access_log is not None:
            self.dispatch.access_log.flush()
        self.link.report(self.dispatch)
        away = self.link.away_since
        if away is not None and asyncio.get_running_loop().time() - away > NODE_AWAY_LIMIT:
            if self._draining is None:
                log.warning("the node is away: ending", seconds=NODE_AWAY_LIMIT)
            self.drain(grace=3600.0)  # no request may take longer

    async def _finish(self, grace: float, *, patient: bool) -> None:
        try:
            await self._drain_clients(grace, patient=patient)
        finally:
            self._finished.set()

    async def _drain_clients(self, grace: float, *, patient: bool) -> None:
        dispatch = self.dispatch
        log.info("draining", clients=len(dispatch.clients), grace=grace)
        if self._accepting is not None:
            self._accepting.cancel()
        for server in self._servers:
            server.close()
        now = monotonic_ns()
        dispatch.drain(now, now + int(grace * SECOND), patient=patient)
        if patient:
            await asyncio.sleep(self._settling)
            if dispatch.clients:
                dispatch.emptied.clear()
        try:
            async with asyncio.timeout(grace):
                await dispatch.emptied.wait()
        except TimeoutError:
            dispatch.abort_clients()
            await dispatch.emptied.wait()
        log.info("drained")


async def serve(options: argparse.Namespace) -> int:
    """Run a worker until it is told to end; return the exit status."""
    worker = Worker(options.link, options.worker, options.domain)
    worker.dispatch.max_clients = for_clients(raise_limit())
    worker.dispatch.affinity = Affinity(shared_key(Path(options.link).with_name("affinity.key")))
    worker.dispatch.server_timing = options.server_timing
    if options.access_log != "off":
        worker.dispatch.access_log = AccessLog(options.access_log, sys.stdout)
    worker.dispatch.tunnel_idle = int(options.tunnel_idle * SECOND)
    loop = asyncio.get_running_loop()
    certificates = None
    signal.signal(
        signal.SIGHUP, signal.SIG_IGN
    )  # it means: read the certificates, if there are any
    host, _, port = options.http.rpartition(":")
    try:
        if options.tls_cert:
            certificates = Certificates(list(zip(options.tls_cert, options.tls_key, strict=True)))
            loop.add_signal_handler(signal.SIGHUP, certificates.reload)
        if inherited := os.environ.get(LISTENERS):
            sockets = [socket.socket(fileno=int(number)) for number in inherited.split(",")]
            worker.inherit(sockets, certificates)
        else:
            await worker.listen(host.strip("[]"), int(port), certificates)
    except CertificateFault as fault:
        print(f"windlass: cannot serve TLS: {fault}", file=sys.stderr)
        return CANNOT_LISTEN
    except OSError as error:
        cause = "the address is in use" if error.errno == errno.EADDRINUSE else str(error)
        print(
            f"windlass: cannot listen on {options.http}: {cause}; "
            "choose another one with --http HOST:PORT",
            file=sys.stderr,
        )
        return CANNOT_LISTEN
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.drain, GRACE)
    keep_freed_memory()
    # What lives now lives as long as the process: the garbage collector need not look at it.
    gc.collect()
    gc.freeze()
    await worker.run()
    return 0


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for what comes next, up to KEPT bytes.

    By itself it gives parts of large bodies back to the kernel, to have as many pages cleared for
    the next ones: half of an upload's CPU time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, KEPT)
        mallopt(_M_TRIM_THRESHOLD, KEPT)


def shared_key(path: Path) -> bytes:
    """Return the key that all workers of a node share; the first one makes it."""
    with tempfile.NamedTemporaryFile(dir=path.parent) as file:
        file.write(secrets.token_bytes(32))
        file.flush()
        with contextlib.suppress(FileExistsError):
            os.link(file.name, path)
    return path.read_bytes()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m windlass.router", description=__doc__)
    parser.add_argument("--link", required=True, help="Unix socket of the node")
    parser.add_argument("--http", required=True, metavar="HOST:PORT", help="where to listen")
    parser.add_argument("--worker", required=True, help="this worker's name")
    parser.add_argument(
        "--domain", action="append", default=[], help="a domain besides those the node names"
    )
    parser.add_argument(
        "--server-timing",
        action="store_true",
        help="responses say their X-Request-Id and, in Server-Timing, where the time went",
    )
    parser.add_argument(
        "--access-log",
        choices=("off", "json", "common"),
        default="off",
        help="a line on stdout for each request",
    )
    parser.add_argument(
        "--tunnel-idle",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="end a WebSocket (or other upgrade) through which nothing passes; 0: never",
    )
    parser.add_argument(
        "--tls-cert",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="serve TLS with this certificate (PEM, with its chain); again for more names",
    )
    parser.add_argument(
        "--tls-key",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="the key of each --tls-cert, in their order",
    )
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    options = parser.parse_args(arguments)
    if not options.http.rpartition(":")[2].isdigit():
        parser.error(f"--http {options.http}: want HOST:PORT, as in 127.0.0.1:8080")
    if len(options.tls_cert) != len(options.tls_key):
        parser.error("each --tls-cert needs its --tls-key, in the same order")
    logs.configure(options.log_format)
    return uvloop.run(serve(options))
