"""The answers to requests that get no slot of their revision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windlass.router.errors import Problem
from windlass.router.pool import Reason, Refused

if TYPE_CHECKING:
    from windlass.router.link import RevisionRoute

BUDGET_RETRY = 60  # seconds after which a client may ask again whether the budget is new


def too_many(refused: Refused, route: RevisionRoute) -> Problem:
    """Return the problem of a request that may not even wait."""
    if route.refusal:
        return _budget_spent(route)
    if refused.reason is Reason.QUEUE_FULL:
        detail = f"{refused.limit} requests wait already, which is the limit; try again later."
    else:
        detail = f"{refused.limit} requests are under way already: one for each instance allowed."
    return Problem(429, refused.reason, detail, retry_after=1)


def waited_in_vain(route: RevisionRoute) -> Problem:
    """Return the problem of a request for which no slot came free."""
    if route.refusal:
        return _budget_spent(route)
    detail = f"No slot came free within {route.queue_wait:g} s; try again later."
    return Problem(429, "queue-wait", detail, retry_after=1)


def deleted(route: RevisionRoute) -> Problem:
    """Return the problem of a request whose service was deleted while it waited."""
    detail = f"The service {route.service} was deleted while the request waited for an instance."
    return Problem(404, "no-such-service", detail)


def _budget_spent(route: RevisionRoute) -> Problem:
    return Problem(429, "budget-spent", f"{route.refusal}.", retry_after=BUDGET_RETRY)
