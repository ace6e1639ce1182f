from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal

import pytest

from windlass.bench.compare import Comparison, ModeResult, Observed, Settings
from windlass.bench.difference import (
    Difference,
    apart,
    closed_form,
    difference,
    lambda_megabytes,
    sentence,
    verdict,
)
from windlass.bench.tally import LoadResult
from windlass.model.service import GIB, MIB

SETTINGS = Settings(image="hello:1", rate=100, duration=10_000, ramp=0)


def mode(
    requests: int,
    milliseconds: int,
    seconds: str = "0",
    cost: str = "0",
    fees: str = "0",
    starts: tuple[float, ...] = (),
) -> ModeResult:
    load = LoadResult(requests=requests)
    load.service.record(milliseconds * 1_000_000)
    load.service.count, load.service.sum = requests, requests * milliseconds * 1_000_000
    observed = Observed(
        cold_starts=0,
        peak_instances=1,
        billed_instance_seconds=Decimal(seconds),
        cost=Decimal(cost),
        request_fees=Decimal(fees),
        starts=starts,
    )
    return ModeResult(load=load, observed=observed)


# A million requests of 200 ms at 100 per second with 1 vCPU and 0.5 GiB.
MILLION = Comparison(
    settings=SETTINGS,
    cloudrun=mode(1_000_000, 200, "10000", "0.6525", "0.40"),
    lambda_=mode(1_000_000, 200, "200000", "5.95848", "0.20"),
)


def test_the_closed_form_gives_the_providers_prices_of_a_million_requests() -> None:
    expected = closed_form(MILLION)
    assert expected is not None
    assert math.isclose(expected.cloudrun_seconds, 10_000, rel_tol=1e-4)
    assert math.isclose(expected.cloudrun_cost, Decimal("0.6525"), rel_tol=1e-4)
    assert math.isclose(expected.lambda_cost, Decimal("5.95848"), rel_tol=1e-6)
    assert math.isclose(expected.ratio, 9.13, rel_tol=1e-3)


def test_the_factors_multiply_to_the_ratio_and_most_of_it_is_sharing() -> None:
    found = difference(MILLION)
    assert found is not None
    assert math.isclose(found.overlap, 20)
    assert math.isclose(found.sharing, 5.45 / 0.6525)
    assert math.isclose(found.sharing * found.price, found.ratio)
    assert sentence(found) == (
        "One request per instance costs 9.1 times as much: in cloudrun mode 20.0 requests shared "
        "each billed instance-second, which makes a factor of 8.35; the other 1.09 are the two "
        "providers' prices, and starts that are billed."
    )


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (123.45, "costs 123.5 times as much"),
        (1.05, "costs 1.1 times as much"),
        (1.049, "costs about the same"),
        (0.95, "costs about the same"),
        (0.949, "costs 5 % less"),
        (0.26, "costs 74 % less"),
    ],
)
def test_a_verdict_reads_well_whichever_costs_less(ratio: float, said: str) -> None:
    assert verdict(ratio) == f"One request per instance {said}"


def test_where_one_request_each_is_cheaper_the_sentence_says_why() -> None:
    assert sentence(Difference(ratio=0.744, overlap=0.83, sharing=0.8, price=0.93)) == (
        "One request per instance costs 26 % less: in cloudrun mode 0.8 requests shared each "
        "billed instance-second, which makes a factor of 0.80; the other 0.93 are the two "
        "providers' prices, and starts that are billed."
    )


def test_starts_are_in_the_closed_form_as_each_mode_bills_them() -> None:
    load = Settings(image="hello:1", rate=10, duration=10, ramp=0, memory=512 * MIB)
    started = Comparison(
        settings=load,
        cloudrun=mode(100, 200, starts=(0.42, 0.1)),
        lambda_=mode(100, 200, starts=(0.42, 0.1)),
    )
    expected = closed_form(started)
    assert expected is not None
    assert math.isclose(expected.cloudrun_seconds, 10.1 + 0.5 + 0.1)
    assert math.isclose(expected.lambda_seconds, 100 * 0.2 + 0.52)


def test_what_a_cold_request_waited_counts_as_its_start_only() -> None:
    cold = mode(99, 200, starts=(5.0,))
    cold.load.service.record(5_200_000_000)
    assert cold.observed is not None
    waited = replace(cold, observed=replace(cold.observed, cold_starts=1))
    assert math.isclose(waited.work_time, 0.2, rel_tol=0.01)


def test_a_cost_is_held_against_what_is_expected() -> None:
    assert apart(mode(1, 1, cost="102"), Decimal(100)) == pytest.approx(0.02)
    assert apart(mode(1, 1), Decimal(0)) is None


def test_without_a_bill_there_is_no_difference() -> None:
    nothing = Comparison(settings=SETTINGS, cloudrun=mode(0, 1), lambda_=mode(0, 1))
    assert difference(nothing) is None
    assert closed_form(nothing) is None


def test_clients_of_a_closed_loop_keep_instances_busy_all_the_time() -> None:
    settings = Settings(image="x", clients=100, concurrency=80, duration=30)
    expected = closed_form(
        Comparison(settings=settings, cloudrun=mode(1000, 200), lambda_=mode(900, 300))
    )
    assert expected is not None
    assert expected.cloudrun_seconds == 60
    assert expected.lambda_seconds == 270


@pytest.mark.parametrize(
    ("milli_cpu", "memory", "megabytes"),
    [(1000, 512 * MIB, 1769), (2000, 512 * MIB, 3538), (1000, 2 * GIB, 2048), (80, 1, 142)],
)
def test_lambda_gets_the_memory_that_brings_the_same_cpu(
    milli_cpu: int, memory: int, megabytes: int
) -> None:
    assert lambda_megabytes(Settings(milli_cpu=milli_cpu, memory=memory)) == megabytes
