"""A platform with one service, killed without a warning, and what its ledger says."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from windlass.bench.kill_record import Counted
from windlass.bench.own_platform import OwnPlatform

if TYPE_CHECKING:
    from pathlib import Path

SERVICE = "killed"


class KilledPlatform(OwnPlatform):
    """One service with one instance."""

    def __init__(self, state: Path, runtime: str) -> None:
        super().__init__(state, "--runtime", runtime)
        self.host = f"{SERVICE}.localhost"

    async def deploy(self, image: str, server: str) -> None:
        """Deploy the service that is loaded."""
        what = ["--image", image] if image else ["--exec", f"{sys.executable} {server}"]
        await self.run("deploy", SERVICE, *what, "--min-instances", "1", "--max-instances", "1")

    async def counted(self) -> Counted:
        """Return what the ledger has."""
        bill = await self.ask(f"bill?service={SERVICE}&book=cloudrun")
        usage, gaps = bill["usage"], bill["gaps"]
        since_1970 = time.time_ns() - time.monotonic_ns()
        return Counted(
            requests=usage["requests"],
            busy=float(usage["busy_seconds"]),
            gaps=tuple(
                (round(gap["begin"] * 1e9) - since_1970, round(gap["end"] * 1e9) - since_1970)
                for gap in gaps
            ),
        )
