"""The page about the runtime contract names only tests that there are, and owns up to the rest."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
PAGE = TESTS.parent / "docs" / "runtime-contract.md"


def rows() -> list[str]:
    """Return the rows of the page's tables, without their heads."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    return [line for line in lines if not re.match(r"\| (---|the platform|what dies|\|)", line)]


def test_every_test_that_the_contract_page_names_is_there() -> None:
    named = re.findall(r"`(\S+/test_\w+\.py)(?:::(\w+))?`", PAGE.read_text())
    assert len(named) > 20
    for file, name in named:
        text = (TESTS / file).read_text()
        assert not name or f"def {name}(" in text, (file, name)


def test_what_no_test_shows_is_called_a_gap_or_is_a_matter_of_documents() -> None:
    documents = ("documents", "sets `K_SERVICE`", "the node within a second")
    assert len(rows()) > 40
    for row in rows():
        is_document = row.startswith(tuple(f"| {words}" for words in documents))
        assert is_document or "/test_" in row or "**gap**" in row, row
