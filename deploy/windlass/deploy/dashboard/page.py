"""What every page is made of: parts of HTML that are sent again when they change, and figures."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from windlass.deploy.dashboard import formats

if TYPE_CHECKING:
    from windlass.deploy.api.platform import Platform
    from windlass.deploy.dashboard.watch import Watch

Figure = dict[str, Any]  # as plotly's JavaScript takes it; colours may name a CSS property: --busy


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a page was asked for, and whom it may ask."""

    platform: Platform
    watch: Watch
    path: str
    query: Mapping[str, str]
    name: str = ""  # of the service, from the path
    shape: str = ""  # of the page that is looked at


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page; its template shows `parts[x]` in the element with the id x, and `facts`."""

    template: str
    title: str
    section: str  # of the navigation
    parts: dict[str, Markup]
    figures: dict[str, Figure] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)
    shape: str = ""  # where it changes, browsers load the page anew
    looks: int = 1  # after which it is made anew; more where that takes work


Build = Callable[[Asked], Awaitable[Page]]


def environment() -> Environment:
    """Return the templates; every value is escaped, and one that is missing is an error."""
    found = Environment(
        loader=PackageLoader("windlass.deploy.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in (
        *("clock", "count", "iso", "latency", "moment", "price"),
        *("quantity", "rate", "span", "times"),
    ):
        found.filters[name] = getattr(formats, name)
    found.globals |= {"modes": formats.MODES, "shared": formats.SHARED, "TIMES": formats.TIMES}
    return found


TEMPLATES = environment()


def part(template: str, **facts: object) -> Markup:
    """Return a part of a page."""
    return Markup(TEMPLATES.get_template(f"parts/{template}.html").render(facts))
