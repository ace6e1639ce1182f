"""The page of one service: instances' lives, the autoscaler's reasons, revisions, log, events."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from windlass.deploy.dashboard import figures
from windlass.deploy.dashboard.page import Page, part
from windlass.deploy.dashboard.services import Row
from windlass.model.instance import ENDED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windlass.deploy.api.schema import (
        DecisionView,
        InstanceView,
        LogLineView,
        ServiceView,
        TimelineView,
        TrafficView,
    )
    from windlass.deploy.dashboard.page import Asked
    from windlass.deploy.dashboard.watch import Watch

RANGES = {"5m": 300.0, "15m": 900.0}  # seconds that the time axis shows
USUAL = "15m"
SHOWN = 20  # events and decisions, the latest
LINES = 60  # of the log
LEAST = 30.0  # seconds that the time axis shows at least


@dataclass(frozen=True, slots=True)
class Lived:
    """An instance, and the seconds that each kind of slice lasted in the time shown."""

    view: InstanceView
    seconds: dict[str, float]
    billed: float
    is_alive: bool


async def build(asked: Asked) -> Page:
    """Return a service's page."""
    platform, name, watch = asked.platform, asked.name, asked.watch
    chosen = asked.query.get("range", USUAL)
    chosen = chosen if chosen in RANGES else USUAL
    now = watch.pulse.time
    since = now - RANGES[chosen]
    service, instances, timelines, decisions, events, lines = await asyncio.gather(
        platform.describe(name),
        platform.instances(name),
        platform.timeline(name, since),
        platform.explain(name),
        platform.events(name),
        _tail(asked),
    )
    made = [decision for decision in decisions if decision.time >= since]
    begin = _begin(timelines, made, since, now)
    return Page(
        template="service.html",
        title=name,
        section="services",
        parts={
            "now": part("now", **_now(watch, service)),
            "revisions": part("revisions", service=service, traffic=_traffic(service)),
            "instances": part("instances", lived=_lived(instances, timelines, since), range=chosen),
            "decisions": part("decisions", decisions=decisions[: -SHOWN - 1 : -1]),
            "events": part("events", events=events[: -SHOWN - 1 : -1]),
            "log": part("log", lines=lines, name=name),
        },
        figures={
            "lives": figures.lives(timelines, made, watch.pulse.course(name), begin, now),
        },
        facts={
            "service": service,
            "range": chosen,
            "ranges": tuple(RANGES),
            "mode": _mode(service),
            "hidden": max(0, len(timelines) - figures.MOST_INSTANCES),
        },
    )


async def _tail(asked: Asked) -> list[LogLineView]:
    lines = asked.platform.logs(asked.name, tail=LINES, follow=False)
    return [line async for line in lines]


def _begin(
    timelines: Sequence[TimelineView],
    decisions: Sequence[DecisionView],
    since: float,
    now: float,
) -> float:
    """Return where the time axis begins: a young service's is shorter."""
    firsts = [timeline.slices[0].begin for timeline in timelines if timeline.slices]
    firsts += [decision.time for decision in decisions]
    first = min(firsts, default=since)
    return max(since, min(first - (now - first) / 50, now - LEAST))


def _now(watch: Watch, service: ServiceView) -> dict[str, object]:
    view = watch.pulse.latest.get(service.name)
    row = (
        Row(view, watch.pulse.recent(service.name), watch.costs.get(service.name)) if view else None
    )
    return {"row": row}


def _traffic(service: ServiceView) -> dict[str, list[TrafficView]]:
    """Return the parts of the traffic by revision."""
    parts: dict[str, list[TrafficView]] = defaultdict(list)
    for target in service.traffic:
        parts[target.revision].append(target)
    return parts


def _mode(service: ServiceView) -> str:
    ready = (r for r in service.revisions if r.name == service.latest_ready)
    revision = next(ready, None)
    return revision.template.mode if revision else ""


def _lived(
    instances: Sequence[InstanceView], timelines: Sequence[TimelineView], since: float
) -> list[Lived]:
    """Return the instances, living ones first, then the latest."""
    slices = {timeline.instance: timeline.slices for timeline in timelines}
    found = []
    for view in instances:
        seconds: dict[str, float] = defaultdict(float)
        billed = 0.0
        for cut in slices.get(view.id, ()):
            length = cut.end - max(cut.begin, since)
            seconds[cut.kind] += length
            billed += length if cut.rate != "free" else 0.0
        found.append(Lived(view, seconds, billed, view.state not in ENDED))
    return sorted(found, key=lambda lived: (not lived.is_alive, -lived.view.started))
