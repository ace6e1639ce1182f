"""What `windlass up` starts: the one place that knows every part and joins them.

Parts are opened from the ground up and closed the other way round, so that whatever fails on the
way leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import signal
import time
from typing import TYPE_CHECKING

import structlog
import uvloop

from windlass.autoscaler.fleet import Past
from windlass.autoscaler.loop import Autoscaler, Settings
from windlass.billing.book import BookFault, load_books
from windlass.billing.ledger import Ledger, LedgerUnavailable
from windlass.billing.meter import Meter
from windlass.billing.running import RunningUsage
from windlass.deploy.api import server
from windlass.deploy.budgets import Budgets
from windlass.deploy.comparison.runs import Runs
from windlass.deploy.comparison.target import admin_url
from windlass.deploy.control import Control
from windlass.deploy.events import Events
from windlass.deploy.listening import Listening
from windlass.deploy.metering import Metering
from windlass.deploy.options import CannotStart
from windlass.deploy.routing import routes
from windlass.deploy.running import RunningPlatform
from windlass.deploy.switchboard import Switchboard
from windlass.deploy.worker_process import link_of
from windlass.deploy.workers import CannotListen, WorkerFailed, Workers, worker_command
from windlass.router.stats import LATENCY_BUCKETS
from windlass.runtime.base import RuntimeUnavailable
from windlass.runtime.choose import choose
from windlass.store.platform import Store, StoreUnavailable
from windlass.telemetry import logs as platform_log
from windlass.telemetry.instance_logs import InstanceLogs
from windlass.telemetry.metrics import Counters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from windlass.billing.book import Book
    from windlass.deploy.options import Options
    from windlass.router import link
    from windlass.runtime.base import Runtime

log = structlog.get_logger(__name__)

DRAIN = 30.0  # seconds that requests under way have to end when the platform stops


def run(options: Options) -> None:
    """Run the platform until SIGTERM or SIGINT, which drain and stop everything it started.

    Raises:
        CannotStart: an address or the state folder is taken, or no runtime answers.
    """
    platform_log.configure(options.log_format)
    try:
        options.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CannotStart(f"--state {options.state}: {error.strerror}") from error
    with _alone(options.state):
        uvloop.run(_run(options))


@contextlib.contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Hold the state folder for ourselves."""
    with (state / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CannotStart(
                f"another platform runs with --state {state}; stop it or choose another folder"
            ) from error
        yield


async def _run(options: Options) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        await _start(options, stack)
        log.info("ready", http=str(options.http), admin=str(options.admin), workers=options.workers)
        await stop.wait()
        log.info("stopping", grace=DRAIN)
    log.info("stopped")


async def _start(options: Options, stack: contextlib.AsyncExitStack) -> None:
    """Open every part; each puts its own end onto the stack."""
    runtime = await _open_runtime(options)
    stack.push_async_callback(runtime.close)
    store, ledger = _open_databases(options.state, stack)
    logs = InstanceLogs(options.state / "logs")
    stack.callback(logs.close_all)

    control = Control(store, runtime)
    counters = Counters(LATENCY_BUCKETS)
    now = time.monotonic_ns()
    meter = Meter(control.revisions, now, time.time_ns() - now, ledger.load())
    running = RunningUsage(control.revisions)
    metering = Metering(meter, ledger, running, lambda *report: workers.acknowledge(*report))
    events = Events(store)
    switchboard = Switchboard(metering, counters, events, logs, control.revisions)
    autoscaler = Autoscaler(runtime, switchboard, Settings(rest_after=options.rest_after))
    listening = Listening(options.http.host, options.http.port)
    workers = Workers(options.state, _worker_command(options), switchboard, listening)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, workers.renew_certificates)
    runs = Runs(
        options.state / "compare", admin_url(options.admin), lambda name: platform.delete(name)
    )
    books = _load_books(options.state)
    budgets = Budgets(control, ledger, books, store, counters)
    platform = RunningPlatform(
        options=options,
        runtime=runtime.name,
        control=control,
        switchboard=switchboard,
        autoscaler=autoscaler,
        workers=workers,
        store=store,
        ledger=ledger,
        metering=metering,
        counters=counters,
        logs_kept=logs,
        comparisons=runs,
        books_known=books,
        budgets=budgets,
    )

    def table() -> link.Routes:
        return routes(
            control.services.values(),
            control.revisions.values(),
            autoscaler.average_start,
            budgets.refusal,
            _domains(options),
            options.default_service,
            options.workers,
        )

    switchboard.join(autoscaler, workers, table)
    control.join(autoscaler, switchboard, events.tell, platform.view)
    budgets.join(autoscaler, switchboard.publish, events.tell)
    autoscaler.hold()
    control.load()
    switchboard.sharing.expect(workers.names)
    meter.take_over(workers.names, now)
    stack.push_async_callback(metering.flush)
    await budgets.look()  # what was capped is, before a request comes
    await _take_over(autoscaler, control, meter, switchboard)
    await metering.flush()  # a kill that comes now finds from when on this run was not heard of
    await control.tidy()
    # Workers end first, when their requests are answered: then nothing is in flight anywhere.
    stack.push_async_callback(autoscaler.stop, 0.0)
    stack.push_async_callback(workers.close, DRAIN)
    try:
        await workers.open(options.workers)
    except CannotListen as error:
        raise CannotStart(
            f"the router cannot listen on --http {options.http}: {error}; "
            "stop what listens there or choose another address"
        ) from error
    except WorkerFailed as error:
        raise CannotStart(f"the router does not start: {error}") from error
    for work in (autoscaler.run(), metering.run(), budgets.run()):
        stack.push_async_callback(_cancel, asyncio.create_task(work))
    await _serve_admin(platform, options, stack)
    runs.open()
    stack.push_async_callback(runs.close)  # while the API answers: its process needs that


async def _open_runtime(options: Options) -> Runtime:
    try:
        return await choose(options.runtime, options.state)
    except RuntimeUnavailable as error:
        raise CannotStart(f"--runtime {options.runtime}: {error}") from error


def _open_databases(state: Path, stack: contextlib.AsyncExitStack) -> tuple[Store, Ledger]:
    try:
        store = Store(state / "platform.db")
        stack.callback(store.close)
        ledger = Ledger(state / "ledger.db")
        stack.callback(ledger.close)
    except (StoreUnavailable, LedgerUnavailable) as error:
        raise CannotStart(f"--state {state}: {error}") from error
    return store, ledger


def _load_books(state: Path) -> Mapping[str, Book]:
    try:
        return load_books(state / "books")
    except BookFault as error:
        raise CannotStart(f"a price book cannot be used: {error}") from error


async def _take_over(
    autoscaler: Autoscaler, control: Control, meter: Meter, board: Switchboard
) -> None:
    """Find what an earlier run left running; what it left unbilled is billed to where it got."""
    known = {
        name: Past(life.started, life.ready, life.stopping) for name, life in meter.alive().items()
    }
    await autoscaler.adopt(control.revisions, known)
    gone = known.keys() - board.instances.keys()
    ended = meter.ended_by_reboot | {instance: meter.vanished(instance) for instance in gone}
    for instance, lived in sorted(ended.items()):
        if revision := control.revisions.get(instance.rpartition("-")[0]):
            board.events.vanished(revision.service, revision.name, instance, lived)


async def _serve_admin(
    platform: RunningPlatform, options: Options, stack: contextlib.AsyncExitStack
) -> None:
    try:
        api = await server.serve(platform, options.admin)
    except OSError as error:
        raise CannotStart(
            f"the admin API cannot listen on --admin {options.admin}: {error.strerror}; "
            "stop what listens there or choose another address"
        ) from error
    stack.push_async_callback(api.cleanup)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _domains(options: Options) -> tuple[str, ...]:
    return tuple(dict.fromkeys((options.domain, "localhost")))


def _worker_command(options: Options) -> Callable[[str], list[str]]:
    flags = ["--access-log", options.access_log, "--tunnel-idle", str(options.tunnel_idle)]
    if options.server_timing:
        flags.append("--server-timing")
    for certificate, key in options.tls:
        flags += ["--tls-cert", str(certificate), "--tls-key", str(key)]
    return worker_command(
        link_of(options.state), str(options.http), _domains(options), options.log_format, flags
    )
