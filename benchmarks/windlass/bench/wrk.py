"""Runs wrk, a closed loop of kept-alive connections, and reads what it measured."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from windlass.bench.program import output_of

if TYPE_CHECKING:
    from pathlib import Path

# wrk prints no p99.9 by itself; all in microseconds.
_SCRIPT = """
wrk.method = "{method}"
{body}
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nRESULT {{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "p999": %d, ' ..
    '"errors": %d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    latency:percentile(99.9), e.connect + e.read + e.write + e.status + e.timeout))
end
"""


class WrkFault(Exception):
    """wrk could not run or said nothing that can be read."""


@dataclass(frozen=True)
class Measured:
    """What one stretch of load showed; latencies in milliseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float
    p999: float
    errors: int


async def wrk(
    url: str,
    directory: Path,
    *,
    seconds: float,
    connections: int = 64,
    headers: tuple[tuple[str, str], ...] = (),
    upload: int = 0,
) -> Measured:
    """Load the URL; `upload`: bytes of a POST's body, 0: GET. wrk takes whole seconds, at least 1.

    Raises:
        WrkFault: with what wrk said.
    """
    script = directory / "wrk.lua"
    body = f'wrk.body = string.rep("x", {upload})' if upload else ""
    script.write_text(_SCRIPT.format(method="POST" if upload else "GET", body=body))
    output = await output_of(
        *("wrk", "-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s", "-s", str(script)),
        *(part for name, value in headers for part in ("-H", f"{name}: {value}")),
        url,
    )
    return parse(output)


def parse(output: str) -> Measured:
    """Read what our script made wrk print.

    Raises:
        WrkFault: there is no such line.
    """
    for line in output.splitlines():
        if line.startswith("RESULT "):
            found = json.loads(line.removeprefix("RESULT "))
            return Measured(
                requests=found["requests"],
                seconds=found["microseconds"] / 1e6,
                p50=found["p50"] / 1000,
                p99=found["p99"] / 1000,
                p999=found["p999"] / 1000,
                errors=found["errors"],
            )
    raise WrkFault(f"wrk said nothing that can be read: {output.strip() or 'nothing at all'}")
