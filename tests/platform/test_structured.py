"""Lines of JSON that programs write: what is understood of them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.telemetry.structured import PLAIN, SEVERITIES, Structured, is_at_least, understood

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_severity_message_and_trace_are_understood() -> None:
    line = {
        "severity": "ERROR",
        "message": "no such order",
        "logging.googleapis.com/trace": f"projects/shop/traces/{TRACE}",
        "order": 7,
    }
    assert understood(json.dumps(line)) == Structured("ERROR", "no such order", TRACE)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ({"level": "warn", "msg": "slow"}, Structured("WARNING", "slow")),
        ({"severity": "info"}, Structured("INFO")),
        ({"severity": "loud", "message": "hm"}, Structured("", "hm")),
        ({"message": 7, "msg": "seven"}, Structured("", "seven")),
        ({"trace": TRACE}, Structured("", "", TRACE)),
        ({"severity": 400, "level": 30}, PLAIN),
        ({}, PLAIN),
    ],
)
def test_other_loggers_names_are_understood_too(
    line: dict[str, object], expected: Structured
) -> None:
    assert understood(json.dumps(line)) == expected


@pytest.mark.parametrize("text", ["", "{", "[1]", "{]", "plain", " {}", '{"a":' * 5000, "{\udcff}"])
def test_anything_else_is_plain(text: str) -> None:
    assert understood(text) == PLAIN


@given(st.text())
def test_no_text_is_a_fault(text: str) -> None:
    understood(text)
    understood("{" + text)


def test_severities_have_an_order() -> None:
    assert is_at_least("ERROR", "WARNING")
    assert not is_at_least("INFO", "WARNING")
    assert not is_at_least("", "DEBUG")
    assert all(is_at_least(severity, "DEFAULT") for severity in ("", *SEVERITIES))
