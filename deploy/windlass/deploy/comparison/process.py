"""The process that runs one comparison for the dashboard: load is never made in the node's loop.

It reads its job from stdin and says how it goes on stdout. When stdin ends, or at SIGTERM, it
deletes what it deployed and ends.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import uvloop

from windlass.bench.compare import compare
from windlass.bench.difference import difference
from windlass.bench.show import ROWS, conclusions
from windlass.deploy.api.client import Client, Unreachable
from windlass.deploy.api.platform import Refused
from windlass.deploy.cli.faults import problem_text
from windlass.deploy.comparison.report import write
from windlass.deploy.comparison.settings import Asked
from windlass.deploy.comparison.target import PlatformTarget, usual_books
from windlass.deploy.comparison.views import Ended, Failed, Job, Told

if TYPE_CHECKING:
    from windlass.bench.compare import Comparison, Progress
    from windlass.deploy.comparison.views import Word

MAX_JOB = 16 * 1024**2  # bytes


def say(word: Word) -> None:
    """Say one word to the node; where it is gone, nobody listens and stdin's end says so."""
    try:
        sys.stdout.buffer.write(msgspec.json.encode(word) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        pass


def told(progress: Progress) -> Told:
    """Return the progress of a comparison as a word."""
    load, seen = progress.load, progress.observed
    word = Told(mode=progress.subject, stage=progress.stage, service=progress.service)
    if load is not None:
        word = msgspec.structs.replace(
            word,
            elapsed=load.elapsed,
            requests=load.requests,
            errors=load.errors,
            rate=load.rate,
            latency=load.latency,
            in_flight=load.in_flight,
        )
    if seen is not None:
        word = msgspec.structs.replace(
            word,
            instances=seen.instances_now,
            peak_instances=seen.peak_instances,
            cold_starts=seen.cold_starts,
            billed_seconds=seen.billed_instance_seconds,
            cost=seen.cost,
        )
    return word


def ended(comparison: Comparison) -> Ended:
    """Return what came out."""
    modes = {"Cloud Run mode": comparison.cloudrun, "Lambda mode": comparison.lambda_}
    found = difference(comparison)
    return Ended(
        ratio=None if found is None else found.ratio,
        said=tuple(conclusions(comparison)),
        rows=tuple(
            (label, cell(comparison.cloudrun), cell(comparison.lambda_)) for label, cell in ROWS
        ),
        errors=tuple(
            f"{title}: {count} times {reason}"
            for title, mode in modes.items()
            for reason, count in mode.load.errors.most_common(5)
        ),
    )


async def perform(job: Job) -> None:
    """Run the comparison, write its report, and say what came out."""

    def progress(now: Progress) -> None:
        if now.stage != "done":
            say(told(now))

    try:
        async with Client(job.server) as client:
            target = PlatformTarget(client, Asked(job.settings, job.template))
            comparison = await compare(job.settings, target, progress)
            books = await usual_books(client)
        text = await asyncio.to_thread(write, comparison, books)
        await asyncio.to_thread(Path(job.report).write_text, text, "utf-8")
        say(ended(comparison))
    except Refused as refused:
        say(Failed(why=problem_text(refused.problem)))
    except (Unreachable, ValueError, OSError) as error:
        say(Failed(why=str(error)))


async def main() -> None:
    """Do the job on stdin, and stop early when that ends or SIGTERM comes."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=MAX_JOB)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    job = msgspec.json.decode(await reader.readline(), type=Job)
    work = asyncio.create_task(perform(job))
    stopped = asyncio.create_task(reader.read())  # until stdin ends: the node is gone
    loop.add_signal_handler(signal.SIGTERM, stopped.cancel)
    await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        work.cancel()  # once only: what it deployed is deleted on the way out
    stopped.cancel()
    await asyncio.wait({work})
    if not work.cancelled():
        work.result()


if __name__ == "__main__":
    uvloop.run(main())
