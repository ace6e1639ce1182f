"""The dashboard: pages on the admin port, made on the server, that work without JavaScript too."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from aiohttp import web

from windlass.deploy.api.platform import Refused
from windlass.deploy.dashboard import assets, compare, cost, service, services
from windlass.deploy.dashboard.live import stream
from windlass.deploy.dashboard.page import TEMPLATES, Asked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiohttp.typedefs import Handler

    from windlass.deploy.api.platform import Platform
    from windlass.deploy.dashboard.page import Build, Page
    from windlass.deploy.dashboard.watch import Watch

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
# plotly styles what it draws with style elements and attributes of its own.
POLICY_OF_CHARTS = POLICY | {"style-src": "'self' 'unsafe-inline'"}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: a form's Origin would be null, which the guard refuses.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
PAGES: dict[str, Build] = {
    "/": services.build,
    "/services/{name}": service.build,
    "/cost": cost.build,
    "/compare": compare.build,
}


def add_dashboard(app: web.Application, platform: Platform, watch: Watch) -> None:
    """Put the dashboard's pages beside the API, and let the watch run."""

    async def watching(_: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(watch.run())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    app.cleanup_ctx.append(watching)
    app.middlewares.append(_readable_errors)
    app.router.add_get("/assets/{digest}/{name}", assets.asset)
    for path, build in PAGES.items():
        app.router.add_get(path, _shown(build, platform, watch))
        app.router.add_get(f"/live{path}", _lively(build, platform, watch))

    async def posted(request: web.Request) -> Asked:
        asked = _asked(request, platform, watch)
        await watch.attend()
        fields = await request.post()
        typed = {name: text for name, text in fields.items() if isinstance(text, str)}
        return replace(asked, query=typed)

    def answered(page: Page, status: int) -> web.Response:
        return _html(page, "/live/compare", status)

    app.router.add_routes(compare.routes(platform, posted, answered))


def _shown(
    build: Build, platform: Platform, watch: Watch
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        await watch.attend()
        page = await build(_asked(request, platform, watch))
        return _html(page, f"/live{request.path_qs}")

    return handle


def _lively(
    build: Build, platform: Platform, watch: Watch
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await stream(request, build, _asked(request, platform, watch))

    return handle


def _asked(request: web.Request, platform: Platform, watch: Watch) -> Asked:
    return Asked(
        platform=platform,
        watch=watch,
        path=request.path,
        query=request.query,
        name=request.match_info.get("name", ""),
        shape=request.query.get("shape", ""),
    )


def _html(page: Page, live: str, status: int = 200) -> web.Response:
    template = TEMPLATES.get_template(page.template)
    text = template.render(page=page, parts=page.parts, live=live, asset=assets.link, **page.facts)
    return _page(text, POLICY_OF_CHARTS if page.figures else POLICY, status)


@web.middleware
async def _readable_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a browser that asked for a page with a page; the API's errors stay as they are."""
    is_page = "text/html" in request.headers.get("Accept", "")
    if not is_page or request.path.startswith("/api/"):
        return await handler(request)
    try:
        return await handler(request)
    except Refused as refused:
        return _error(refused.problem.status, refused.problem.title, refused.problem.detail)
    except web.HTTPNotFound:
        return _error(404, "There is no such page", f"Nothing is at {request.path}.")


def _error(status: int, title: str, detail: str) -> web.Response:
    template = TEMPLATES.get_template("error.html")
    text = template.render(status=status, title=title, detail=detail, asset=assets.link)
    return _page(text, POLICY, status)


def _page(text: str, policy: dict[str, str], status: int = 200) -> web.Response:
    rules = "; ".join(f"{name} {value}" for name, value in policy.items())
    headers = HEADERS | {"Content-Security-Policy": rules}
    return web.Response(status=status, text=text, content_type="text/html", headers=headers)
