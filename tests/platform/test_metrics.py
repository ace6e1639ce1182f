"""Metrics: what is counted is what a scrape shows."""

from __future__ import annotations

import shutil
import subprocess
from decimal import Decimal

import pytest
from prometheus_client.parser import text_string_to_metric_families

from windlass.telemetry.metrics import Counters

MILLISECOND = 1_000_000
SHOP = {"service": "shop", "revision": "shop-00001"}


def _report(counters: Counters, worker: str = "worker-1.a", in_flight: int = 3) -> None:
    counters.count_report(
        worker=worker,
        service="shop",
        revision="shop-00001",
        in_flight=in_flight,
        queued=2,
        responses=((200, 5), (204, 1), (503, 2)),
        latency=((0, 4), (2, 4)),
        latency_sum=250 * MILLISECOND,
        cold_starts=(40 * MILLISECOND,),
    )


@pytest.fixture
def counters() -> Counters:
    counters = Counters((MILLISECOND, 10 * MILLISECOND))
    _report(counters)
    return counters


def _sample(counters: Counters, name: str, **labels: str) -> float | None:
    for family in text_string_to_metric_families(counters.text().decode()):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return None


def test_requests_are_counted_by_class_of_status(counters: Counters) -> None:
    _report(counters)
    assert _sample(counters, "windlass_requests_total", **SHOP, code_class="2xx") == 12
    assert _sample(counters, "windlass_requests_total", **SHOP, code_class="5xx") == 4


def test_buckets_are_cumulative_and_in_seconds(counters: Counters) -> None:
    name = "windlass_request_duration_seconds"
    buckets = [_sample(counters, f"{name}_bucket", **SHOP, le=le) for le in ("0.001", "0.01")]
    assert buckets == [4, 4]
    assert _sample(counters, f"{name}_bucket", **SHOP, le="+Inf") == 8
    assert _sample(counters, f"{name}_count", **SHOP) == 8
    assert _sample(counters, f"{name}_sum", **SHOP) == 0.25


def test_cold_starts_are_counted_with_their_duration(counters: Counters) -> None:
    assert _sample(counters, "windlass_cold_starts_total", **SHOP) == 1
    name = "windlass_cold_start_duration_seconds"
    assert _sample(counters, f"{name}_bucket", **SHOP, le="0.025") == 0
    assert _sample(counters, f"{name}_bucket", **SHOP, le="0.05") == 1


def test_what_workers_have_in_flight_adds_up_and_goes_with_them(counters: Counters) -> None:
    _report(counters, "worker-2.b", in_flight=4)
    assert _sample(counters, "windlass_in_flight_requests", **SHOP) == 7
    assert _sample(counters, "windlass_queued_requests", **SHOP) == 4
    counters.worker_gone("worker-1")
    assert _sample(counters, "windlass_in_flight_requests", **SHOP) == 4


def test_instances_are_counted_by_state(counters: Counters) -> None:
    for name in ("a", "b", "c"):
        counters.instance_changed("shop", "shop-00001", name, "starting")
    counters.instance_changed("shop", "shop-00001", "a", "ready")
    counters.instance_gone("b")
    assert _sample(counters, "windlass_instances", **SHOP, state="ready") == 1
    assert _sample(counters, "windlass_instances", **SHOP, state="starting") == 1


def test_a_correction_lowers_no_counter(counters: Counters) -> None:
    for factor in (2, 1):
        counters.set_usage("shop", "shop-00001", factor * 10**9, {"busy": factor * 10**9})
        counters.set_cost("shop", "lambda-x86", Decimal("0.25") * factor)
    assert _sample(counters, "windlass_billed_seconds_total", **SHOP) == 2
    assert _sample(counters, "windlass_instance_seconds_total", **SHOP, kind="busy") == 2
    cost = _sample(counters, "windlass_cost_dollars_total", service="shop", book="lambda-x86")
    assert cost == 0.5


def test_a_deleted_service_is_shown_no_more(counters: Counters) -> None:
    counters.set_cost("shop", "lambda-x86", Decimal(1))
    counters.instance_changed("shop", "shop-00001", "a", "ready")
    counters.forget("shop")
    assert b"shop" not in counters.text()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_complain_of(counters: Counters) -> None:
    counters.instance_changed("shop", "shop-00001", "a", "ready")
    counters.set_usage("shop", "shop-00001", 10**9, {"busy": 10**9})
    counters.set_cost("shop", "lambda-x86", Decimal("0.25"))
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=counters.text(), capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
