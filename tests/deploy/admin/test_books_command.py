"""`windlass books` as users call it."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from click.testing import Result

    Run = Callable[..., Awaitable[Result]]

LAMBDA = files("windlass.billing").joinpath("books/lambda-x86.yaml").read_text(encoding="utf-8")


async def done(run: Run, *words: str) -> str:
    result = await run("books", *words)
    assert result.exit_code == 0, result.output
    return result.stdout


async def test_books_are_listed(run: Run) -> None:
    assert ["cloudrun", "cloudrun", "2026", "Cloud", "Run"] in [
        line.split() for line in (await done(run, "list")).splitlines()
    ]
    assert json.loads(await done(run, "list", "--json"))[0]["name"] == "cloudrun"


async def test_a_book_is_shown_with_prices_sources_and_rules(run: Run) -> None:
    shown = await done(run, "show", "lambda")
    assert shown.startswith("AWS Lambda, x86, us-east-1 (lambda-x86, lambda)\n")
    assert "from https://aws.amazon.com/lambda/pricing/\n" in shown
    assert "$0.2 per 1,000,000 requests" in shown
    assert "memory per cpu, MB: 1769" in shown
    exact = json.loads(await done(run, "show", "lambda", "--json"))
    assert exact["prices"][0]["tiers"][0]["price"] == "0.0000166667"


async def test_what_is_unconfirmed_is_marked(run: Run) -> None:
    [line] = [
        line for line in (await done(run, "show", "own-server")).splitlines() if "$40" in line
    ]
    assert "unconfirmed" in line
    assert "Unconfirmed: " in await done(run, "show", "cloudrun")


async def test_an_unknown_book_is_refused(run: Run) -> None:
    result = await run("books", "show", "gold")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no price book 'gold'" in result.stderr


async def test_a_file_is_checked(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(LAMBDA)
    assert await done(run, "check", str(file)) == (
        f"{file} is the price book 'lambda-x86' with 5 prices.\n"
        "  unconfirmed: the price of provisioned\n"
        "  unconfirmed: the price of provisioned duration\n"
    )
    file.write_text(LAMBDA.replace("price: 0.20", "price: cheap"))
    result = await run("books", "check", str(file))
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{file}: prices[4].price: " in result.stderr
    assert "'cheap'" in result.stderr
