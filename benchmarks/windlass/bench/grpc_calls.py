"""A closed loop of gRPC's unary calls, by h2load."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from windlass.bench.histogram import Histogram
from windlass.bench.program import output_of
from windlass.bench.proxies import GRPC_MESSAGE
from windlass.bench.wrk import Measured

if TYPE_CHECKING:
    from pathlib import Path

TOOL = "h2load"
PACKAGE = "nghttp2-client"
_COUNTS = re.compile(
    r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, \d+ failed, "
    r"(\d+) errored, (\d+) timeout"
)


class CallFault(Exception):
    """h2load could not run or said nothing that can be read."""


async def call(
    port: int, directory: Path, *, seconds: float, connections: int, calls: int
) -> Measured:
    """Load what listens on the port, with so many calls at once on each connection.

    Raises:
        CallFault: with what h2load said.
    """
    log = directory / "calls.log"
    log.unlink(missing_ok=True)  # h2load appends
    duration = f"{round(seconds * 1000)}ms"
    options = ("-D", duration, "-c", str(connections), "-m", str(calls), f"--log-file={log}")
    output = await _h2load(port, directory, *options)
    return summarise(output, log.read_text(), seconds)


async def answers(port: int, directory: Path) -> bool:
    """Tell whether what listens on the port, if anything does, answers a call."""
    try:
        return counts(await _h2load(port, directory, "-n1", "-c1")) == (1, 0)
    except CallFault:
        return False


async def _h2load(port: int, directory: Path, *options: str) -> str:
    message = directory / "message"
    message.write_bytes(GRPC_MESSAGE)
    return await output_of(
        *(TOOL, "-t1", "-d", str(message), "-H", "content-type: application/grpc"),
        *("-H", "te: trailers", *options, f"http://127.0.0.1:{port}/bench.Service/Unary"),
    )


def summarise(output: str, log: str, seconds: float) -> Measured:
    """Return what calls came to, from h2load's output and its line for each of them.

    Raises:
        CallFault: the output has no count of requests.
    """
    done, failed = counts(output)
    latency = Histogram()
    for line in log.splitlines():
        latency.record(int(line.split("\t")[2]) * 1000)
    p50, p99, p999 = (latency.percentile(percent) / 1e6 for percent in (50, 99, 99.9))
    return Measured(done, seconds, p50, p99, p999, failed)


def counts(output: str) -> tuple[int, int]:
    """Return how many calls h2load says were answered, and how many of all failed.

    Raises:
        CallFault: it does not say so.
    """
    found = _COUNTS.search(output)
    if found is None:
        said = output.strip() or "nothing at all"
        raise CallFault(f"h2load said nothing that can be read: {said}")
    done, succeeded, errored, timed_out = map(int, found.groups())
    return done, done - succeeded + errored + timed_out
