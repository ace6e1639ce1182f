"""Keeps other sites' pages in a browser away from the admin port.

Whoever reaches this port may run commands, so a page that a user happens to visit must not: not by
a request of its own (its Origin is another site), nor under a name of its own that it points at
this machine (DNS rebinding: the Host is neither an address nor a name of ours).
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import web

from windlass.deploy.api.problems import answer, problem

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiohttp.typedefs import Handler, Middleware


def guard(names: Collection[str]) -> Middleware:
    """Return a middleware that refuses foreign hosts and origins; `names`: more hosts of ours."""
    own = {"localhost", *(name.lower() for name in names)}

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host", "")
        if not is_own_host(host, own):
            detail = (
                f"The host {host!r} is not this platform's; "
                "call the admin port by its address or as localhost."
            )
            return answer(problem(421, "foreign-host", detail))
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() != f"{request.scheme}://{host}".lower():
            detail = f"Pages of {origin!r} may not use the admin port."
            return answer(problem(403, "foreign-origin", detail))
        return await handler(request)

    return guarded


def is_own_host(host: str, own: Collection[str]) -> bool:
    """Whether a Host header is a name of ours, or an address, which nobody can rebind."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name in own:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
