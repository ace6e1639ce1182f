"""What browsers load beside pages: named by content, so that it may be kept for ever."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import cache
from importlib.resources import files
from pathlib import Path

from aiohttp import web

FOREVER = "public, max-age=31536000, immutable"
OURS = ("app.css", "live.js", "charts.js", "icon.svg")
TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def link(name: str) -> str:
    """Return where an asset is found.

    Raises:
        KeyError: there is none of that name.
    """
    return f"/assets/{_digest(name)}/{name}"


async def asset(request: web.Request) -> web.StreamResponse:
    """Send an asset."""
    name, digest = request.match_info["name"], request.match_info["digest"]
    if name not in (*OURS, "plotly.min.js") or digest != _digest(name):
        raise web.HTTPNotFound(text="There is no such asset; load the page anew.")
    kind = TYPES[name.rpartition(".")[2]]
    headers = {"Cache-Control": FOREVER, "X-Content-Type-Options": "nosniff"}
    return web.Response(body=content(name), content_type=kind, charset="utf-8", headers=headers)


@cache
def _digest(name: str) -> str:
    return hashlib.sha256(content(name)).hexdigest()[:16]


@cache
def content(name: str) -> bytes:
    """Return what is in an asset.

    Raises:
        KeyError: there is none of that name.
    """
    if name in OURS:
        return files("windlass.deploy.dashboard").joinpath("static", name).read_bytes()
    if name != "plotly.min.js":
        raise KeyError(name)
    spec = importlib.util.find_spec("plotly")  # found, not imported: only a file is needed
    assert spec is not None  # a dependency
    assert spec.origin is not None
    return Path(spec.origin).with_name("package_data").joinpath(name).read_bytes()
