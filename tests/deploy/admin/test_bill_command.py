"""`windlass bill` as users call it: tables, cuts, CSV, and down to the slices."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest

from windlass.billing.budget import judge
from windlass.deploy.api.schema import BillView, GapView, UsageView
from windlass.deploy.bill_views import budget_view
from windlass.deploy.cli.bill_table import GAPS_SHOWN, print_bill
from windlass.model.budget import Budget, Period

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from click.testing import Result
    from tests.deploy.memory import MemoryPlatform

    Run = Callable[..., Awaitable[Result]]

CLOUDRUN = ("--book", "cloudrun")
TOTAL = Decimal("0.000362")  # 8 s of 1 vCPU and 0.5 GiB, and 400 requests, in the book cloudrun


async def done(run: Run, *words: str) -> str:
    result = await run("bill", *words)
    assert result.exit_code == 0, result.output
    return result.stdout


def cells(shown: str) -> list[list[str]]:
    return [line.split() for line in shown.splitlines()]


async def test_both_modes_are_shown_side_by_side(run: Run, platform: MemoryPlatform) -> None:
    shown = await done(run, "hello", "--since", "1h")
    assert "1,000 requests, 12.500 instance-seconds" in shown
    rows = cells(shown)
    how = ["1,000", "x", "$0.0000004", "$0.0004000"]
    assert ["requests", *how, *how] in rows
    assert ["total", "$0.0006000", "$0.006000"] in rows
    assert "what it cost:" in shown
    assert "what it would have cost:" in shown
    assert platform.billed[-1][:2] == ("hello", None)


async def test_only_the_books_that_are_asked_for_are_shown(
    run: Run, platform: MemoryPlatform
) -> None:
    shown = await done(run, *CLOUDRUN, "--book", "lambda-arm64")
    assert [book for _, book, _ in platform.billed[-2:]] == ["cloudrun", "lambda-arm64"]
    assert "(cloudrun)" in shown
    assert "(lambda-arm64)" in shown


async def test_json_is_exact(run: Run) -> None:
    exact = json.loads(await done(run, "--json", *CLOUDRUN))
    assert exact["books"][0]["total"] == "0.0006"


async def test_lines_as_csv(run: Run) -> None:
    [row, _] = csv.DictReader(StringIO(await done(run, "--csv")))
    assert (row["book"], row["actual"], row["amount"]) == ("cloudrun", "true", "0.0004")


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("service", ["hello"]),
        ("revision", ["hello-00001"]),
        ("instance", ["hello-00001-a", "hello-00001-b"]),
        ("label:team", ["blue", "(without)"]),
        ("minute", ["1970-01-01 00:00", "1970-01-01 00:01"]),
        ("hour", ["1970-01-01 00:00"]),
        ("day", ["1970-01-01"]),
    ],
)
async def test_every_cut_adds_up_to_the_bill(run: Run, by: str, keys: list[str]) -> None:
    rows = list(csv.DictReader(StringIO(await done(run, "--by", by, "--csv", *CLOUDRUN))))
    assert [row[by] for row in rows] == keys
    assert sum(Decimal(row["amount"]) for row in rows) == TOTAL
    assert sum(int(row["requests"]) for row in rows) == 400
    shown = cells(await done(run, "--by", by, *CLOUDRUN))
    assert shown[-1] == ["total", "400", "8", "$0.0003620"]


async def test_what_is_of_no_minute_has_a_line_of_its_own(run: Run) -> None:
    words = ("--by", "minute", "--book", "lambda", "--free-tier", "--csv")
    rows = list(csv.DictReader(StringIO(await done(run, *words))))
    assert rows[-1]["minute"] == "(volume and free tiers)"
    assert sum(Decimal(row["amount"]) for row in rows) == 0


async def test_groups_as_json(run: Run) -> None:
    both = json.loads(await done(run, "--by", "instance", "--json"))
    assert [one["book"] for one in both] == ["cloud-run-request-tier1", "lambda-x86"]
    assert [group["key"] for group in both[0]["groups"]] == ["hello-00001-a", "hello-00001-b"]


async def test_a_bill_is_explained_down_to_each_minute(run: Run) -> None:
    assert await done(run, "--explain", *CLOUDRUN) == (
        "$0.0003620  Google Cloud Run, request-based, tier 1 (cloud-run-request-tier1), "
        "400 requests\n"
        "  $0.0003620  hello\n"
        "    $0.00009050  hello-00001-a\n"
        "      $0.00009050  1970-01-01 00:00 UTC: 2 busy = 2 s, 100 requests\n"
        "          CPU: 2 vCPU-s x $0.000024 = $0.000048\n"
        "          memory: 1 GiB-s x $0.0000025 = $0.0000025\n"
        "          requests: 100 x $0.0000004 = $0.00004\n"
        "    $0.0002715  hello-00001-b\n"
        "      $0.0002715  1970-01-01 00:01 UTC: 6 busy = 6 s, 300 requests\n"
        "          CPU: 6 vCPU-s x $0.000024 = $0.000144\n"
        "          memory: 3 GiB-s x $0.0000025 = $0.0000075\n"
        "          requests: 300 x $0.0000004 = $0.00012\n"
    )


async def test_an_explanation_names_what_is_of_the_whole(run: Run) -> None:
    shown = await done(run, "--explain", "--book", "own-server")
    assert "(time, whatever runs)" in shown
    shown = await done(run, "--explain", "--book", "lambda", "--free-tier")
    assert "  -$0.00008000  (volume and free tiers)\n      requests: -$0.00008\n" in shown


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--since", "yesterday"), "--since: 'yesterday' is not allowed"),
        (("--by", "colour"), "--by: 'colour' is not allowed; allowed: service, revision"),
        (("--by", "label:"), "--by: 'label:' is not allowed"),
        (("--by", "day", "--explain"), "--by and --explain do not go together"),
    ],
)
async def test_a_wrong_call_is_said_to_be_one(
    run: Run, words: tuple[str, ...], complaint: str
) -> None:
    result = await run("bill", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in result.stderr


def _bill(**known: Any) -> BillView:
    zero = dict.fromkeys(
        ("instance_seconds", "startup_seconds", "busy_seconds", "idle_seconds", "shutdown_seconds"),
        Decimal(0),
    )
    usage = UsageView(requests=0, cold_starts=0, peak_instances=0, **zero)
    return BillView(since=0, until=60, usage=usage, books=(), **known)


def test_what_is_not_counted_is_said_for_the_latest(capsys: pytest.CaptureFixture[str]) -> None:
    gaps = tuple(GapView(worker="worker-1", begin=60.0 * n, end=60.0 * n + 1) for n in range(7))
    print_bill(_bill(gaps=gaps), [])
    shown = capsys.readouterr().out
    assert "Not counted, because a router was killed before it had reported it:" in shown
    assert shown.count("what worker-1 did after 1970-01-01 00:0") == GAPS_SHOWN
    assert "what worker-1 did after 1970-01-01 00:06:00.000000 UTC; it was gone by" in shown
    assert "and 2 more before" in shown


def test_a_budget_is_a_line_of_the_bill(capsys: pytest.CaptureFixture[str]) -> None:
    verdict = judge(Budget(amount=Decimal(5), period=Period.DAY), Decimal(1), 90_000)
    print_bill(_bill(budgets=(budget_view("shop", verdict),)), [])
    shown = capsys.readouterr().out.replace("\n", " ")
    assert "Budget of shop: $1.0000 of $5.0000 per day spent since 1970-01-02 00:00 UTC;" in shown
