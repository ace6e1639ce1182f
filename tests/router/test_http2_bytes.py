"""Whatever a client sends in HTTP/2: no crash, nothing left, every slot free again."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from hpack import Encoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from windlass.router import link
from windlass.router.dispatch import Dispatch
from windlass.router.http2 import ClientSession
from windlass.router.http2_frames import PREFACE
from windlass.router.pool import SECOND

if TYPE_CHECKING:
    from windlass.router.endpoint import Endpoint
    from windlass.router.exchange import Exchange
    from windlass.router.pool import Pool

HEAD = [(":method", "POST"), (":scheme", "http"), (":authority", "hello.localhost"), (":path", "/")]


class Nobody:
    """A node that does not listen."""

    def starved(self, pool: Pool[Endpoint, Exchange]) -> None: ...
    def returned(self, pool: Pool[Endpoint, Exchange]) -> None: ...

    def aside(self, instance: str, *, aside: bool) -> None: ...

    def drained(self, instance: str) -> None: ...
    def rested(self, instance: str, number: int, *, at_rest: bool) -> None: ...
    def woken(self, instance: str) -> None: ...
    def unreachable(self, instance: str, failures: int, reason: str) -> None: ...


class Wire(asyncio.Transport):
    """A client's end that takes all and reads nothing of it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("10.0.0.1", 1), "sockname": ("10.0.0.2", 80)})
        self.written = 0
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += len(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


def raw(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def block(fields: list[tuple[str, str]]) -> bytes:
    return bytes(Encoder().encode(fields))


STREAMS = st.integers(0, 9)
FRAMES = st.builds(
    raw, st.integers(0, 11), st.integers(0, 255), STREAMS, st.binary(max_size=24)
) | st.one_of(
    st.builds(lambda flags, n: raw(1, flags, n, block(HEAD)), st.sampled_from([4, 5]), STREAMS),
    st.builds(
        lambda flags, n, field: raw(1, flags, n, block([*HEAD, field])),
        st.sampled_from([0, 4, 5]),
        STREAMS,
        st.tuples(
            st.sampled_from(["te", "host", ":path", "content-length", "connection", "A", ""]),
            st.sampled_from(["", "trailers", "5", "/", "a\nb", "é"]),
        ),
    ),
    st.builds(lambda n: raw(1, 5, n, block([("grpc-status", "0")])), STREAMS),
    st.builds(lambda n, data, end: raw(0, end, n, data), STREAMS, st.binary(), st.integers(0, 9)),
    st.builds(lambda n: raw(3, 0, n, bytes(4)), STREAMS),
    st.builds(
        lambda n, size: raw(8, 0, n, size.to_bytes(4, "big")), STREAMS, st.integers(0, 2**32 - 1)
    ),
    st.builds(
        lambda key, value: raw(4, 0, 0, key.to_bytes(2, "big") + value.to_bytes(4, "big")),
        st.integers(0, 8),
        st.integers(0, 2**32 - 1),
    ),
    st.just(raw(7, 0, 0, bytes(8))),
)


def dispatch_without_instances() -> Dispatch:
    dispatch = Dispatch(Nobody())
    service = link.ServiceRoute(name="hello", splits=(link.Split(revision="r", percent=100),))
    revision = link.RevisionRoute(name="r", service="hello")
    dispatch.apply_routes(link.Routes(services=(service,), revisions=(revision,)), 0)
    return dispatch


async def serve(frames: list[bytes], cut: int, shift: int) -> None:
    """Feed a session what comes in pieces, let its requests be refused, and end it."""
    loop = asyncio.get_running_loop()
    faults: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: faults.append(context))
    dispatch, wire = dispatch_without_instances(), Wire()
    session = ClientSession(dispatch)
    session.connection_made(wire)
    data = PREFACE + raw(4, 0, 0, b"") + b"".join(frames)
    for at in range(0, len(data), cut):
        if wire.closed:
            break
        session.data_received(data[at : at + cut])
        if at % 3 == shift:
            await asyncio.sleep(0)
    pool = dispatch.pools["r"]
    assert pool.counts.queued == len(pool.queue) <= len(session.streams)
    dispatch.sweep(pool.counts.at + 20 * SECOND)  # those that wait have waited long enough
    assert not pool.queue
    await asyncio.sleep(0)
    session.connection_lost(None)
    await asyncio.sleep(0)
    assert (pool.counts.in_flight, pool.counts.queued) == (0, 0)
    assert not session.streams
    assert not dispatch.clients
    assert not faults


@pytest.mark.slow
@given(st.lists(FRAMES, max_size=12), st.integers(1, 400), st.integers(0, 2))
@settings(
    max_examples=int(os.environ.get("WINDLASS_FUZZ", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_frames_leave_nothing_behind(frames: list[bytes], cut: int, shift: int) -> None:
    asyncio.run(serve(frames, cut, shift))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_valid_session_survives_any_flipped_byte(size: int) -> None:
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    client.send_headers(1, HEAD)
    client.send_data(1, b"hello", end_stream=True)
    client.send_headers(3, HEAD, end_stream=True)
    frames = client.data_to_send()[len(PREFACE) :]
    for at in range(0, len(frames), size):
        broken = bytearray(frames)
        broken[at] ^= 1 << at % 8
        asyncio.run(serve([bytes(broken)], 1000, 0))
