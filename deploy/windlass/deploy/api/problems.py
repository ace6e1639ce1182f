"""Faults of requests and of the platform, turned into problems that a user can act on."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
import structlog
from aiohttp import web

from windlass.deploy.api.platform import Refused
from windlass.deploy.api.schema import Problem
from windlass.deploy.manifest import ManifestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.typedefs import Handler

    from windlass.deploy.violation import Violation

CONTENT_TYPE = "application/problem+json"
log = structlog.get_logger(__name__)


def problem(
    status: int, kind: str, detail: str, errors: Sequence[Violation] = (), title: str = ""
) -> Problem:
    """Return a problem; `kind` names it for programs."""
    return Problem(
        type=f"urn:windlass:problem:{kind}",
        title=title or HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        errors=tuple(errors),
    )


def invalid(what: str, violations: Sequence[Violation]) -> Problem:
    """Return the problem of an input with wrong fields."""
    detail = f"{what} is wrong in {len(violations)} place(s); nothing was changed."
    return problem(422, "invalid", detail, violations)


def answer(found: Problem) -> web.Response:
    """Return a problem as a response."""
    return web.Response(
        status=found.status, body=msgspec.json.encode(found), content_type=CONTENT_TYPE
    )


def from_manifest(error: ManifestError) -> Problem:
    """Return the problem of a manifest."""
    return problem(422, "invalid-manifest", error.fact, error.violations)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every fault with a problem; a fault of ours is logged and says no more than that."""
    try:
        return await handler(request)
    except Refused as error:
        return answer(error.problem)
    except ManifestError as error:
        return answer(from_manifest(error))
    except msgspec.DecodeError as error:
        return answer(problem(422, "invalid", f"The request's body: {error}."))
    except web.HTTPException as error:
        found = problem(error.status, error.reason.lower().replace(" ", "-"), error.text or "")
        response = answer(found)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except Exception:
        log.exception("api.fault", method=request.method, path=request.path)
        return answer(problem(500, "fault", "A fault of Windlass; its log says more."))
