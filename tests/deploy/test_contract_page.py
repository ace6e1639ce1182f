"""The page about the runtime contract names only tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
PAGE = TESTS.parent / "docs" / "runtime-contract.md"


def test_every_test_that_the_contract_page_names_is_there() -> None:
    named = re.findall(r"`(\S+/test_\w+\.py)(?:::(\w+))?`", PAGE.read_text())
    assert len(named) > 20
    for file, name in named:
        text = (TESTS / file).read_text()
        assert not name or f"def {name}(" in text, (file, name)
