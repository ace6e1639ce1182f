"""What each service cost, beside the other mode: one row per service."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from windlass.billing.bill import bill
from windlass.deploy.api.schema import CostView
from windlass.deploy.bill_views import in_order

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from windlass.billing.book import Book
    from windlass.billing.usage import InstanceUsage, RevisionUsage, Usage
    from windlass.model.service import Mode


def cost_views(
    usage: Usage, books: Mapping[str, Book], unthrottled: Container[str] = ()
) -> list[CostView]:
    """Return a row for each service in a usage, priced with the usual book of each mode.

    Args:
        usage: from `Ledger.usage`.
        books: by name.
        unthrottled: services whose instances always have their CPU.

    A service that ran in both modes counts as of the mode in which its latest revision ran.
    """
    instances: dict[str, list[InstanceUsage]] = defaultdict(list)
    revisions: dict[str, list[RevisionUsage]] = defaultdict(list)
    for used in usage.instances:
        instances[used.service].append(used)
    for served in usage.revisions:
        revisions[served.service].append(served)
    usual_of = {throttled: _usual(books, throttled) for throttled in (True, False)}
    views = []
    for service, used_by in sorted(instances.items()):
        part = msgspec.structs.replace(
            usage, instances=tuple(used_by), revisions=tuple(revisions[service])
        )
        mode = max(used_by, key=lambda used: used.revision).mode
        usual = usual_of[service not in unthrottled]
        other = next((book for known, book in usual.items() if known is not mode), None)
        if mode in usual and other is not None:
            views.append(_view(service, part, usual[mode], other))
    return views


def _usual(books: Mapping[str, Book], throttled: bool) -> dict[Mode, Book]:
    usual: dict[Mode, Book] = {}
    for book in in_order(books, throttled=throttled):
        usual.setdefault(book.mode, book)
    return usual


def _view(service: str, usage: Usage, book: Book, other_book: Book) -> CostView:
    own, other = bill(usage, book), bill(usage, other_book)
    return CostView(
        service=service,
        requests=own.requests,
        book=own.title,
        total=own.total,
        per_million_requests=own.per_million_requests,
        other_book=other.title,
        other_total=other.total,
        other_per_million_requests=other.per_million_requests,
        currency=own.currency,
    )
