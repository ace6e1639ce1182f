"""Feeds a worker's connections hostile bytes in memory, and looks for crashes, hangs and leaks.

`python -m windlass.bench.fuzz --inputs 1000000`; input N of a seed is always the same one, and
`--only N` plays it alone.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from windlass.bench.judges import Finding, check_http1, check_http2, first_status
from windlass.bench.machine import describe
from windlass.bench.memory import Wire
from windlass.bench.mutation import Event, talk
from windlass.router.exchange import Exchange
from windlass.router.http1 import ClientConnection
from windlass.router.http2_session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType

    from windlass.bench.memory import Transport
    from windlass.bench.mutation import Step

HANG = 5.0  # seconds for one input
SLOW = 0.25  # seconds of CPU
MAX_FINDINGS = 20
LINGER = 2.5  # seconds after which nothing waits for a transport's end any more
_LEAK_CHECK = 50_000  # inputs between looks at what the garbage collector cannot free


@dataclass
class Outcome:
    """What a run found."""

    inputs: int = 0
    bytes: int = 0
    seconds: float = 0.0
    slowest: float = 0.0  # CPU seconds of one input
    statuses: dict[str, int] = field(default_factory=dict)  # of first answers
    findings: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)  # KiB at the first leak check and at the end


async def play(steps: Sequence[Step], *, h2c: bool = False) -> bytes:
    """Play one input; return what the client was sent.

    Raises:
        Finding: with what is wrong.
    """
    wire = Wire(h2c=h2c)
    client = wire.client()
    for event, data in steps:
        _happen(wire, client, event, data)
        _deliver_ends(wire, client)
        if h2c or not isinstance(client.protocol, ClientConnection):
            await asyncio.sleep(0)  # HTTP/2 writes when the loop turns
        if wire.pool.counts.in_flight > 1:
            raise Finding("more in flight than the concurrency")
    for transport in wire.connects.transports:
        check = check_http2 if h2c else check_http1
        check(bytes(transport.written))
    _end(wire, client)
    await asyncio.sleep(0)
    if leaks := wire.leaks():
        raise Finding(f"leaked: {', '.join(leaks)}")
    return bytes(client.written)


def _happen(wire: Wire, client: Transport, event: Event, data: bytes) -> None:
    instances = wire.connects.transports
    instance = instances[-1] if instances else None
    match event:
        case Event.CLIENT_SENDS:
            client.bring(data)
        case Event.CONNECTED | Event.REFUSED:
            wire.connects.answer(succeed=event is Event.CONNECTED)
        case Event.CLIENT_FULL if not client.ended:
            client.protocol.pause_writing()
        case Event.CLIENT_TAKES if not client.ended:
            client.protocol.resume_writing()
        case Event.CLIENT_LEAVES:
            client.ended = True
        case Event.DEADLINE:
            wire.dispatch.sweep(time.monotonic_ns() + 10**12)
        case _ if instance is None or instance.ended:
            pass
        case Event.INSTANCE_SENDS:
            instance.bring(data)
        case Event.INSTANCE_FULL:
            instance.protocol.pause_writing()
        case Event.INSTANCE_TAKES:
            instance.protocol.resume_writing()
        case Event.INSTANCE_LEAVES:
            instance.ended = True


def _deliver_ends(wire: Wire, client: Transport) -> None:
    """Tell the protocols of ended transports, as the loop does after the callback."""
    for transport in [*wire.connects.transports, client]:
        if transport.ended and not getattr(transport, "told", False):
            transport.told = True  # type: ignore[attr-defined]
            transport.protocol.connection_lost(None)


def _end(wire: Wire, client: Transport) -> None:
    client.ended = True
    _deliver_ends(wire, client)
    for transport in wire.connects.transports:
        transport.ended = True
    _deliver_ends(wire, client)


async def run(inputs: int, seed: int, first: int = 0) -> Outcome:
    """Play many inputs."""
    outcome = Outcome()
    seen: set[str] = set()
    begin = time.monotonic()
    signal.signal(signal.SIGALRM, _hang)
    for number in range(first, first + inputs):
        played = talk(Random(f"{seed} {number}"))
        began = time.process_time()
        signal.setitimer(signal.ITIMER_REAL, HANG)
        try:
            _count(outcome, await play(played.steps, h2c=played.h2c))
        except Exception as error:  # whatever it is, it is what is looked for
            _note(outcome, seen, number, error)
        signal.setitimer(signal.ITIMER_REAL, 0)
        took = time.process_time() - began
        if took > max(SLOW, outcome.slowest):
            _note(outcome, seen, number, Finding(f"slow: {took:.2f} s"))
        outcome.slowest = max(outcome.slowest, took)
        outcome.inputs += 1
        outcome.bytes += sum(len(data) for _, data in played.steps)
        if outcome.inputs % _LEAK_CHECK == 0:
            await _look_for_leaks(outcome, seen, number)
        if len(outcome.findings) >= MAX_FINDINGS:
            break
    outcome.seconds = time.monotonic() - begin
    outcome.memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return outcome


def _hang(number: int, frame: FrameType | None) -> None:
    raise Finding(f"no end after {HANG:g} s")


def _count(outcome: Outcome, answer: bytes) -> None:
    status = first_status(answer)
    outcome.statuses[status] = outcome.statuses.get(status, 0) + 1


async def _look_for_leaks(outcome: Outcome, seen: set[str], number: int) -> None:
    await asyncio.sleep(LINGER)
    gc.collect()
    alive = sum(
        isinstance(thing, ClientConnection | Session | Exchange) for thing in gc.get_objects()
    )
    if alive:
        _note(outcome, seen, number, Finding(f"leaked: {alive} connections or requests in memory"))
    if len(outcome.memory) < 1:
        outcome.memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    print(f"{outcome.inputs} inputs, {len(outcome.findings)} findings", file=sys.stderr, flush=True)


def _note(outcome: Outcome, seen: set[str], number: int, error: Exception) -> None:
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-4:]))
    kind = f"{type(error).__name__} at {where}"
    if kind not in seen:
        seen.add(kind)
        outcome.findings.append(f"input {number}: {kind}: {error}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz; return 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m windlass.bench.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the first input's number")
    parser.add_argument("--only", type=int, help="print this input's steps and play it alone")
    parser.add_argument("--out", type=Path, help="keep the figures as JSON, added to the file's")
    options = parser.parse_args(arguments)
    if options.only is not None:
        h2c, steps = talk(Random(f"{options.seed} {options.only}"))
        print("the instance speaks", "h2c" if h2c else "HTTP/1.1")
        for event, data in steps:
            print(event.name, data)
        print(asyncio.run(play(steps, h2c=h2c)))
        return 0
    outcome = asyncio.run(run(options.inputs, options.seed, options.first))
    print(json.dumps(vars(outcome), indent=2))
    if options.out:
        command = f"python -m windlass.bench.fuzz --inputs {options.inputs} --seed {options.seed}"
        before = json.loads(options.out.read_text()) if options.out.exists() else {}
        document = add(before, f"{command} --first {options.first}", outcome)
        options.out.write_text(json.dumps(document, indent=2) + "\n")
    return 1 if outcome.findings else 0


def add(before: Mapping[str, Any], command: str, outcome: Outcome) -> dict[str, object]:
    """Return the document of all runs so far: a million inputs take long, so they come in parts."""
    statuses = Counter(before.get("statuses", {})) + Counter(outcome.statuses)
    return {
        "commands": [*before.get("commands", []), command],
        "machine": describe(),
        "inputs": before.get("inputs", 0) + outcome.inputs,
        "bytes": before.get("bytes", 0) + outcome.bytes,
        "seconds": before.get("seconds", 0) + outcome.seconds,
        "slowest": max(before.get("slowest", 0), outcome.slowest),
        "statuses": dict(statuses.most_common()),
        "findings": [*before.get("findings", []), *outcome.findings],
        "memory": [*before.get("memory", []), outcome.memory],
    }


if __name__ == "__main__":
    sys.exit(main())
