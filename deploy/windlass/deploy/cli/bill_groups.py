"""A bill with a line for each service, revision, instance, label or stretch of time."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from windlass.billing.bill import money
from windlass.deploy.cli.amounts import quantity, total
from windlass.deploy.quantity import BadQuantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windlass.deploy.api.schema import SharesView, ShareView

WHOSE = ("service", "revision", "instance")
MINUTES = {"minute": 1, "hour": 60, "day": 1440}
FORMATS = {"minute": "%Y-%m-%d %H:%M", "hour": "%Y-%m-%d %H:00", "day": "%Y-%m-%d"}
LABEL = "label:"
OF_THE_WHOLE = {  # groups of shares that are of nobody, or of no stretch of time
    "rounding": "(rounding of whole instances)",
    "period": "(time, whatever runs)",
    "tiers": "(volume and free tiers)",
}


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """What has a key in common."""

    key: str
    requests: int
    billed_seconds: Decimal
    amount: Decimal


class Groups(msgspec.Struct, frozen=True, kw_only=True):
    """A bill in one book, by key."""

    book: str
    title: str
    currency: str
    by: str
    groups: tuple[Group, ...]


def read_by(text: str) -> str:
    """Return the text if it is something to cut a bill by.

    Raises:
        BadQuantity: it is not.
    """
    if text in WHOSE or text in MINUTES or text.removeprefix(LABEL) not in (text, ""):
        return text
    raise BadQuantity(text, "service, revision, instance, label:KEY, minute, hour or day")


def step_of(by: str) -> int | None:
    """Return the minutes of a stretch of time; None: time does not matter."""
    return MINUTES.get(by)


def group(view: SharesView, by: str) -> Groups:
    """Return the sums of a bill's shares that have a key in common; they add up to the bill."""
    of: dict[str, list[ShareView]] = {}
    for share in view.shares:
        of.setdefault(_key(share, by), []).append(share)
    return Groups(
        book=view.book,
        title=view.title,
        currency=view.currency,
        by=by,
        groups=tuple(
            Group(
                key=key,
                requests=sum(share.requests for share in found),
                billed_seconds=total(share.billed_seconds for share in found),
                amount=total(share.amount for share in found),
            )
            for key, found in sorted(of.items(), key=lambda item: (item[0][:1] == "(", item[0]))
        ),
    )


def print_groups(found: Sequence[Groups], by: str) -> None:
    """Print a line for each key, and below them the total in each book."""
    from windlass.deploy.cli.bill_table import print_columns

    heads = [by.upper().removeprefix("LABEL:"), "REQUESTS"]
    for one in found:
        heads += [f"{one.book}\nBILLED INSTANCE-S", "AMOUNT"]
    by_key = [{group.key: group for group in one.groups} for one in found]
    keys = sorted({key for known in by_key for key in known}, key=lambda k: (k[:1] == "(", k))
    rows = []
    for key in keys:
        requests = max(known[key].requests for known in by_key if key in known)
        row = [key, f"{requests:,}"]
        for one, known in zip(found, by_key, strict=True):
            row += _cells(one, [known[key]] if key in known else [])
        rows.append(tuple(row))
    requests = max((sum(g.requests for g in one.groups) for one in found), default=0)
    last = ["total", f"{requests:,}"]
    for one in found:
        last += _cells(one, one.groups)
    print_columns(heads, [*rows, tuple(last)], right=set(range(1, len(heads))))


def _cells(one: Groups, groups: Sequence[Group]) -> list[str]:
    if not groups:
        return ["", ""]
    seconds = total(group.billed_seconds for group in groups)
    amount = total(group.amount for group in groups)
    return [quantity(seconds), money(amount, one.currency)]


def _key(share: ShareView, by: str) -> str:
    if not share.service or (by in MINUTES and share.origin != "use"):
        return OF_THE_WHOLE[share.origin]
    if by in MINUTES:
        step = MINUTES[by] * 60
        begin = int(share.begin) // step * step
        return datetime.fromtimestamp(begin, UTC).strftime(FORMATS[by])
    if by.startswith(LABEL):
        return share.labels.get(by.removeprefix(LABEL), "(without)")
    if by == "instance":
        return share.instance or f"{share.revision}, shared"
    return share.revision if by == "revision" else share.service
