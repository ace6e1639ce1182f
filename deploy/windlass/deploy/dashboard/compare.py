"""The page that compares both modes: a form that starts a load, and what comes of it, live."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from aiohttp import web

from windlass.deploy.api.platform import Refused
from windlass.deploy.comparison import figures
from windlass.deploy.comparison.target import template_of
from windlass.deploy.dashboard import compare_form
from windlass.deploy.dashboard.formats import times
from windlass.deploy.dashboard.page import Page, part
from windlass.model.service import Mode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from windlass.deploy.api.platform import Platform
    from windlass.deploy.comparison.views import RunView
    from windlass.deploy.dashboard.compare_form import Form
    from windlass.deploy.dashboard.page import Asked

TITLES = {"cloudrun": "Cloud Run mode", "lambda": "Lambda mode"}
STAGES = {
    "deploy": "being deployed",
    "load": "under load",
    "settle": "waiting for the last of the bill",
    "delete": "being deleted",
}
# A report draws with its own scripts; it gets no access to the platform that it is served from.
REPORT_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
        "img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
        "sandbox allow-scripts allow-downloads"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


async def build(asked: Asked) -> Page:
    """Return the page as it is when it is opened; its query fills in the form."""
    known = asked.platform.comparisons.known
    before = compare_form.of(known[0].settings) if known else {}
    return page(asked, compare_form.read(before | dict(asked.query), services(asked)))


def page(asked: Asked, form: Form) -> Page:
    """Return the page with a form as it was typed."""
    known = asked.platform.comparisons.known
    run = known[0] if known else None
    charts = {}
    if run is not None:
        courses = {name: mode.course for name, mode in run.modes.items()}
        charts["course"] = figures.course(courses, run.settings.duration)
    return Page(
        template="compare.html",
        title=f"Compare: {run.state}" if run else "Compare",
        section="compare",
        parts={"run": part("run", run=run, titles=TITLES, **(_facts(run) if run else {}))},
        figures=charts,
        shape=f"{run.id} {run.state}" if run else "",
        facts={
            "run": run,
            "form": form,
            "services": services(asked),
            "past": [one for one in known[1:] if one.is_reported],
        },
    )


def told(run: RunView) -> str:
    """Say where a run is; the same sentence for as long as a stage lasts."""
    if run.state == "ended":
        return "The comparison is over."
    if run.state == "cancelled":
        return "It was cancelled; what was deployed for it is deleted."
    if run.state == "failed":
        return "It could not go on; what was deployed for it is deleted."
    going = [
        f"{TITLES[name]} is {STAGES.get(mode.latest.stage, mode.latest.stage)}."
        for name, mode in run.modes.items()
        if mode.latest is not None and not mode.is_over
    ]
    return going[0] if going else "It starts."


def _facts(run: RunView) -> dict[str, object]:
    costs = (mode.latest.cost for mode in run.modes.values() if mode.latest)
    return {"told": told(run), "most": max(costs, default=Decimal(0)), "by_now": by_now(run)}


def by_now(run: RunView) -> str:
    """Return how many times as much one request each costs at this second of the load."""
    shared, alone = run.modes[Mode.CLOUDRUN], run.modes[Mode.LAMBDA]
    if not alone.course or alone.is_over:
        return ""
    now = alone.course[-1]
    before = [sample for sample in shared.course if sample.second <= now.second]
    return times(before[-1].cost, now.cost) if before else ""


def services(asked: Asked) -> list[str]:
    """Return the services that can be compared: those that are ready and no comparison's own."""
    runs = asked.platform.comparisons.known
    own = {name for run in runs for name in run.services}
    return sorted(
        name for name, view in asked.watch.pulse.latest.items() if view.ready and name not in own
    )


async def start(asked: Asked) -> Form:
    """Start what the form asks for; return the form with what is wrong, or with nothing wrong."""
    form = compare_form.read(asked.query)
    given = compare_form.sources(form)
    if len(given) != 1:
        fault = "Choose a service, or name an image or a command: exactly one of them."
        return replace(form, wrong={(given or ["service"])[-1]: fault})
    try:
        name = form.typed["service"]
        base = await template_of(asked.platform, name) if name else None
        found, wrong = compare_form.asked(form, base)
        if not wrong:
            await asked.platform.comparisons.start(found)
    except Refused as refused:
        place = "service" if refused.problem.status == 404 else ""
        wrong = {place: refused.problem.detail}
    return replace(form, wrong=wrong)


def routes(
    platform: Platform,
    asked: Callable[[web.Request], Awaitable[Asked]],
    shown: Callable[[Page, int], web.Response],
) -> list[web.RouteDef]:
    """Return what the page's buttons and links lead to; `shown` makes a response of a page."""

    async def begin(request: web.Request) -> web.StreamResponse:
        question = await asked(request)
        form = await start(question)
        if form.wrong:
            return shown(page(question, form), 422)
        return web.Response(status=303, headers={"Location": "/compare"})

    async def cancel(_: web.Request) -> web.StreamResponse:
        await platform.comparisons.cancel()
        return web.Response(status=303, headers={"Location": "/compare"})

    async def report(request: web.Request) -> web.StreamResponse:
        path = platform.comparisons.report(request.match_info["run"])
        if path is None or not path.is_file():
            raise web.HTTPNotFound(text="There is no report of that run; it may have been removed.")
        return web.FileResponse(path, headers=REPORT_HEADERS)

    return [
        web.post("/compare", begin),
        web.post("/compare/cancel", cancel),
        web.get("/compare/{run}/report.html", report),
    ]
