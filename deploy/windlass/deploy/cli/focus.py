"""Bills in the columns of FOCUS 1.0, the FinOps Open Cost and Usage Specification, as CSV.

One row is one price of what one instance did in one hour; the rows add up to the bill.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import TYPE_CHECKING

import msgspec

from windlass.deploy.cli.bill_csv import plain, write

if TYPE_CHECKING:
    from collections.abc import Iterable

    from windlass.deploy.api.schema import BillLineView, SharesView, ShareView

HOUR = 60  # minutes of a charge period
ACCOUNT = "windlass"
DIGITS = Context(prec=38)  # the specification's numeric format
CATEGORIES = {"use": "Usage", "rounding": "Usage", "period": "Purchase", "tiers": "Credit"}
UNITS = {
    "vCPU-second": "vCPU-Seconds",
    "GiB-second": "GiB-Seconds",
    "GB-second": "GB-Seconds",
    "request": "Requests",
    "second": "Seconds",
}
COLUMNS = (
    "AvailabilityZone",
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "CommitmentDiscountCategory",
    "CommitmentDiscountId",
    "CommitmentDiscountName",
    "CommitmentDiscountStatus",
    "CommitmentDiscountType",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "RegionId",
    "RegionName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "SkuId",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "Tags",
)


def print_focus(bills: Iterable[SharesView]) -> None:
    """Print the rows of bills in one book or several."""
    write(
        COLUMNS,
        (
            [row.get(column, "") for column in COLUMNS]
            for bill in bills
            for share in bill.shares
            for row in _rows(bill, share)
        ),
    )


def _rows(bill: SharesView, share: ShareView) -> Iterable[dict[str, str]]:
    for line in share.charges:
        yield _whose(bill, share) | _when(share) | _what(bill, share, line)


def _whose(bill: SharesView, share: ShareView) -> dict[str, str]:
    """Return who is charged, and by whom. What is empty is null."""
    resource = share.instance or share.revision
    return {
        "BillingAccountId": ACCOUNT,
        "BillingAccountName": ACCOUNT,
        "SubAccountId": share.service,
        "SubAccountName": share.service,
        "InvoiceIssuerName": ACCOUNT,
        "ProviderName": bill.title,
        "PublisherName": bill.title,
        "ServiceCategory": "Compute",
        "ServiceName": bill.title,
        "ResourceId": resource,
        "ResourceName": resource,
        "ResourceType": ("Instance" if share.instance else "Revision") if resource else "",
        "Tags": msgspec.json.encode(share.labels).decode(),
    }


def _when(share: ShareView) -> dict[str, str]:
    begin = datetime.fromtimestamp(share.begin, UTC)
    end = datetime.fromtimestamp(share.end, UTC)
    return {
        "ChargePeriodStart": _moment(begin),
        "ChargePeriodEnd": _moment(end),
        "BillingPeriodStart": _moment(_month(begin)),
        "BillingPeriodEnd": _moment(_month(_month(begin) + timedelta(days=31))),
    }


def _what(bill: SharesView, share: ShareView, line: BillLineView) -> dict[str, str]:
    cost = _number(line.amount)
    row = {
        "BillingCurrency": bill.currency,
        "ChargeCategory": CATEGORIES[share.origin],
        "ChargeDescription": f"{line.item}, {share.origin}: {share.instance or share.revision}",
        "ChargeFrequency": "Recurring" if share.origin == "period" else "Usage-Based",
        "BilledCost": cost,
        "EffectiveCost": cost,
        "ListCost": cost,
        "ContractedCost": cost,
    }
    if share.origin == "tiers":
        return row
    quantity, unit, price = _number(line.quantity), UNITS[line.unit], _number(line.unit_price)
    sku = f"{bill.book}/{line.item}"
    row |= {
        "PricingCategory": "Standard",
        "PricingQuantity": quantity,
        "PricingUnit": unit,
        "ListUnitPrice": price,
        "ContractedUnitPrice": price,
        "SkuId": sku,
        "SkuPriceId": f"{sku}/{price}",
    }
    if CATEGORIES[share.origin] == "Usage":
        row |= {"ConsumedQuantity": quantity, "ConsumedUnit": unit}
    return row


def _month(moment: datetime) -> datetime:
    """Return the beginning of a month."""
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _number(value: Decimal) -> str:
    return plain(DIGITS.plus(value))
