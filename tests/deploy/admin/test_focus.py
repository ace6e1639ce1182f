"""FOCUS rows: the specification's columns and formats, and the FinOps Foundation's validator."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import shutil
import subprocess
from datetime import datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from click.testing import Result

    Run = Callable[..., Awaitable[Result]]

INSTALLED = Path(__file__).parents[3] / ".venv" / "focus" / "bin" / "focus-validator"
VALIDATOR = (
    os.environ.get("FOCUS_VALIDATOR")
    or shutil.which("focus-validator")
    or (str(INSTALLED) if INSTALLED.exists() else None)
)
BOOKS = ("cloudrun", "lambda", "azure-container-apps", "own-server", "fly-machines")
# The specification's mandatory columns, and those that are so where resources, regions, unit
# prices, sub accounts, tags or commitments are known (FOCUS 1.0, "Columns").
NEVER_NULL = {
    *("BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodEnd"),
    *("BillingPeriodStart", "ChargeCategory", "ChargePeriodEnd", "ChargePeriodStart"),
    *("ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "ProviderName"),
    *("PublisherName", "ServiceCategory", "ServiceName"),
}
NULLABLE = {
    *("BillingAccountName", "ChargeClass", "ChargeDescription", "PricingQuantity", "PricingUnit"),
}
NUMBERS = {
    *("BilledCost", "EffectiveCost", "ListCost", "ContractedCost", "PricingQuantity"),
    *("ListUnitPrice", "ContractedUnitPrice", "ConsumedQuantity"),
}
# What version 1.0.0 of the validator calls columns that the specification names otherwise.
OLD_NAMES = {
    "InvoiceIssuer": "InvoiceIssuerName",
    "Provider": "ProviderName",
    "Publisher": "PublisherName",
    "ResourceID": "ResourceId",
    "ChargeType": "ChargeCategory",
}


async def focus(run: Run, *more: str) -> str:
    words = [word for book in BOOKS for word in ("--book", book)]
    result = await run("bill", "--format", "focus", *words, *more)
    assert result.exit_code == 0, result.output
    return result.stdout


async def test_rows_have_the_columns_of_the_specification(run: Run) -> None:
    rows = list(csv.DictReader(StringIO(await focus(run, "--free-tier"))))
    assert rows
    assert rows[0].keys() >= NEVER_NULL | NULLABLE
    for row in rows:
        assert all(row[column] for column in NEVER_NULL), row
        assert row["ChargeCategory"] in {"Usage", "Purchase", "Credit"}
        assert row["ChargeFrequency"] in {"Usage-Based", "Recurring"}
        assert re.fullmatch("[A-Z]{3}", row["BillingCurrency"])
        assert isinstance(json.loads(row["Tags"]), dict)


async def test_numbers_and_moments_have_the_formats_of_the_specification(run: Run) -> None:
    for row in csv.DictReader(StringIO(await focus(run, "--free-tier"))):
        for column in NUMBERS:
            text = row[column]
            assert not text or re.fullmatch(r"-?\d+(\.\d+)?", text), (column, text)
            assert len(text.strip("-0.").replace(".", "")) <= 38
        names = ("BillingPeriodStart", "ChargePeriodStart", "ChargePeriodEnd", "BillingPeriodEnd")
        billing, charge, charge_end, billing_end = (
            datetime.fromisoformat(row[name]) for name in names
        )
        assert billing <= charge < charge_end <= billing_end
        assert (billing.day, billing_end.day, billing.tzname()) == (1, 1, "UTC")


async def test_costs_are_quantity_times_price_and_add_up(run: Run) -> None:
    rows = list(csv.DictReader(StringIO(await focus(run))))
    of_cloud_run = [row for row in rows if row["SkuId"].startswith("cloud-run-request-tier1/")]
    assert sum(Decimal(row["BilledCost"]) for row in of_cloud_run) == Decimal("0.000362")
    for row in rows:
        wanted = Decimal(row["ListUnitPrice"]) * Decimal(row["PricingQuantity"])
        assert abs(wanted - Decimal(row["ListCost"])) < Decimal("1e-25")


@pytest.mark.slow
@pytest.mark.skipif(not VALIDATOR, reason="focus-validator is not installed")
async def test_the_validator_finds_nothing_wrong(run: Run, tmp_path: Path) -> None:
    rows = list(csv.DictReader(StringIO(await focus(run, "--free-tier"))))
    with (tmp_path / "focus.csv").open("w") as file:
        writer = csv.DictWriter(file, [*rows[0], *OLD_NAMES])
        writer.writeheader()
        for row in rows:
            writer.writerow(row | {old: row[name] for old, name in OLD_NAMES.items()})
    # It looks here for a list of currencies that does not come with it.
    listed = tmp_path / "focus_validator" / "utils" / "currency_codes.csv"
    listed.parent.mkdir(parents=True)
    listed.write_text("currency_codes\nUSD\n")
    assert VALIDATOR
    words = [VALIDATOR, "--data-file", "focus.csv", "--validate-version", "1.0"]
    checked = await asyncio.to_thread(
        subprocess.run, words, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "Validation succeeded" in checked.stdout, checked.stdout
