"""The admin API over HTTP: what can be asked, and in what form it is answered.

It knows the Platform protocol only. It has no accounts: whoever reaches the port may use it, so it
listens on loopback unless told otherwise.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from windlass.deploy import manifest
from windlass.deploy.api.guard import guard
from windlass.deploy.api.platform import Refused
from windlass.deploy.api.problems import from_manifest, invalid, problem, problems
from windlass.deploy.api.schema import BillTerms, DeployRequest, TrafficRequest
from windlass.deploy.api.stream import closed, lively, stream
from windlass.deploy.dashboard.pages import add_dashboard
from windlass.deploy.dashboard.watch import Watch
from windlass.deploy.quantity import BadQuantity, read_duration
from windlass.deploy.validation import (
    check_labels,
    check_name,
    check_template,
    check_traffic,
    field_names,
)
from windlass.deploy.violation import Violation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from windlass.deploy.api.platform import Platform
    from windlass.deploy.options import ListenAddress

MAX_BODY = 1024**2  # bytes; a manifest of YAML may have far less
MAX_TAIL = 100_000  # lines
PLATFORM: web.AppKey[Platform] = web.AppKey("platform")
ROUNDINGS = ("per_slice", "per_instance", "none")
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def make_app(platform: Platform, names: Collection[str] = ()) -> web.Application:
    """Return the application; `names`: hosts it is called by, beside localhost and addresses."""
    app = web.Application(middlewares=[problems, guard(names)], client_max_size=MAX_BODY)
    app[PLATFORM] = platform
    service = "/api/v1/services/{name}"
    app.add_routes(
        [
            web.get("/healthz", health),
            web.get("/metrics", metrics),
            web.get("/api/v1/status", _asked(lambda platform: platform.status())),
            web.post("/api/v1/reload", _asked(lambda platform: platform.reload())),
            web.get("/api/v1/services", _asked(lambda platform: platform.services())),
            web.post("/api/v1/services", deploy),
            web.post("/api/v1/apply", apply),
            web.get(service, _named(lambda platform, name: platform.describe(name))),
            web.delete(service, delete),
            web.put(f"{service}/traffic", set_traffic),
            web.get(f"{service}/instances", _named(lambda p, name: p.instances(name))),
            web.get(f"{service}/standbys", _named(lambda p, name: p.standbys(name))),
            web.get(f"{service}/events", _named(lambda p, name: p.events(name))),
            web.get(f"{service}/explain", _named(lambda p, name: p.explain(name))),
            web.get(f"{service}/logs", logs),
            web.get("/api/v1/bill", bill),
            web.get("/api/v1/bill/shares", shares),
            web.get("/api/v1/books/{name}", _named(lambda p, name: p.book(name))),
            web.get("/api/v1/books", _asked(lambda platform: platform.books())),
        ]
    )
    watch = Watch(platform)
    app.router.add_get("/api/v1/now", _told_by(watch))
    add_dashboard(app, platform, watch)
    return app


async def serve(platform: Platform, address: ListenAddress) -> web.AppRunner:
    """Listen; `cleanup()` of what is returned ends it, open streams included.

    Raises:
        OSError: the address is not to be had.
    """
    app = make_app(platform, names=(address.host,))
    # Without handler_cancellation a `logs --follow` whose client left would stay for ever.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, address.host, address.port).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner


async def health(request: web.Request) -> web.Response:
    """Answer as soon as the platform is there."""
    await request.app[PLATFORM].status()
    return web.Response(text="ok\n")


async def metrics(request: web.Request) -> web.Response:
    """Answer Prometheus."""
    body = await request.app[PLATFORM].metrics()
    return web.Response(body=body, headers={"Content-Type": METRICS_TYPE})


async def deploy(request: web.Request) -> web.StreamResponse:
    """Make a revision; the answer is its progress."""
    asked = msgspec.json.decode(await request.read(), type=DeployRequest)
    labels = tuple(asked.labels.items())
    violations = [
        *check_name(asked.name, "name"),
        *check_labels(labels, "labels"),
        *check_template(asked.template, field_names({}, "template.")),
    ]
    if violations:
        raise Refused(invalid("The request", violations))
    events = request.app[PLATFORM].deploy(
        asked.name,
        asked.template,
        labels=asked.labels,
        traffic=asked.traffic,
        health_check=asked.health_check,
    )
    return await stream(request, lively(events))


async def apply(request: web.Request) -> web.StreamResponse:
    """Make a service what a manifest says, in YAML or JSON; the answer is its progress."""
    body = await request.read()
    try:
        if request.content_type == "application/json":
            spec = manifest.read_node(msgspec.json.decode(body))
        else:
            # A long manifest may take a second to parse: not on the event loop.
            spec = await asyncio.to_thread(manifest.read, body.decode())
    except UnicodeDecodeError as error:
        refusal = problem(422, "invalid-manifest", f"The manifest is not UTF-8: {error.reason}.")
        raise Refused(refusal) from error
    except manifest.ManifestError as error:
        raise Refused(from_manifest(error)) from error
    return await stream(request, lively(request.app[PLATFORM].apply(spec)))


async def delete(request: web.Request) -> web.Response:
    """Delete a service."""
    await request.app[PLATFORM].delete(request.match_info["name"])
    return web.Response(status=204)


async def set_traffic(request: web.Request) -> web.Response:
    """Send a service's requests elsewhere."""
    asked = msgspec.json.decode(await request.read(), type=TrafficRequest)
    if violations := check_traffic(asked.traffic, "traffic"):
        raise Refused(invalid("The traffic", violations))
    name = request.match_info["name"]
    return _json(await request.app[PLATFORM].set_traffic(name, asked.traffic))


async def logs(request: web.Request) -> web.StreamResponse:
    """Send log lines, and with `follow` go on until either side has had enough."""
    tail = _query(request, "tail", _tail, 100)
    follow = _query(request, "follow", _truth, False)
    lines = request.app[PLATFORM].logs(request.match_info["name"], tail=tail, follow=follow)
    return await stream(request, closed(lines))


async def bill(request: web.Request) -> web.Response:
    """Answer with a bill: of one service or all, one book or each, from `since` ago or ever."""
    service, book = request.query.get("service"), request.query.get("book")
    platform = request.app[PLATFORM]
    return _json(await platform.bill(service, book, _since(request), terms=_terms(request)))


async def shares(request: web.Request) -> web.Response:
    """Answer with a bill in one book, taken apart by instance and `step` minutes."""
    step = _query(request, "step", _step, None)
    service, book = request.query.get("service"), request.query.get("book", "")
    platform, since, terms = request.app[PLATFORM], _since(request), _terms(request)
    return _json(await platform.shares(service, book, since, step, terms))


def _since(request: web.Request) -> float | None:
    ago = _query(request, "since", read_duration, None)
    return None if ago is None else time.time() - ago


def _terms(request: web.Request) -> BillTerms:
    return BillTerms(
        free_tier=_query(request, "free_tier", _truth, False),
        rounding=_query(request, "rounding", _rounding, None),
    )


def _told_by(watch: Watch) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def now(_: web.Request) -> web.Response:
        await watch.attend()
        return _json(await watch.now())

    return now


def _asked(
    ask: Callable[[Platform], Awaitable[object]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        return _json(await ask(request.app[PLATFORM]))

    return handle


def _named(
    ask: Callable[[Platform, str], Awaitable[object]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        return _json(await ask(request.app[PLATFORM], request.match_info["name"]))

    return handle


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def _query(request: web.Request, key: str, read: Callable[[str], Any], default: Any) -> Any:
    if key not in request.query:
        return default
    try:
        return read(request.query[key])
    except BadQuantity as error:
        wrong = Violation(path=key, value=error.value, allowed=error.allowed)
        raise Refused(invalid("The query", [wrong])) from error


def _tail(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9 and int(text) <= MAX_TAIL):
        raise BadQuantity(text, f"0 to {MAX_TAIL}")
    return int(text)


def _step(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text)):
        raise BadQuantity(text, "whole minutes: 1, 60 or 1440")
    return int(text)


def _rounding(text: str) -> str:
    if text not in ROUNDINGS:
        raise BadQuantity(text, " or ".join(ROUNDINGS))
    return text


def _truth(text: str) -> bool:
    if text not in ("", "0", "1", "true", "false"):
        raise BadQuantity(text, "true or false")
    return text in ("", "1", "true")
