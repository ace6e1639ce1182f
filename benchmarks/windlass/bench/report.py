"""A comparison as JSON: stable names, for scripts. Milliseconds and US dollars, as numbers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from windlass.bench.difference import apart, closed_form, difference, sentence

if TYPE_CHECKING:
    from decimal import Decimal

    from windlass.bench.compare import Comparison, ModeResult
    from windlass.bench.difference import ClosedForm, Difference


def as_json(comparison: Comparison) -> dict[str, object]:
    """Return the comparison as plain values; what is not known is None."""
    found, expected = difference(comparison), closed_form(comparison)
    result: dict[str, object] = {
        "modes": {"cloudrun": _mode(comparison.cloudrun), "lambda": _mode(comparison.lambda_)},
        "cost_ratio": found.ratio if found else None,
        "explanation": sentence(found) if found else None,
        "factors": _factors(found) if found else None,
        "closed_form": _closed_form(comparison, expected) if expected else None,
        "settings": asdict(comparison.settings),
    }
    if comparison.against is not None:
        result["against"] = _latency(comparison.against)
    return result


def per_million(mode: ModeResult) -> Decimal | None:
    """Return what a million such requests cost; None if none was answered or nothing metered."""
    if mode.observed is None or not mode.answered:
        return None
    return mode.observed.cost / mode.answered * 10**6


def _mode(mode: ModeResult) -> dict[str, object]:
    observed, million = mode.observed, per_million(mode)
    assert observed is not None
    course = [
        {
            "second": round(sample.second, 3),
            "in_flight": sample.in_flight,
            "instances": sample.instances,
            "cost_usd": float(sample.cost),
        }
        for sample in mode.course
    ]
    return _latency(mode) | {
        "cold_starts": observed.cold_starts,
        "peak_instances": observed.peak_instances,
        "billed_instance_seconds": float(observed.billed_instance_seconds),
        "cost_usd": float(observed.cost),
        "cost_per_million_usd": None if million is None else float(million),
        "course": course,
    }


def _latency(mode: ModeResult) -> dict[str, object]:
    return {
        "requests": mode.requests,
        "errors": mode.errors,
        "errors_by_reason": dict(mode.load.errors),
        "p50_ms": mode.latency(50) * 1000,
        "p95_ms": mode.latency(95) * 1000,
        "p99_ms": mode.latency(99) * 1000,
        "max_ms": mode.latency(100) * 1000,
        "mean_service_ms": mode.service_time * 1000,
    }


def _factors(found: Difference) -> dict[str, object]:
    return {"overlap": found.overlap, "sharing": found.sharing, "price": found.price}


def _closed_form(comparison: Comparison, expected: ClosedForm) -> dict[str, object]:
    return {
        "cloudrun_instance_seconds": expected.cloudrun_seconds,
        "lambda_instance_seconds": expected.lambda_seconds,
        "cloudrun_cost_usd": float(expected.cloudrun_cost),
        "lambda_cost_usd": float(expected.lambda_cost),
        "cost_ratio": expected.ratio,
        "cloudrun_apart": apart(comparison.cloudrun, expected.cloudrun_cost),
        "lambda_apart": apart(comparison.lambda_, expected.lambda_cost),
    }
