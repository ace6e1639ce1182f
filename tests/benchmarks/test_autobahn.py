"""What is kept of Autobahn's verdicts when a run comes in parts."""

from __future__ import annotations

from windlass.bench.autobahn import add


def test_a_run_of_some_cases_keeps_the_verdicts_of_the_others() -> None:
    first = add(
        {}, "one", {"direct": {"10.1": "OK", "2.1": "OK"}, "windlass": {"10.1": "OK", "2.1": "OK"}}
    )
    second = add(
        first,
        "two",
        {"direct": {"2.1": "OK", "9.1": "OK"}, "windlass": {"2.1": "FAILED", "9.1": "OK"}},
    )
    assert second["commands"] == ["one", "two"]
    assert second["cases"] == 3
    assert second["differ"] == ["2.1"]
    assert second["verdicts"] == {
        "direct": {"2.1": "OK", "9.1": "OK", "10.1": "OK"},
        "windlass": {"2.1": "FAILED", "9.1": "OK", "10.1": "OK"},
    }
    assert list(second["verdicts"]["direct"]) == ["2.1", "9.1", "10.1"]
