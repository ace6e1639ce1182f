"""A bill from its total down to what each instance did in each minute, with the arithmetic."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING

import click

from windlass.billing.bill import money
from windlass.deploy.cli.amounts import amount_of, exact, total, unit_price
from windlass.deploy.cli.bill_groups import OF_THE_WHOLE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal

    from windlass.deploy.api.schema import SharesView, ShareView


def print_explanation(view: SharesView) -> None:
    """Print every share below what it is a part of."""
    requests = sum(share.requests for share in view.shares)
    total_amount = money(_sum(view.shares), view.currency)
    click.echo(f"{total_amount}  {view.title} ({view.book}), {requests:,} requests")
    by_service = sorted(view.shares, key=lambda share: (share.service == "", share.service))
    for service, found in groupby(by_service, key=lambda share: share.service):
        shares = list(found)
        if not service:
            for share in shares:
                _print_share(share, view.currency, "  ")
            continue
        click.echo(f"  {money(_sum(shares), view.currency)}  {service}")
        _print_instances(shares, view.currency)


def _print_instances(shares: list[ShareView], currency: str) -> None:
    def name(share: ShareView) -> str:
        return share.instance or f"{share.revision}, shared"

    for instance, found in groupby(sorted(shares, key=name), key=name):
        did = sorted(found, key=lambda share: (share.origin != "use", share.begin))
        click.echo(f"    {money(_sum(did), currency)}  {instance}")
        for share in did:
            _print_share(share, currency, "      ")


def _print_share(share: ShareView, currency: str, indent: str) -> None:
    what = _minute(share) if share.origin == "use" else OF_THE_WHOLE[share.origin]
    terms = " + ".join(f"{exact(term.seconds)} {_named(term.kind)}" for term in share.terms)
    billed = f": {terms} = {exact(share.billed_seconds)} s" if terms else ""
    requests = f", {share.requests:,} requests" if share.requests else ""
    click.echo(f"{indent}{money(share.amount, currency)}  {what}{billed}{requests}")
    for line in share.charges:
        amount = unit_price(line.amount, currency)
        if line.quantity:
            quantity = amount_of(exact(line.quantity), line.unit)
            price = unit_price(line.unit_price, currency)
            click.echo(f"{indent}    {line.item}: {quantity} x {price} = {amount}")
        else:
            click.echo(f"{indent}    {line.item}: {amount}")


def _minute(share: ShareView) -> str:
    return f"{datetime.fromtimestamp(share.begin, UTC):%Y-%m-%d %H:%M} UTC"


def _named(kind: str) -> str:
    return {"warm": "idle and held warm", "shared": "as if shared"}.get(kind, kind)


def _sum(shares: Iterable[ShareView]) -> Decimal:
    return total(share.amount for share in shares)
