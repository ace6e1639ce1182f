"""An instance's usage, as tests of bills and books price it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windlass.billing.usage import InstanceUsage
from windlass.model.service import MIB

if TYPE_CHECKING:
    from windlass.billing.rows import Amounts
    from windlass.model.service import Mode


def used(
    mode: Mode,
    amounts: Amounts,
    milli_cpu: int = 1000,
    memory: int = 512 * MIB,
    month: str = "2026-11",
) -> InstanceUsage:
    return InstanceUsage(
        service="shop",
        revision="shop-00001",
        instance="a",
        month=month,
        mode=mode,
        milli_cpu=milli_cpu,
        memory=memory,
        amounts=amounts,
    )
