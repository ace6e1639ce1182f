from __future__ import annotations

import pytest

from windlass.bench.cases import Case, Round, summarise
from windlass.bench.router_bench import table
from windlass.bench.wrk import Measured, WrkFault, parse


def a_round(requests: int, cpu: int | None, p50: float = 1.0) -> Round:
    return Round(Measured(requests, 2.0, p50, 2.0, 3.0, 1), cpu)


def test_figures_are_medians_over_the_rounds() -> None:
    rounds = [a_round(100, 1_000_000, 5), a_round(400, 1_000_000, 1), a_round(200, 1_000_000, 2)]
    figures = summarise(Case(name="small"), {"windlass": rounds})["windlass"]
    raw = figures.pop("rounds")
    assert isinstance(raw, list)
    assert [each["measured"]["requests"] for each in raw] == [100, 400, 200]
    assert figures == {
        "requests_per_second": 100,
        "p50_ms": 2,
        "p99_ms": 2,
        "p999_ms": 3,
        "errors": 3,
        "cpu_us_per_request": 5,
    }


def test_the_ratio_to_nginx_is_taken_within_each_round() -> None:
    figures = summarise(
        Case(name="small"),
        {
            "nginx": [a_round(100, 1_000_000), a_round(100, 8_000_000), a_round(100, 2_000_000)],
            "windlass": [a_round(100, 1_500_000), a_round(100, 4_000_000), a_round(100, 3_000_000)],
        },
    )
    assert figures["windlass"]["ratio_to_nginx"] == 1.5
    assert figures["nginx"]["ratio_to_nginx"] == 1


def test_large_bodies_cost_by_the_mebibyte() -> None:
    case = Case(name="large_download", mebibytes=4)
    figures = summarise(case, {"windlass": [a_round(100, 1_000_000)]})["windlass"]
    assert figures["cpu_us_per_mib"] == 2.5


def test_without_a_proxy_there_is_no_cpu_figure() -> None:
    figures = summarise(Case(name="small"), {"direct": [a_round(100, None)]})
    assert "cpu_us_per_request" not in figures["direct"]
    assert table("small", figures).row_count == 1


def test_a_proxy_that_answered_nothing_has_no_cpu_figure() -> None:
    figures = summarise(Case(name="small"), {"nginx": [a_round(0, 1)], "x": [a_round(1, 1)]})
    assert "cpu_us_per_request" not in figures["nginx"]
    assert "ratio_to_nginx" not in figures["x"]


def test_what_wrk_measured_is_read() -> None:
    line = '{"requests": 10, "microseconds": 2000000, "p50": 500, "p99": 1000, "p999": 2000'
    assert parse(f"Running 2s test\n\nRESULT {line}" + ', "errors": 1}\n') == Measured(
        requests=10, seconds=2.0, p50=0.5, p99=1.0, p999=2.0, errors=1
    )


def test_what_wrk_says_instead_is_passed_on() -> None:
    with pytest.raises(WrkFault, match="unable to connect"):
        parse("unable to connect to 127.0.0.1:1")
