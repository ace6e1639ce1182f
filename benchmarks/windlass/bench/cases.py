"""The loads that every proxy gets, and what a number of rounds of one of them comes to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING

from windlass.bench import load
from windlass.bench.cputime import cpu_nanoseconds
from windlass.bench.grpc_calls import call
from windlass.bench.proxies import MIB
from windlass.bench.tunnels import exchange_messages
from windlass.bench.wrk import Measured, wrk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from windlass.bench.servers import Server

_BROWSER = (
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("Accept-Language", "en-GB,en;q=0.7,de;q=0.3"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Referer", "http://localhost/a/page/before"),
    ("Cookie", "session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes"),
    ("Cache-Control", "no-cache"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A load: closed loop of `connections` by wrk, or open loop at `rate` by our generator."""

    name: str
    path: str = "/"
    connections: int = 64
    rate: float | None = None
    headers: tuple[tuple[str, str], ...] = ()
    upload: int = 0  # bytes
    mebibytes: int = 0  # of body a request, one way or the other
    concurrency: int = 1000  # of the router's one instance; fewer than connections: the rest queue
    is_websocket: bool = False  # a request is a message and its echo
    calls: int = 0  # of gRPC at once on each connection; 0: not gRPC


CASES = (
    Case(name="small"),
    Case(name="headers", headers=_BROWSER),
    Case(name="queued", concurrency=32),
    Case(name="fixed_rate", rate=2000),
    Case(name="large_download", path="/large", connections=16, mebibytes=1),
    Case(name="large_upload", path="/upload", connections=16, upload=MIB, mebibytes=1),
    Case(name="websocket", path="/chat", is_websocket=True),
    Case(name="grpc", connections=16, calls=4),
)


@dataclass(frozen=True)
class Round:
    """One stretch of load on one server, and the CPU time that the server took for it."""

    measured: Measured
    cpu: int | None  # nanoseconds; None: nothing was between load and backend


async def measure(case: Case, server: Server, seconds: float, directory: Path) -> Round:
    """Load a server once."""
    before = cpu_nanoseconds(server.pid) if server.pid else 0
    if case.is_websocket:
        measured = await exchange_messages(
            server.port, connections=case.connections, seconds=seconds
        )
    elif case.calls:
        measured = await call(
            server.port,
            directory,
            seconds=seconds,
            connections=case.connections,
            calls=case.calls,
        )
    elif case.rate is None:
        measured = await wrk(
            f"http://127.0.0.1:{server.port}{case.path}",
            directory,
            seconds=seconds,
            connections=case.connections,
            headers=case.headers,
            upload=case.upload,
        )
    else:
        measured = await _at_rate(case, case.rate, server, seconds)
    return Round(measured, cpu_nanoseconds(server.pid) - before if server.pid else None)


async def _at_rate(case: Case, rate: float, server: Server, seconds: float) -> Measured:
    found = await load.run(
        load.Load(
            host="127.0.0.1",
            port=server.port,
            host_header="127.0.0.1",
            path=case.path,
            headers=case.headers,
            rate=rate,
            duration=seconds,
            timeout=5,
        )
    )
    p50, p99, p999 = (found.latency.percentile(percent) / 1e6 for percent in (50, 99, 99.9))
    return Measured(found.requests, found.elapsed, p50, p99, p999, found.error_count)


def summarise(case: Case, rounds: Mapping[str, Sequence[Round]]) -> dict[str, dict[str, object]]:
    """Return each proxy's medians over the rounds, and the rounds as they were.

    The ratio to nginx is the median of the rounds' own ratios, so that what disturbs the machine
    for a whole round does not count.
    """
    return {name: _summary(case, mine, rounds.get("nginx")) for name, mine in rounds.items()}


def _summary(case: Case, mine: Sequence[Round], nginx: Sequence[Round] | None) -> dict[str, object]:
    all_measured = [each.measured for each in mine]
    found: dict[str, object] = {
        "requests_per_second": median(each.requests / each.seconds for each in all_measured),
        "p50_ms": median(each.p50 for each in all_measured),
        "p99_ms": median(each.p99 for each in all_measured),
        "p999_ms": median(each.p999 for each in all_measured),
        "errors": sum(each.errors for each in all_measured),
        "rounds": [asdict(each) for each in mine],
    }
    costs = [cost for each in mine if (cost := _cpu_microseconds(each)) is not None]
    if len(costs) < len(mine):
        return found
    found["cpu_us_per_request"] = median(costs)
    if case.mebibytes:
        found["cpu_us_per_mib"] = median(costs) / case.mebibytes
    theirs = [_cpu_microseconds(each) for each in nginx or ()]
    ratios = [cost / other for cost, other in zip(costs, theirs, strict=False) if other]
    if ratios:
        found["ratio_to_nginx"] = median(ratios)
    return found


def _cpu_microseconds(each: Round) -> float | None:
    if each.cpu is None or not each.measured.requests:
        return None
    return each.cpu / 1000 / each.measured.requests
