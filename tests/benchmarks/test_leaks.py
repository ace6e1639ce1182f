"""Instances come and go, and nothing is left: a short version of the measurement."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.platform.oci.containers import require_engine

from windlass.bench.leaks import STEADY_KIB, Counts, Memory, Outcome, Plan, measure

if TYPE_CHECKING:
    from pathlib import Path


COUNTS = Counts(
    mounts=12,
    namespaces=12,
    interfaces=12,
    addresses=12,
    cgroups=0,
    processes=12,
    folders=12,
    node_files=48,
    worker_files=18,
)


def outcome(*node_kib: int) -> Outcome:
    """What was seen before, and after each 500 lives."""
    memory = [Memory(500 * number, kib, 48_000) for number, kib in enumerate(node_kib)]
    return Outcome(COUNTS, COUNTS, memory)


def test_memory_that_levels_off_is_no_leak() -> None:
    seen = outcome(63_000, 64_000, 64_500, 64_400, 64_600)
    assert seen.node_grown(1000) == [1500, 100]
    assert seen.nothing_left()


def test_memory_that_grows_on_is_one() -> None:
    seen = outcome(63_000, 64_000, 65_000, 66_000, 65_000 + STEADY_KIB)
    assert not seen.nothing_left()


def test_one_file_that_stays_open_is_one() -> None:
    after = replace(COUNTS, node_files=COUNTS.node_files + 1)
    assert not Outcome(COUNTS, after, [Memory(0, 63_000, 48_000)]).nothing_left()


@pytest.mark.engine
@pytest.mark.e2e
@pytest.mark.slow
async def test_thirty_instances_that_came_and_went_leave_nothing(
    static_image: str, tmp_path: Path
) -> None:
    require_engine()
    plan = Plan(image=static_image, cycles=30, at_a_time=10, looked_every=10)
    seen = await measure(plan, tmp_path)
    assert seen.after == seen.before
    assert seen.before.cgroups == 0
    # What is made ahead: each has a network namespace, a folder, and a conmon that waits.
    assert seen.before.processes == seen.before.folders == seen.before.namespaces > 0
    assert [each.lives for each in seen.memory] == [0, 10, 20, 30]
    assert all(each.node_kib > 0 and each.workers_kib > 0 for each in seen.memory)
